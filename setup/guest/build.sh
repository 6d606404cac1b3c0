#!/usr/bin/env bash
# Builds the guest kernel (User Mode Linux with CAN) once, into the cache.
#
#   build.sh           path of the kernel on stdout; builds it when it is not there
#   build.sh --cached  0: it is there already
#   build.sh --target VERSION    the path the kernel of this source version has or would have
#   build.sh --check   0: there, or can be built here; 3: cannot, the reason is on stdout
#
# Rules: which source (the newest /usr/src/linux-source-*, with setup/canline
# and fault_around.c added), where the result lives (kernel-VERSION-HASH, HASH
# over uml.config, these sources and the recipe number below), and that a half-built kernel is
# never seen: the build runs in a directory of its own under a lock and is moved
# into place in one step.
#
# Exit status: 0 fine, 1 the build failed, 3 it cannot be built on this machine.
set -euo pipefail

main() { # read whole before it runs: a change of this file does not disturb a running build
    here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
    config="$here/uml.config"
    canline="$(cd "$here/../canline" && pwd)" # our own queueing discipline, built in
    packages="$(cd "$here/.." && pwd)" && packages="${packages#"$PWD/"}/packages.sh run" # as it is called from here
    recipe=3 # raise when the steps below change the result
    source_dir="${WITH_CAN_SOURCE_DIR:-/usr/src}"
    cache="${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/otabench"
    # Without these the guest is of no use; the rest of uml.config may be missing in another kernel version.
    essential="HOSTFS CAN_RAW CAN_BCM CAN_GW CAN_ISOTP CAN_VCAN NET_SCH_TBF NET_SCH_CANLINE UML_NET_VECTOR UNIX98_PTYS TMPFS FUTEX"

    files=750 # about as many are compiled, of Linux 6.1: for the progress only

    say() { printf 'guest kernel: %s\n' "$*" >&2; }
    # shellcheck source=../progress.sh
    source "$here/../progress.sh"

    hash="$({ echo "recipe $recipe"; cat "$config" "$here/fault_around.c" "$canline"/{sch_canline.c,Kbuild,Kconfig}; } | sha256sum | cut -c1-12)"

    newest_source() { # prints the newest source archive, or nothing
        local found
        found="$(find "$source_dir" -maxdepth 2 -name 'linux-source-*.tar.*' 2>/dev/null \
            | awk -F/ '{print $NF "\t" $0}' | sort -V | tail -n 1 | cut -f2-)"
        printf '%s' "$found"
    }

    source_version() { # linux-source-6.1.tar.xz -> 6.1
        local name="${1##*/linux-source-}"
        printf '%s' "${name%%.tar.*}"
    }

    cached_kernel() { # $1: archive or empty. The kernel of this source; without a source the newest with this configuration
        local found
        if [[ -n "$1" ]]; then
            found="$cache/kernel-$(source_version "$1")-$hash/linux"
        else
            found="$(find "$cache" -maxdepth 2 -path "*/kernel-*-$hash/linux" 2>/dev/null | sort -V | tail -n 1)"
        fi
        if [[ -n "$found" && -x "$found" ]]; then printf '%s' "$found"; fi
    }

    why_not() { # prints why a build is impossible here, or nothing
        local machine missing=() tool
        machine="$(uname -m)"
        if [[ "$machine" != x86_64 ]]; then
            printf 'User Mode Linux runs on x86_64 only, this machine is %s' "$machine"
            return
        fi
        if [[ -z "$1" ]]; then
            printf 'no kernel source in %s (Debian, Ubuntu: %s)' "$source_dir" "$packages"
            return
        fi
        for tool in gcc make flex bison bc tar flock; do
            command -v "$tool" >/dev/null 2>&1 || missing+=("$tool")
        done
        case "$1" in
            *.xz) command -v xz >/dev/null 2>&1 || missing+=(xz) ;;
            *.bz2) command -v bzip2 >/dev/null 2>&1 || missing+=(bzip2) ;;
            *.zst) command -v zstd >/dev/null 2>&1 || missing+=(zstd) ;;
        esac
        if ((${#missing[@]})); then
            printf 'building the guest kernel needs %s (Debian, Ubuntu: %s)' "${missing[*]}" "$packages"
            return
        fi
        if [[ ! -e /usr/include/stdio.h ]] && ! echo '#include <stdio.h>' | gcc -E - >/dev/null 2>&1; then
            printf 'the C library headers are missing (Debian, Ubuntu: %s)' "$packages"
        fi
    }

    archive="$(newest_source)"
    kernel="$(cached_kernel "$archive")"

    if [[ "${1:-}" == --target ]]; then
        printf '%s\n' "$cache/kernel-${2:?VERSION is missing}-$hash/linux"
        exit 0
    fi
    if [[ "${1:-}" == --cached ]]; then
        [[ -n "$kernel" ]]
        exit
    fi
    if [[ "${1:-}" == --check ]]; then
        if [[ -n "$kernel" ]]; then exit 0; fi
        reason="$(why_not "$archive")"
        if [[ -n "$reason" ]]; then
            printf '%s\n' "$reason"
            exit 3
        fi
        exit 0
    fi

    if [[ -n "$kernel" ]]; then
        printf '%s\n' "$kernel"
        exit 0
    fi

    reason="$(why_not "$archive")"
    if [[ -n "$reason" ]]; then
        say "cannot be built: $reason"
        exit 3
    fi
    if ! mkdir -p "$cache" 2>/dev/null || [[ ! -w "$cache" ]]; then
        say "cannot write to the cache $cache: set XDG_CACHE_HOME to a directory you can write to"
        exit 3
    fi

    # One build at a time. The lock goes with the process, however it ends.
    exec 9>"$cache/build.lock"
    if ! flock -n 9; then
        say "another build is under way; waiting for it (lock: $cache/build.lock)"
        flock 9
        kernel="$(cached_kernel "$archive")"
        if [[ -n "$kernel" ]]; then
            printf '%s\n' "$kernel"
            exit 0
        fi
    fi
    rm -rf "$cache"/build.??????   # remains of a build that was killed; the lock says nobody uses them

    version="$(source_version "$archive")"
    target="$cache/kernel-$version-$hash"
    log="$target.log"
    parent="$cache"
    if [[ "$cache" == *[[:space:]:]* ]]; then parent="${TMPDIR:-/tmp}"; fi # the kernel's make refuses such a path
    free_kib="$(df -Pk "$parent" | awk 'NR == 2 {print $4}')"
    if ((free_kib < 2200000)); then
        say "the build needs 2.2 GB in $parent for a few minutes, there are $((free_kib / 1000)) MB: free some, or set XDG_CACHE_HOME"
        exit 1
    fi
    work="$(mktemp -d "$parent/build.XXXXXX")"
    builder=""

    cleanup() {
        if [[ -n "$builder" ]]; then kill -TERM -- "-$builder" 2>/dev/null || true; fi
        rm -rf "$work"
    }
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    say "building Linux $version with CAN, once (2 to 4 minutes on two cores); log: $log"

    # A clean environment: an outer make's MAKEFLAGS, ARCH or CROSS_COMPILE would change the result.
    jobs="$(nproc)"
    # shellcheck disable=SC2016  # the inner shell expands
    setsid env -i PATH="$PATH" LC_ALL=C KBUILD_BUILD_USER=otabench KBUILD_BUILD_HOST=otabench \
        KBUILD_BUILD_TIMESTAMP=2024-01-01 KBUILD_BUILD_VERSION=1 \
        nice -n 10 bash -euo pipefail -c '
            archive="$1" config="$2" work="$3" jobs="$4" essential="$5" canline="$6" fault_around="$7"
            cd "$work"
            tar -xf "$archive" --strip-components=1
            mkdir net/sched/canline
            cp "$canline"/{sch_canline.c,Kbuild,Kconfig} net/sched/canline/
            echo "source \"net/sched/canline/Kconfig\"" >>net/sched/Kconfig
            echo "obj-y += canline/" >>net/sched/Makefile
            # One trap maps 16 pages. A source whose page fault handler looks different is built without it: slower, not wrong.
            trap=arch/um/kernel/trap.c call="flush_tlb_page(vma, address);"
            if [ "$(grep -cF "$call" "$trap")" = 1 ]; then
                cp "$fault_around" arch/um/kernel/fault_around.c
                echo "obj-y += fault_around.o" >>arch/um/kernel/Makefile
                sed -i "s/flush_tlb_page(vma, address);/um_fault_around(vma, address, is_write);/" "$trap"
                sed -i "0,/^int handle_page_fault/s//void um_fault_around(struct vm_area_struct *vma, unsigned long address, int is_write);\\n\\n&/" "$trap"
            else
                echo "note: $trap has no single call of flush_tlb_page: built without fault-around"
            fi
            make ARCH=um tinyconfig
            scripts/kconfig/merge_config.sh -m .config "$config"
            make ARCH=um olddefconfig
            for option in $essential; do
                grep -qx "CONFIG_$option=y" .config || { echo "error: this source has no CONFIG_$option"; exit 1; }
            done
            make ARCH=um -j"$jobs" linux
            strip -s -o linux.stripped linux
            mkdir result
            mv linux.stripped result/linux
            cp .config result/config
            ./result/linux --version
        ' build "$archive" "$config" "$work" "$jobs" "$essential" "$canline" "$here/fault_around.c" >"$log" 2>&1 9>&- </dev/null &
    builder=$!

    started=$SECONDS
    while kill -0 "$builder" 2>/dev/null; do
        sleep 0.5
        compiled="$(grep -cE '^  (CC|AS) ' "$log" || true)"
        if ((compiled == 0)); then step="unpacking and configuring"; else step="$compiled files compiled"; fi
        progress "guest kernel" "$compiled" "$files" "$step" "$((SECONDS - started))"
    done
    progress_end
    if ! wait "$builder"; then
        builder=""
        say "the build failed; the end of $log:"
        tail -n 20 "$log" >&2
        say "what to do: $packages, then again; a full log is in $log"
        exit 1
    fi
    builder=""

    # mv of a directory is one rename inside one file system; from another one the copy gets a name of its own first.
    staged="$(mktemp -d "$cache/build.XXXXXX")"
    chmod 755 "$staged"
    cp "$work/result/linux" "$work/result/config" "$staged/"
    rm -rf "$target"
    mv "$staged" "$target"
    say "ready after $((SECONDS - started)) s: $target/linux"
    printf '%s\n' "$target/linux"
}

main "$@"
