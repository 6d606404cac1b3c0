#!/usr/bin/env bash
# Makes the virtual environment with the locked packages and this project, editable.
# usage: setup/venv.sh PYTHON VENV
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1
venv=$2

if ! command -v "$python" >/dev/null; then
    setup/packages.sh run
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: $("$python" --version 2>&1) is too old: otabench needs Python 3.11 or later (make PYTHON=python3.12 …)" >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    setup/packages.sh run
fi

mkdir -p "$venv"
log=$venv/setup.log
echo "setup: Python packages into $venv (log: $log; a minute or two the first time)"

install() {
    [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv" || return
    "$venv/bin/pip" install --disable-pip-version-check --requirement requirements.lock || return
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --editable . || return
    # In a guest kernel, where processes start slowly, every process of the first bench would compile what it imports.
    "$venv/bin/python" -m compileall -q otabench bench cloud ecu_firmware_sim proto
}

# shellcheck source=progress.sh
source setup/progress.sh
set -m # a process group of its own: an interrupted set-up ends pip and what pip started
install >"$log" 2>&1 </dev/null &
installer=$!
set +m
trap 'kill -TERM -- "-$installer" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

packages=$(wc -l <requirements.lock)
while kill -0 "$installer" 2>/dev/null; do
    sleep 0.5
    collected=$(grep -cE '^(Collecting|Processing|Requirement already satisfied:) ' "$log" || true)
    step="$collected packages of $packages"
    if grep -q '^Installing collected packages' "$log"; then step="installing"; fi
    progress "Python packages" "$collected" "$packages" "$step" "$SECONDS"
done
progress_end
wait "$installer" || {
    tail -n 15 "$log" >&2
    echo "setup: installing the Python packages failed (above: the end of $log). No network? Repeat the command when there is one." >&2
    exit 1
}
