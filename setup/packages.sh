#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages a use of the bench needs; does nothing when they are there.
#
#   packages.sh run             what a bench needs; what a guest kernel needs too, if this kernel has no CAN
#   packages.sh test            the same, and what the tests need (browser, tshark, MQTT clients, PostgreSQL, compiler, kernel headers)
#   packages.sh --print SET     the names that are missing, one a line; installs nothing
#
# Exit status: 0 fine, 1 apt-get failed, 2 wrong call, 4 root is needed.
# Without apt-get it names the missing programs and succeeds: with-can and the bench report what they cannot do.
set -euo pipefail

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
say() { printf 'packages: %s\n' "$*" >&2; }

print_only=no
if [[ "${1:-}" == --print ]]; then
    print_only=yes
    shift
fi
set_name="${1:-}"
if (($# != 1)) || [[ "$set_name" != run && "$set_name" != test ]]; then
    say "wrong call: packages.sh [--print] run|test"
    exit 2
fi
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    absent=()
    for tool in python3 ip candump mosquitto; do
        command -v "$tool" >/dev/null 2>&1 || absent+=("$tool")
    done
    if ((${#absent[@]})); then
        say "this system has no apt-get, so nothing was installed; missing are: ${absent[*]} (what is optional is said when it is needed)"
    fi
    exit 0
fi

wanted=(python3-venv iproute2 can-utils mosquitto slirp4netns ca-certificates)
kernel_has_can() { # also when only root could make the interface
    local status=0
    "$here/vcan.sh" --check >/dev/null 2>&1 || status=$?
    ((status == 0 || status == 4))
}
kernel_is_cached() { "$here/guest/build.sh" --cached >/dev/null 2>&1; }
if [[ "$(uname -m)" == x86_64 ]] && ! kernel_has_can && ! kernel_is_cached; then
    wanted+=(linux-source gcc make flex bison bc xz-utils bzip2 libc6-dev)
fi
if [[ "$set_name" == test ]]; then
    wanted+=(tshark mosquitto-clients postgresql swift-proxy swift-account swift-container swift-object)
    wanted+=(nginx-light libnginx-mod-stream systemd)
    # Tests compile canline for a kernel and see a kernel's build fail, even where a kernel is there already.
    wanted+=(gcc make flex bison bc)
    if grep -qs '^ID=ubuntu' /etc/os-release; then
        if ! command -v chromium >/dev/null 2>&1; then
            say "Ubuntu's chromium is a snap, which is not installed from here: the browser tests skip (sudo snap install chromium)"
        fi
        wanted+=(linux-headers-generic)
    else
        wanted+=(chromium chromium-driver)
        # Any kernel's headers will do: those of this kernel need not be in the lists, in a container for instance.
        case "$(uname -m)" in
            x86_64) wanted+=(linux-headers-amd64) ;;
            aarch64) wanted+=(linux-headers-arm64) ;;
        esac
    fi
fi

missing=()
for package in "${wanted[@]}"; do
    if [[ " ${missing[*]} " == *" $package "* ]]; then continue; fi # both lists have the compiler
    state="$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)"
    if [[ "$state" != ?i* ]]; then missing+=("$package"); fi
done
if [[ "$print_only" == yes ]]; then
    if ((${#missing[@]})); then printf '%s\n' "${missing[@]}"; fi
    exit 0
fi
if ((${#missing[@]} == 0)); then exit 0; fi

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null 2>&1 || { ! sudo -n true 2>/dev/null && ! [[ -t 0 && -t 2 ]]; }; then
        say "missing: ${missing[*]}. Installing them needs root; run this as root, then try again:"
        say "apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
        exit 4
    fi
    as_root=(sudo)
fi
say "installing ${missing[*]}"
# tshark asks whether everybody may capture; the answer here is the default, no.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
# The tests and benches start the servers that they need. What Debian would start as well (nginx on port 80, a broker on 1883) is not asked for:
# Debian asks this script whether it may start them, and 101 means no. Without systemd it starts none.
policy=/usr/sbin/policy-rc.d
if [[ -d /run/systemd/system && ! -e "$policy" ]]; then
    trap '"${as_root[@]}" /bin/rm -f "$policy"' EXIT
    "${as_root[@]}" /bin/sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && /bin/chmod 755 $policy"
fi
"${apt[@]}" update >&2 || say "apt-get update failed; trying with the lists that are there"
if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >&2; then
    say "apt-get could not install ${missing[*]}: see its message above. Offline, or a mirror that is not reachable?"
    exit 1
fi
