#!/usr/bin/env bash
# Builds the queueing discipline canline for this kernel and loads it; does nothing when it is there.
#
#   canline.sh            builds and loads; it is gone after the next boot
#   canline.sh --build    only builds; the module's path on stdout
#   canline.sh --remove   takes it out of the kernel
#
# With it a vcan carries each frame for as long as its own bits take. Without it
# a bench paces by the mean frame length. The guest kernel has it built in.
#
# Paths: the headers (/lib/modules/RELEASE/build, or CANLINE_KERNEL_BUILD), and
# the folder of the result (canline-RELEASE-HASH in the cache, HASH over the source).
#
# Exit status: 0 fine, 1 the build failed, 2 wrong call, 3 cannot be built here,
# 4 root is needed, 5 the kernel refuses it.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"

say() { printf 'canline: %s\n' "$*" >&2; }

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
source_dir="$here/canline"
action="${1:---load}"
if (($# > 1)) || [[ "$action" != --load && "$action" != --build && "$action" != --remove ]]; then
    say "wrong call: canline.sh [--build | --remove]"
    exit 2
fi

as_root=()
if ((EUID != 0)); then as_root=(sudo); fi
need_root() {
    if ((EUID == 0)); then return; fi
    if ! command -v sudo >/dev/null 2>&1 || { ! sudo -n true 2>/dev/null && ! [[ -t 0 && -t 2 ]]; }; then
        say "needs root to $1. Run as root: $(readlink -f "$0") $action"
        exit 4
    fi
}

if [[ "$action" == --remove ]]; then
    if [[ ! -d /sys/module/sch_canline ]]; then exit 0; fi
    need_root "take it out of the kernel"
    if ! "${as_root[@]}" rmmod sch_canline; then
        say "it is in use, or built in. In use: end the bench first, or tc qdisc del dev vcan0 root"
        exit 5
    fi
    exit 0
fi
if [[ "$action" == --load && -d /sys/module/sch_canline ]]; then exit 0; fi

release="$(uname -r)"
headers="${CANLINE_KERNEL_BUILD:-/lib/modules/$release/build}"
if [[ -n "${CANLINE_KERNEL_BUILD:-}" && -r "$headers/include/config/kernel.release" ]]; then
    release="$(cat "$headers/include/config/kernel.release")"
fi
hash="$(cat "$source_dir"/{sch_canline.c,Kbuild} | sha256sum | cut -c1-12)"
built="${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/otabench/canline-$release-$hash"

if [[ ! -e "$built/sch_canline.ko" ]]; then
    if [[ ! -e "$headers/Makefile" ]]; then
        say "there are no headers of kernel $release (no $headers)."
        say "Debian, Ubuntu: apt-get install linux-headers-$release. Fedora: dnf install kernel-devel-$release."
        say "Without canline a bench works all the same, paced by the mean frame length; setup/with-can's guest has it built in."
        exit 3
    fi
    for tool in make gcc; do
        if ! command -v "$tool" >/dev/null 2>&1; then
            say "building it needs $tool (Debian, Ubuntu: setup/packages.sh run)"
            exit 3
        fi
    done
    if ! mkdir -p "$built" 2>/dev/null; then
        say "cannot write to $built: set XDG_CACHE_HOME to a directory you can write to"
        exit 3
    fi
    work="$(mktemp -d "$built/build.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    cp "$source_dir"/{sch_canline.c,Kbuild} "$work"
    if ! env -u MAKEFLAGS -u ARCH make -C "$headers" M="$work" CONFIG_NET_SCH_CANLINE=m modules >"$built/log" 2>&1; then
        say "the build failed; the end of $built/log:"
        tail -n 20 "$built/log" >&2
        exit 1
    fi
    mv "$work/sch_canline.ko" "$built/sch_canline.ko"
fi
if [[ "$action" == --build ]]; then
    printf '%s\n' "$built/sch_canline.ko"
    exit 0
fi

if ! command -v insmod >/dev/null 2>&1; then
    say "loading it needs insmod (Debian, Ubuntu: apt-get install kmod); it is built: $built/sch_canline.ko"
    exit 5
fi
need_root "load it"
if ! message="$("${as_root[@]}" insmod "$built/sch_canline.ko" 2>&1)"; then
    if [[ -d /sys/module/sch_canline ]]; then exit 0; fi # somebody else loaded it at the same moment
    say "the kernel refuses it: $message"
    case "$message" in
        *"Key was rejected"* | *"Required key"*) say "Secure Boot takes signed modules only: sign $built/sch_canline.ko with a key of your own (MOK)." ;;
        *"not permitted"*) say "in a container, load it on the host: $built/sch_canline.ko" ;;
        *"Unknown symbol"*) say "load the modules it needs first: modprobe can" ;;
    esac
    exit 5
fi
