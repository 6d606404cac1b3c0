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
{
    [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
    "$venv/bin/pip" install --disable-pip-version-check --requirement requirements.lock
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --editable .
} >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    echo "setup: installing the Python packages failed (above: the end of $log). No network? Repeat the command when there is one." >&2
    exit 1
}
