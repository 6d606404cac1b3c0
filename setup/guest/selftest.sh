#!/usr/bin/env bash
# Checks with-can on a host that can boot guests: one `ok` or `FAIL` line each, exit status 1 when one failed.
#
#   selftest.sh [NAME...]    only the checks whose names contain one of NAME
#
# What can be checked without booting a guest, or inside one, is in tests/test_with_can.py.
# shellcheck disable=SC2016,SC2317  # the guest's shell expands; the checks are called by name
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
with_can="$here/../with-can"
export WITH_CAN=guest
unset WITH_CAN_PORTS
work="$(mktemp -d "${TMPDIR:-/tmp}/with-can-selftest.XXXXXX")"
trap 'rm -rf "$work"' EXIT
cd "$work"

failed=0
check() { # NAME EXPECTED ACTUAL
    if [[ "$2" == "$3" ]]; then
        echo "ok   $1"
    else
        echo "FAIL $1"
        printf '     expected: %q\n     actual:   %q\n' "$2" "$3"
        if [[ -s "$work/said" ]]; then sed 's/^/     said:     /' "$work/said"; fi
        failed=1
    fi
    rm -f "$work/said"
}

status_of() { # COMMAND...: its exit status on stdout; what it says on standard error is shown if the check fails
    local status=0
    "$@" >/dev/null 2>"$work/said" || status=$?
    echo "$status"
}

wait_for() { # SECONDS COMMAND...: until the command succeeds
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then return 1; fi
        sleep 0.1
    done
}

guests() { "$with_can" --list | cut -d" " -f1; }

guest_here() { # the id of the guest that was started in this folder; other guests of this user may run
    "$with_can" --list | grep -F " in $PWD " | head -n 1 | cut -d" " -f1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

page_status() { # URL: its HTTP status; a minimal system has no curl
    python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).status)' "$1"
}

processes_of() { # RUN-ID: number of processes of that guest on this host; a minimal system has no pgrep
    python3 -c '
import pathlib, re, sys
wanted = re.compile(rb"otabench(-\d+)?/guests/%s/" % sys.argv[1].encode())
found = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        found += bool(wanted.search((process / "cmdline").read_bytes()))
    except OSError:
        pass
print(found)' "$1"
}

guard_of() { # RUN-ID: the process that guards it
    cat "${XDG_RUNTIME_DIR:-/nonexistent}/otabench/guests/$1/lock" \
        "${XDG_CACHE_HOME:-$HOME/.cache}/otabench/guests/$1/lock" "/tmp/otabench-$EUID/guests/$1/lock" 2>/dev/null || true
}

check_arguments() {
    local odd=("a b" $'c\nd' "e'f\"g" "" '$x *?' "--" "-n" $'tab\there' "ü" '\')
    check "arguments arrive as they are" "$(printf '<%s>' "${odd[@]}")" "$("$with_can" printf '<%s>' "${odd[@]}")"
}

check_surroundings() {
    mkdir -p "a b"
    check "working directory" "$work/a b" "$(cd "a b" && "$with_can" pwd)"
    check "environment" $'x \n"y' "$(ODD=$'x \n"y' "$with_can" bash -c 'printf %s "$ODD"')"
    check "OTABENCH_KERNEL" guest "$("$with_can" printenv OTABENCH_KERNEL)"
    check "OTABENCH_STARTED_AT lies in the last minute" yes \
        "$("$with_can" bash -c 'age=$(($(date +%s) - ${OTABENCH_STARTED_AT%.*})); ((age >= 0 && age < 60)) && echo yes')"
    check "umask" 0027 "$(umask 027 && "$with_can" bash -c umask)"
    check "process substitution" hi "$("$with_can" bash -c 'cat <(echo hi)')"
}

check_bus() {
    check "vcan0: mtu, queue, echo" "72 1000 Y" "$("$with_can" bash -c \
        'cd /sys/class/net/vcan0; echo $(cat mtu tx_queue_len /sys/module/vcan/parameters/echo)')"
}

check_streams() {
    check "standard input and its end" 3 "$(printf 'a\nb\nc\n' | "$with_can" wc -l | tr -d ' ')"
    check "no standard input" 0 "$("$with_can" wc -c <&- | tr -d ' ')"
    check "8 MB through, unchanged" "$(head -c 8000000 /dev/zero | tr '\0' 'x' | sha256sum)" \
        "$(head -c 8000000 /dev/zero | tr '\0' 'x' | "$with_can" cat | sha256sum)"
    check "standard output alone" out "$("$with_can" bash -c 'echo out; echo err >&2' 2>/dev/null)"
    check "standard error alone" err "$("$with_can" bash -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
    check "input nobody reads" 0 "$(set +o pipefail; yes | head -c 3000000 | status_of "$with_can" true)"
    (set +o pipefail; { code=0; "$with_can" yes 2>/dev/null || code=$?; echo "$code" >status; } | head -n 1 >first)
    check "a reader that stops: the command gets SIGPIPE" "y 141" "$(cat first) $(cat status)"
    "$with_can" bash -c 'echo first; read -r _' < <(sleep 4) >live 2>/dev/null &
    local pid=$!
    wait_for 3 grep -q first live
    check "output is live" first "$(cat live)"
    wait "$pid" || true
}

check_status() {
    check "status 7" 7 "$(status_of "$with_can" bash -c 'exit 7')"
    check "killed by 9: 137" 137 "$(status_of "$with_can" bash -c 'kill -9 $$')"
    check "not found: 127" 127 "$(status_of "$with_can" no-such-command)"
    check "not executable: 126" 126 "$(status_of "$with_can" /etc/passwd)"
    check "a guest that panics: 125" 125 "$(status_of "$with_can" bash -c 'echo c >/proc/sysrq-trigger; sleep 9')"
}

check_signals() {
    local number name status pid
    for name in INT TERM HUP; do
        rm -f up got
        # The trap writes a file: the signal reached the command, not only its connection. Python undoes the
        # ignored SIGINT of a background job.
        python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
            "$with_can" bash -c "trap 'echo got >got; exit 42' $name; echo up >up; sync; echo up; for i in {1..100}; do sleep 0.1; done" \
            >up.log 2>&1 &
        pid=$!
        wait_for 90 grep -q up up.log || true
        kill -s "$name" "$pid"
        status=0
        wait "$pid" || status=$?
        check "SIG$name reaches the command" "42 got" "$status $(cat got 2>/dev/null)"
    done
    python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
        "$with_can" bash -c 'echo up; sleep 20; echo late' >up.log 2>&1 &
    pid=$!
    wait_for 90 grep -q up up.log || true
    kill -INT "$pid"
    status=0
    wait "$pid" || status=$?
    number=$((128 + 2))
    check "SIGINT without a trap: 130" "$number up" "$status $(cat up.log)"
}

check_terminal() {
    local out
    # script(1) gives the command a terminal.
    out="$(printf '' | script -qec "stty rows 33 cols 77; $with_can bash -c 'tty -s && stty size'" /dev/null | tr -d '\r')"
    check "terminal with its size" "33 77" "$out"
    check "a terminal that changes its size; Ctrl-C" "130 resized" "$(python3 "$here/selftest_terminal.py" "$with_can")"
}

check_files() {
    "$with_can" bash -c 'head -c 30000000 /dev/zero | tr "\0" z >big; echo end >>big; (sleep 0.3; echo no) >late & '
    check "files are complete" "30000004 end" "$(stat -c %s big) $(tail -c 4 big)"
    "$with_can" python3 -c 'import mmap
with open("mapped", "w+b") as f:
    f.truncate(1 << 20)
    m = mmap.mmap(f.fileno(), 1 << 20)
    m[-3:] = b"end"'
    check "mapped files are complete" end "$(tail -c 3 mapped)"
}

check_two() {
    "$with_can" bash -c 'sleep 1; cat /proc/sys/kernel/random/boot_id' >one &
    local first=$!
    "$with_can" bash -c 'sleep 1; cat /proc/sys/kernel/random/boot_id' >two
    wait "$first"
    check "two at once are two guests" "36 36 different" \
        "$(tr -d '\n' <one | wc -c | tr -d ' ') $(tr -d '\n' <two | wc -c | tr -d ' ') $(cmp -s one two && echo same || echo different)"
}

check_join() {
    local main second id message
    "$with_can" bash -c 'cat /proc/sys/kernel/random/boot_id; read -r _' < <(sleep 60) >boot &
    main=$!
    wait_for 10 test -s boot
    check "join is the same guest" "$(cat boot)" "$("$with_can" --join cat /proc/sys/kernel/random/boot_id)"
    id="$(guest_here)"
    check "OTABENCH_GUEST" "$id" "$("$with_can" --join printenv OTABENCH_GUEST)"
    check "join by name, from elsewhere" "$(cat boot)" "$(cd / && "$with_can" --join="$id" cat /proc/sys/kernel/random/boot_id)"
    check "join by name, as two words" "$(cat boot)" "$(cd / && "$with_can" --join "$id" cat /proc/sys/kernel/random/boot_id)"
    mkdir -p below
    message="$(cd below && "$with_can" --join true 2>&1)"
    check "join from a folder below: announced" yes "$([[ "$message" == *"joining $id"* ]] && echo yes || echo "$message")"
    mkdir -p "$work.other"
    message="$(cd "$work.other" && "$with_can" --join touch joined 2>&1)" || check "a guest of another folder: 125" 125 "$?"
    check "a guest of another folder is listed, not joined" yes \
        "$([[ "$message" == *"$id"*"$PWD"*"boot_id"* && ! -e "$work.other/joined" ]] && echo yes || echo "$message")"
    rm -r "$work.other"
    "$with_can" bash -c 'echo up; read -r _' < <(sleep 60) >second 2>/dev/null &
    second=$!
    wait_for 10 test -s second
    message="$("$with_can" --join touch joined2 2>&1)" || check "two guests of this folder: 125" 125 "$?"
    check "both are listed, none is joined" yes \
        "$([[ "$message" == *"2 guests"*"$id"* && ! -e joined2 ]] && echo yes || echo "$message")"
    kill -TERM "$second"
    wait "$second" 2>/dev/null || true
    check "join with status and streams" "5 b" \
        "$(status=0; out="$(echo b | "$with_can" --join bash -c 'cat; exit 5')" || status=$?; echo "$status $out")"
    "$with_can" --join bash -c 'echo joined >joined; head -c 5000000 /dev/zero >>joined'
    check "a joined command's files are complete" 5000007 "$(stat -c %s joined)"
    check "join of an unknown name: 125" 125 "$(status_of "$with_can" --join=nobody true)"
    kill -TERM "$main"
    wait "$main" 2>/dev/null || true
    check "afterwards nothing is left" "0" "$(processes_of "$id")"
}

check_user() { # a user without a home, in a guest of its own; only root can become one
    if ((EUID != 0)); then
        check "runs without root" "$EUID" "$(id -u)"
        return
    fi
    mkdir -p cache/otabench
    cp -r "$(dirname "$("$with_can" --build-only)")" cache/otabench/
    # A copy: the checkout may lie in a home that only its owner can enter.
    cp -r "$here/.." setup
    chmod -R a+rX "$work"
    as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent XDG_CACHE_HOME="$work/cache")
    unset XDG_RUNTIME_DIR
    check "root in the guest, nobody on the host" "0 nobody" "$(cd / && file="/tmp/with-can-nobody.$$"
        "${as_nobody[@]}" "$work/setup/with-can" bash -c "id -u; touch $file; tc qdisc add dev vcan0 root tbf rate 500kbit burst 200 limit 99999" |
            tr '\n' ' '
        stat -c %U "$file"
        rm -f "$file")"
}

check_forward() {
    local port main
    port="$(free_port)"
    echo page >index.html
    "$with_can" --forward "$port" python3 -m http.server --bind 127.0.0.1 "$port" >/dev/null 2>&1 &
    main=$!
    wait_for 15 curl -fsS --max-time 5 "http://127.0.0.1:$port/index.html" || true
    check "a port that is served on the guest's loopback" page \
        "$(curl -fsS --max-time 5 "http://127.0.0.1:$port/index.html" 2>&1)"
    check "the port in use: 125, before a guest boots" "125 yes" "$(status=0
        message="$("$with_can" --forward "$port" touch booted 2>&1)" || status=$?
        [[ "$message" == *"port $port"*"in use"* && ! -e booted ]] && echo "$status yes" || echo "$status $message")"
    kill -TERM "$main"
    wait "$main" 2>/dev/null || true
    check "the port is free again" free "$(curl -s --max-time 2 "http://127.0.0.1:$port/" || echo free)"
}

check_printed() { # what `otabench up` prints for another terminal works as printed
    local main line port
    if [[ ! -x "$here/../../.venv/bin/otabench" ]]; then
        echo "skip what otabench up prints: there is no virtual environment"
        return
    fi
    port="$(free_port)"
    "$with_can" --forward "$port" "$here/../../.venv/bin/otabench" up --hmi-port "$port" >up.log 2>&1 &
    main=$!
    wait_for 90 grep -q 'Ctrl-C stops' up.log || true
    line="$(sed -n 's/^status *//p' up.log)"
    check "the printed line for the status" "bench of" "$(bash -c "$line" | head -n 1 | cut -d" " -f1,2)"
    line="$(sed -n 's/^frames *//p' up.log)"
    check "the printed line for the frames" vcan0 "$(bash -c "$line -n 1" | awk '{print $1}')"
    line="$(sed -n 's/^HMI *\([^ ]*\).*/\1/p' up.log)"
    check "the printed address of the driver's page" 200 "$(page_status "$line/")"
    kill -TERM "$main"
    wait "$main" 2>/dev/null || true
}

check_death() {
    local pid id status
    "$with_can" bash -c 'echo up; sleep 60' >up.log 2>&1 &
    pid=$!
    wait_for 90 grep -q up up.log || true
    id="$(guest_here)"
    check "a guest runs" yes "$([[ -n "$id" && "$(processes_of "$id")" -gt 0 ]] && echo yes || echo no)"
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null || true
    gone() { [[ "$(processes_of "$id")" == 0 && -z "$(guests | grep -x "$id" || true)" ]]; }
    wait_for 5 gone || true
    check "with-can killed: the guest is gone" "0 " "$(processes_of "$id") $(guests | grep -x "$id" || true)"

    "$with_can" bash -c 'echo up; sleep 60' >up.log 2>&1 &
    pid=$!
    wait_for 90 grep -q up up.log || true
    id="$(guest_here)"
    kill -KILL "$(guard_of "$id")"
    status=0
    wait "$pid" || status=$?
    check "its guard killed: 125, and the guest is gone" "125 0" "$status $(processes_of "$id")"
}

names=(arguments surroundings bus streams status signals terminal files user two join forward printed death)
"$with_can" --build-only >/dev/null
for name in "${names[@]}"; do
    if (($#)); then
        wanted=no
        for part in "$@"; do
            if [[ "$name" == *"$part"* ]]; then wanted=yes; fi
        done
        if [[ "$wanted" == no ]]; then continue; fi
    fi
    "check_$name"
done
exit "$failed"
