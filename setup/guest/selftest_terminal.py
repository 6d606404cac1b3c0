"""Changes the size of a terminal in which with-can runs a command, then types Ctrl-C. Part of `selftest.sh`.

Prints the status and whether the command saw the new size."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

TIMEOUT_S = 20.0
COMMAND = "trap 'stty size' WINCH; trap 'exit 130' INT; echo up; for i in {1..100}; do sleep 0.2; done; echo late"


def main() -> None:
    """Start, wait for the command's first output, type Ctrl-C, collect."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], [sys.argv[1], "bash", "-c", COMMAND])
    deadline = time.monotonic() + TIMEOUT_S
    seen, resized, typed = b"", False, False
    while time.monotonic() < deadline and select.select([terminal], [], [], TIMEOUT_S)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the terminal's last user is gone
            break
        seen += data
        if b"up" in seen and not resized:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
            resized = True
        if b"44 99" in seen and not typed:
            os.write(terminal, b"\x03")
            typed = True
    os.close(terminal)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "resized" if b"44 99" in seen else "not resized")


if __name__ == "__main__":
    main()
