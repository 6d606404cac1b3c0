"""Types Ctrl-C into a terminal in which with-can runs a command; prints the status. Part of `selftest.sh`."""

from __future__ import annotations

import os
import pty
import select
import sys
import time

TIMEOUT_S = 20.0


def main() -> None:
    """Start, wait for the command's first output, type Ctrl-C, collect."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], [sys.argv[1], "bash", "-c", "echo up; sleep 30; echo late"])
    deadline = time.monotonic() + TIMEOUT_S
    seen, typed = b"", False
    while time.monotonic() < deadline and select.select([terminal], [], [], TIMEOUT_S)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the terminal's last user is gone
            break
        seen += data
        if b"up" in seen and not typed:
            os.write(terminal, b"\x03")
            typed = True
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
