"""One command in a guest, seen from the host: its input, output, signals, terminal and status.

It forwards signals, switches the terminal, and distinguishes the end of the
connection from the end of the command.

Rules:

* Output is written as it comes, each stream to its own. Who stops reading a
  stream is reported to the agent, so that the command gets its SIGPIPE.
* Signals that this process ignores stay ignored (nohup, background jobs); the
  others of FORWARDED go to the command's process group.
* FORCE_AFTER interrupts without an end give the guest up: the way out when
  something inside hangs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import console
import wire
from guests import GuestError
from machine import read_console
from wire import Kind

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
FORCE_AFTER = 5
FAILED = 125  # with-can's own failures, as env and timeout report theirs


class Client:
    """One connection to the agent for one command."""

    def __init__(self, connection: socket.socket, run_dir: Path, *, ports: Sequence[int] = ()) -> None:
        self.connection = connection
        self.run_dir = run_dir
        self.ports = ports
        self.send_lock = threading.Lock()
        self.window = threading.Condition()
        self.unacknowledged = 0
        self.interrupts = 0
        self.is_terminal = os.isatty(0) and os.isatty(1)
        self.terminal_state: list[Any] | None = None
        self.closed_outputs: set[int] = set()

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send one frame; a lost connection is noticed by the receiving side."""
        try:
            with self.send_lock:
                self.connection.sendall(wire.frame(kind, payload))
        except OSError:
            return

    def request(self, argv: list[str], *, main: bool) -> bytes:
        """Return the opening frame: everything a command inherits."""
        umask = os.umask(0)
        os.umask(umask)
        environment = dict(os.environ)
        environment["OTABENCH_KERNEL"] = "guest"
        environment["OTABENCH_GUEST"] = self.run_dir.name
        environment["OTABENCH_FORWARDED"] = " ".join(map(str, self.ports))
        environment["PATH"] = with_admin_directories(environment.get("PATH", os.defpath))
        return wire.encode_request(
            {
                "argv": argv,
                "env": environment,
                "cwd": working_directory(),
                "umask": umask,
                "main": main,
                "tty": self.is_terminal,
                "stderr_tty": os.isatty(2),
                "size": self.terminal_size(),
                "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0] % (1 << 62),
                "ignored": [int(number) for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN],
                "hostname": os.uname().nodename if main else None,
                "runtime_dir": os.environ.get("XDG_RUNTIME_DIR") if main else None,
            }
        )

    def terminal_size(self) -> tuple[int, int]:
        """Return rows and columns of the terminal, 0 and 0 without one."""
        if not self.is_terminal:
            return 0, 0
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))
        return rows, columns

    def run(self, argv: list[str], *, main: bool) -> int:
        """Run the command to its end. Returns its status, or FAILED with a line on stderr."""
        opening = self.request(argv, main=main)
        watched = {number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN}
        if self.is_terminal:
            watched.add(signal.SIGWINCH)
        # Blocked before any thread starts: only the thread that waits for them gets them.
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        self.connection.sendall(opening)
        threading.Thread(target=self.pass_signals, args=(watched,), daemon=True).start()
        if self.is_terminal:
            self.terminal_state = termios.tcgetattr(0)
            tty.setraw(0)
        threading.Thread(target=self.pass_input, daemon=True).start()
        try:
            return self.receive()
        finally:
            self.restore_terminal()

    def restore_terminal(self) -> None:
        """Give the terminal back as it was."""
        if self.terminal_state is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self.terminal_state)
            self.terminal_state = None

    def pass_signals(self, watched: set[signal.Signals]) -> None:
        """Thread: forward signals."""
        while True:
            number = signal.sigwait(watched)
            if number == signal.SIGWINCH:
                self.send(Kind.WINSIZE, struct.pack("!HH", *self.terminal_size()))
                continue
            self.interrupts += 1
            if self.interrupts >= FORCE_AFTER:
                self.restore_terminal()
                os.write(2, b"with-can: interrupted repeatedly, giving the guest up\n")
                os._exit(128 + number)  # the guard sees the pipe close and ends the guest
            self.send(Kind.SIGNAL, bytes([number]))

    def pass_input(self) -> None:
        """Thread: forward standard input while the command takes it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
        while True:
            with self.window:
                self.window.wait_for(lambda: self.unacknowledged < wire.STDIN_WINDOW_BYTES)
            try:
                data = os.read(0, wire.CHUNK_BYTES)
            except OSError as error:
                if error.errno == errno.EIO and os.isatty(0):  # in the background of a terminal: not ours to read now
                    time.sleep(0.5)
                    continue
                if error.errno == errno.EAGAIN:
                    select.select([0], [], [])
                    continue
                data = b""
            if not data:
                self.send(Kind.STDIN_EOF)
                return
            with self.window:
                self.unacknowledged += len(data)
            self.send(Kind.STDIN, data)

    def receive(self) -> int:
        """Take in the agent's frames until the command's end."""
        reader = wire.FrameReader()
        while True:
            try:
                data = self.connection.recv(wire.CHUNK_BYTES)
            except OSError:
                data = b""
            if not data:
                self.restore_terminal()
                raise GuestError(
                    f"the guest ended before the command did: killed, out of memory, or its main command "
                    f"ended. Its console:\n{console.last_words(read_console(self.run_dir))}"
                )
            for kind, payload in reader.feed(data):
                if kind is Kind.EXIT:
                    return payload[0]
                if kind is Kind.ERROR:
                    self.restore_terminal()
                    print(f"with-can: {os.fsdecode(payload[1:])}", file=sys.stderr)
                    return payload[0]
                self.take(kind, payload)

    def take(self, kind: Kind, payload: bytes) -> None:
        """Act on one frame that does not end the command."""
        if kind is Kind.STDIN_ACK:
            with self.window:
                self.unacknowledged -= struct.unpack("!I", payload)[0]
                self.window.notify()
        elif kind in (Kind.STDOUT, Kind.STDERR):
            fd = 1 if kind is Kind.STDOUT else 2
            if fd not in self.closed_outputs and not write_all(fd, payload):
                self.closed_outputs.add(fd)
                self.send(Kind.CLOSE, bytes([fd]))


def write_all(fd: int, data: bytes) -> bool:
    """Write everything. Returns False when nobody reads it any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody made the descriptor non-blocking
            select.select([], [fd], [])
        except OSError:
            return False
    return True


def working_directory() -> str:
    """Return the working directory, by the name that the user uses if that is right."""
    logical = Path(os.environ.get("PWD", ""))
    try:
        if logical.is_absolute() and logical.exists() and logical.samefile("."):
            return str(logical)
        return str(Path.cwd())
    except OSError as error:
        raise GuestError(f"the working directory is gone ({error.strerror}): change to one that exists") from error


def with_admin_directories(path: str) -> str:
    """Return PATH with the directories of `ip` and `tc` at its end: the guest's user is root."""
    known = path.split(os.pathsep)
    return os.pathsep.join([*known, *(extra for extra in ("/usr/sbin", "/sbin") if extra not in known)])


def open_forward(connection: socket.socket, port: int) -> int:
    """Ask the agent to lead to `port` of the guest's loopback; lasts as long as the connection.

    Returns:
        The port of the guest's network address to forward to.

    Raises:
        GuestError: the agent did not answer.
    """
    connection.sendall(wire.encode_request({"forward": port}))
    reader = wire.FrameReader()
    while data := connection.recv(wire.CHUNK_BYTES):
        for kind, payload in reader.feed(data):
            if kind is Kind.FORWARDED:
                return int(struct.unpack("!H", payload)[0])
    raise GuestError(f"the guest did not open the way to its port {port}")
