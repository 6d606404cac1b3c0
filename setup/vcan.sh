#!/usr/bin/env bash
# Makes a virtual CAN interface on this kernel; does nothing when it is there and right.
#
#   vcan.sh [NAME]           NAME is vcan0 when not given
#   vcan.sh --check [NAME]   0 when it is there or can be made without asking for a password; changes nothing
#
# Settings: the modules (vcan with echo=1, can-raw, can-isotp, can-gw), mtu 72
# (CAN FD), txqueuelen 1000 (at the default of 10 a burst ends in ENOBUFS).
#
# Why echo=1: by default a vcan hands a frame to local receivers before the
# queueing discipline sees it, so that `tc` shapes nothing.
#
# Exit status: 0 fine, 2 wrong call, 3 this kernel has no CAN, 4 root is needed.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"

say() { printf 'vcan: %s\n' "$*" >&2; }

check_only=no
if [[ "${1:-}" == --check ]]; then
    check_only=yes
    shift
fi
name="${1:-vcan0}"
if (($# > 1)) || ! [[ "$name" =~ ^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}$ ]]; then
    say "wrong call: vcan.sh [--check] [NAME], where NAME is an interface name of at most 15 characters, such as vcan0"
    exit 2
fi
device="/sys/class/net/$name"

value_of() { cat "$1" 2>/dev/null || true; }

is_can() { [[ "$(value_of "$device/type")" == 280 ]]; } # ARPHRD_CAN

is_right() {
    is_can && [[ "$(value_of "$device/mtu")" == 72 && "$(value_of "$device/tx_queue_len")" == 1000 ]] \
        && (($(value_of "$device/flags") & 1))
}

echo_state() { value_of /sys/module/vcan/parameters/echo; } # Y, N, or nothing while vcan is not loaded

remedy() { # where the missing module is to be had
    if grep -qs '^ID=ubuntu' /etc/os-release; then
        say "Ubuntu keeps it in a package of its own: apt-get install linux-modules-extra-$(uname -r)."
    elif [[ "$(uname -r)" == *cloud* ]]; then
        say "Debian's cloud kernel leaves it out, linux-image-amd64 has it."
    fi
    say "Without it, setup/with-can runs a command in a guest kernel that has it."
}

probe() { # whether the kernel can make a vcan, by making one: in a container the modules are not to be seen
    local trial="vcp$$"
    "${as_root[@]}" ip link add dev "$trial" type vcan 2>/dev/null || return 1
    "${as_root[@]}" ip link del "$trial"
}

module_exists() { # loaded, built in, or to be found on disk
    [[ -d "/sys/module/${1//-/_}" ]] || modprobe --dry-run --quiet "$1" 2>/dev/null
}

as_root=()
can_become_root() { # $1: ask for a password if need be (yes or no)
    if ((EUID == 0)); then return 0; fi
    if ! command -v sudo >/dev/null 2>&1; then return 1; fi
    as_root=(sudo)
    if sudo -n true 2>/dev/null; then return 0; fi
    [[ "$1" == yes && -t 0 && -t 2 ]]
}

if [[ -e "$device" ]] && ! is_can; then
    say "$name exists and is no CAN interface: choose another name"
    exit 2
fi

if [[ "$check_only" == yes ]]; then
    if is_right; then exit 0; fi
    if ! is_can && ! module_exists vcan && ! { can_become_root no && probe; }; then
        echo "no vcan in this kernel ($(uname -r))"
        exit 3
    fi
    if ! can_become_root no; then
        echo "the kernel has CAN, but making $name needs root: run sudo $0 $name once"
        exit 4
    fi
    exit 0
fi

warn_about_echo() {
    if [[ "$(echo_state)" == N ]]; then
        say "vcan is loaded with echo=0: everything works, but no pacing (tc on $name shapes nothing, so a bench's bitrate"
        say "has no effect). To reload it, with all vcan interfaces gone: sudo ip link del $name; sudo modprobe -r vcan; $0 $name"
    fi
}

if is_right; then
    warn_about_echo
    exit 0
fi

if ! can_become_root yes; then
    if ! is_can && ! module_exists vcan; then
        say "this kernel ($(uname -r)) has no vcan, or this is a container without its modules."
        remedy
        exit 3
    fi
    say "making $name needs root. Run this as root, then try again: $(readlink -f "$0") $name"
    exit 4
fi
run() { "${as_root[@]}" "$@"; }

if [[ "$(echo_state)" == N && -z "$(ip -o link show type vcan 2>/dev/null)" ]]; then
    run modprobe -r vcan 2>/dev/null || true # nobody uses it: it can come back with echo
fi
if [[ -z "$(echo_state)" ]]; then run modprobe vcan echo=1 2>/dev/null || true; fi
for module in can-raw can-isotp can-gw; do
    if [[ ! -d "/sys/module/${module//-/_}" ]]; then run modprobe "$module" 2>/dev/null || true; fi
done

if ! is_can && ! message="$(run ip link add dev "$name" type vcan 2>&1)"; then
    if is_can; then
        : # somebody else made it at the same moment
    elif [[ "$message" == *"not permitted"* ]]; then
        say "making $name was refused ($message): in a container, give it NET_ADMIN (docker run --cap-add NET_ADMIN)"
        exit 4
    else
        say "this kernel ($(uname -r)) has no vcan ($message)."
        remedy
        exit 3
    fi
fi
if [[ "$(value_of "$device/mtu")" != 72 ]]; then
    run ip link set dev "$name" down # the mtu of a vcan cannot be changed while it is up
    run ip link set dev "$name" mtu 72
fi
run ip link set dev "$name" txqueuelen 1000
run ip link set dev "$name" up
warn_about_echo

if command -v python3 >/dev/null 2>&1; then
    if ! python3 -c 'import socket; socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP).close()' 2>/dev/null; then
        say "$name is up, but this kernel has no can-isotp: ISO-TP runs in user space"
    fi
fi
