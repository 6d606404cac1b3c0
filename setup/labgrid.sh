#!/usr/bin/env bash
# Makes an environment with labgrid, for the tests of a shared lab: .venv/labgrid. Its pyserial replaces ours, so it gets one of its own.
# usage: setup/labgrid.sh [VENV]
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${1:-.venv}"
if ! { [ -x "$venv/labgrid/bin/pip" ] || "$venv/bin/python" -m venv "$venv/labgrid"; } >"$venv/labgrid.log" 2>&1 ||
    ! "$venv/labgrid/bin/pip" install --disable-pip-version-check --requirement setup/labgrid.lock >>"$venv/labgrid.log" 2>&1; then
    tail -n 15 "$venv/labgrid.log" >&2
    echo "setup: installing labgrid failed (above: the end of $venv/labgrid.log); without it, the tests of a shared lab are skipped" >&2
    exit 1
fi
