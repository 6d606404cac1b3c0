"""First process of the guest: serves `with-can` runs over TCP, one connection a command.

It starts commands (session, terminal, pipes, environment, limits), reports
their exit status, and ends the guest when the main command ends or its
connection is lost. Everything else about the guest is
made by `init`, everything on the host side by `host.py`. Frames: `wire.py`.

Rules:

* Each connection is served by a forked process, so that one command cannot
  disturb another; this process only accepts and reaps.
* A command is the leader of a session and process group of its own; signals
  go to the group, as a terminal would send them.
* When a command has ended, what is left in its output pipes is sent on, but a
  background process that keeps a pipe open is not waited for.
* Before EXIT is sent everything is written through to the host's files. The
  guest's page cache is lost with the guest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hmac
import os
import resource
import select
import selectors
import signal
import socket
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Any, NoReturn

import wire
from wire import Kind

RUN_DIR = Path("/run/otabench")
RNDADDENTROPY = 0x40085203
HELLO_TIMEOUT_S = 10.0
GRACE_S = 2.0
OUTPUT_BUFFER_BYTES = 256 * 1024
HARD_NOFILE = 1048576
DRAIN_READS = 32  # of CHUNK_BYTES: twice the largest pipe


def read_secret() -> bytes:
    """Return the token. The bytes after it seed the guest's random generator, which starts with nothing."""
    secret = (RUN_DIR / "secret").read_bytes()
    token, seed = secret[: wire.TOKEN_BYTES], secret[wire.TOKEN_BYTES :]
    with Path("/dev/random").open("wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
    return token


def power_off() -> NoReturn:
    """End the guest. Does not return; the loop only covers the moment until the kernel acts."""
    os.sync()
    Path("/proc/sysrq-trigger").write_text("o")
    while True:
        time.sleep(1)


def other_processes() -> list[int]:
    """Return the processes other than this one, the first process and the kernel's threads."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) in (1, os.getpid()):
            continue
        try:
            state_and_on = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        is_kernel_thread = int(state_and_on[6]) & 0x00200000  # PF_KTHREAD
        if state_and_on[0] not in "ZX" and not is_kernel_thread:
            found.append(int(process.name))
    return found


def end_other_processes() -> None:
    """Ask what still runs to end, wait up to GRACE_S, then kill it, so that files are closed in order."""
    if not other_processes():
        return
    os.kill(-1, signal.SIGTERM)
    os.kill(-1, signal.SIGCONT)
    deadline = time.monotonic() + GRACE_S
    while other_processes():
        if time.monotonic() > deadline:
            os.kill(-1, signal.SIGKILL)
            return
        time.sleep(0.01)


def shell_status(wait_status: int) -> int:
    """Return the status as a shell reports it: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code


class Session:
    """One command, from its request to its EXIT frame."""

    def __init__(self, connection: socket.socket, request: dict[str, Any], reader: wire.FrameReader) -> None:
        self.connection = connection
        self.reader = reader
        self.request = request
        self.is_main = bool(request.get("main"))
        self.selector = selectors.DefaultSelector()
        self.outgoing = bytearray()
        self.stdin_buffer = bytearray()
        self.stdin_fd = -1
        self.stdin_ended = False
        self.outputs: dict[int, Kind] = {}
        self.terminal_fd = -1
        self.pid = 0
        self.wait_status: int | None = None
        self.connected = True

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Queue a frame; `flush` sends it."""
        self.outgoing += wire.frame(kind, payload)

    def start(self) -> str | None:
        """Start the command. Returns a text when it cannot be started, with the status already queued."""
        to_close: list[int] = []
        if self.request["tty"]:
            self.terminal_fd, slave = os.openpty()
            self.resize(*self.request["size"])
            child_fds = [slave, slave, slave]
            to_close = [slave]
            self.outputs[self.terminal_fd] = Kind.STDOUT
            self.stdin_fd = os.dup(self.terminal_fd)
            if not self.request["stderr_tty"]:
                read_end, child_fds[2] = os.pipe()
                to_close.append(child_fds[2])
                self.outputs[read_end] = Kind.STDERR
        else:
            stdin_read, self.stdin_fd = os.pipe()
            stdout_read, stdout_write = os.pipe()
            stderr_read, stderr_write = os.pipe()
            child_fds = [stdin_read, stdout_write, stderr_write]
            to_close = list(child_fds)
            self.outputs = {stdout_read: Kind.STDOUT, stderr_read: Kind.STDERR}
        for fd in (self.stdin_fd, *self.outputs):
            os.set_blocking(fd, False)
        error_read, error_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.become_command(child_fds, error_write)
        for fd in (*to_close, error_write):
            os.close(fd)
        failure = os.read(error_read, 4096)
        os.close(error_read)
        if failure:
            os.waitpid(self.pid, 0)
            return os.fsdecode(failure)
        return None

    def become_command(self, child_fds: list[int], error_write: int) -> NoReturn:
        """In the child: set up the surroundings the request names, then exec. Reports a failure through the pipe."""
        argv = [os.fsencode(argument) for argument in self.request["argv"]]
        what = "?"
        try:
            os.setsid()
            if self.request["tty"]:
                fcntl.ioctl(child_fds[0], termios.TIOCSCTTY, 0)
            for target, fd in enumerate(child_fds):
                os.dup2(fd, target)
            for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for number in self.request["ignored"]:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.umask(self.request["umask"])
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(self.request["nofile"], HARD_NOFILE), HARD_NOFILE))
            what = self.request["cwd"]
            os.chdir(os.fsencode(what))
            what = self.request["argv"][0]
            environment = {os.fsencode(key): os.fsencode(value) for key, value in self.request["env"].items()}
            os.execvpe(argv[0], argv, environment)
        except BaseException as error:  # noqa: BLE001 - this process must not return into the agent's loop
            code = error.errno if isinstance(error, OSError) else None
            status = 127 if code == errno.ENOENT else 126
            reason = os.strerror(code) if code else repr(error)
            os.write(error_write, bytes([status]) + os.fsencode(f"{what}: {reason}"))
        os._exit(127)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal its size; the kernel signals the foreground process group."""
        fcntl.ioctl(self.terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal_command(self, number: int) -> None:
        """Send a signal to the command's process group, if it still exists."""
        if self.wait_status is None:
            with contextlib.suppress(ProcessLookupError):  # it ended and is not reaped yet
                os.killpg(self.pid, number)

    def run(self, early_frames: list[tuple[Kind, bytes]]) -> None:
        """Serve the command to its end."""
        failure = self.start()
        if failure is not None:
            self.send(Kind.ERROR, os.fsencode(failure))
            self.finish()
            return
        wakeup_read, wakeup_write = os.pipe()
        for fd in (wakeup_read, wakeup_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wakeup_read, selectors.EVENT_READ)
        self.connection.setblocking(False)
        self.reap()  # it may have ended before SIGCHLD was watched
        for kind, payload in early_frames:
            self.take(kind, payload)
        while self.wait_status is None and self.connected:
            self.watch()
            for key, events in self.selector.select():
                self.serve(key.fd, events, wakeup_read)
        signal.set_wakeup_fd(-1)
        if not self.connected:
            self.signal_command(signal.SIGHUP)
            self.signal_command(signal.SIGCONT)
        self.finish()

    def watch(self) -> None:
        """Bring the selector in line with what can make progress now."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outgoing else 0)
        self.set_events(self.connection.fileno(), events)
        has_room = len(self.outgoing) < OUTPUT_BUFFER_BYTES
        for fd in self.outputs:
            self.set_events(fd, selectors.EVENT_READ if has_room else 0)
        if self.stdin_fd >= 0:
            self.set_events(self.stdin_fd, selectors.EVENT_WRITE if self.stdin_buffer else 0)

    def set_events(self, fd: int, events: int) -> None:
        """Register, change or unregister a descriptor."""
        known = fd in self.selector.get_map()
        if not events:
            if known:
                self.selector.unregister(fd)
        elif not known:
            self.selector.register(fd, events)
        elif self.selector.get_key(fd).events != events:
            self.selector.modify(fd, events)

    def serve(self, fd: int, events: int, wakeup_read: int) -> None:
        """Handle one ready descriptor."""
        if fd == wakeup_read:
            os.read(wakeup_read, 4096)
            self.reap()
        elif fd == self.connection.fileno():
            if events & selectors.EVENT_WRITE:
                self.flush_some()
            if events & selectors.EVENT_READ:
                self.receive()
        elif fd in self.outputs:
            self.read_output(fd)
        elif fd == self.stdin_fd:
            self.write_stdin()

    def reap(self) -> None:
        """Note the command's end."""
        if self.wait_status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.wait_status = status

    def flush_some(self) -> None:
        """Send what the socket takes now."""
        try:
            sent = self.connection.send(self.outgoing)
            del self.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.connected = False

    def receive(self) -> None:
        """Take in frames of the client."""
        try:
            data = self.connection.recv(wire.CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.connected = False
            return
        for kind, payload in self.reader.feed(data):
            self.take(kind, payload)

    def take(self, kind: Kind, payload: bytes) -> None:
        """Act on one frame of the client."""
        if kind is Kind.STDIN:
            if self.stdin_fd >= 0:
                self.stdin_buffer += payload
                self.write_stdin()
            else:
                self.send(Kind.STDIN_ACK, struct.pack("!I", len(payload)))
        elif kind is Kind.STDIN_EOF:
            self.stdin_ended = True
            self.write_stdin()
        elif kind is Kind.SIGNAL:
            self.signal_command(payload[0])
        elif kind is Kind.WINSIZE and self.terminal_fd >= 0:
            self.resize(*struct.unpack("!HH", payload))
        elif kind is Kind.CLOSE:
            wanted = Kind.STDOUT if payload[0] == 1 else Kind.STDERR
            for fd in [fd for fd, output in self.outputs.items() if output is wanted]:
                self.close_output(fd)

    def write_stdin(self) -> None:
        """Hand buffered input to the command and acknowledge it; close at its end."""
        if self.stdin_fd < 0:
            return
        try:
            while self.stdin_buffer:
                written = os.write(self.stdin_fd, self.stdin_buffer[: wire.CHUNK_BYTES])
                del self.stdin_buffer[:written]
                self.send(Kind.STDIN_ACK, struct.pack("!I", written))
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self.send(Kind.STDIN_ACK, struct.pack("!I", len(self.stdin_buffer)))
            self.stdin_buffer.clear()
            self.stdin_ended = True
        if self.stdin_ended:
            self.set_events(self.stdin_fd, 0)
            os.close(self.stdin_fd)
            self.stdin_fd = -1

    def read_output(self, fd: int) -> bool:
        """Send on what the command wrote. Returns whether there may be more."""
        try:
            data = os.read(fd, wire.CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # a terminal's way to say that its last user is gone
            data = b""
        if not data:
            if fd != self.terminal_fd or self.wait_status is not None:
                self.close_output(fd)
            else:
                time.sleep(0.01)  # the last user closed the terminal but the command still runs
            return False
        self.send(self.outputs[fd], data)
        return True

    def close_output(self, fd: int) -> None:
        """Stop reading an output; the command gets SIGPIPE when it writes to it."""
        self.set_events(fd, 0)
        del self.outputs[fd]
        os.close(fd)

    def finish(self) -> None:
        """Drain, end the guest's other processes if this was the main command, write through, report."""
        self.connection.setblocking(True)
        self.drain()
        if self.is_main:
            end_other_processes()
            self.drain()  # what background processes said on their way out
        os.sync()
        if self.wait_status is not None:
            self.send(Kind.EXIT, bytes([shell_status(self.wait_status)]))
        self.flush_all()

    def drain(self) -> None:
        """Send what the outputs hold. Bounded, because a background process may write without end."""
        for fd in list(self.outputs):
            for _ in range(DRAIN_READS):
                if fd not in self.outputs or not self.read_output(fd):
                    break
                self.flush_all()

    def flush_all(self) -> None:
        """Send everything queued; a lost client is no reason to stop."""
        if self.connected:
            try:
                self.connection.sendall(self.outgoing)
            except OSError:
                self.connected = False
        self.outgoing.clear()


def copy_stream(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the end of the source, then pass the end on."""
    try:
        while data := source.recv(wire.CHUNK_BYTES):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):  # already closed
                end.shutdown(socket.SHUT_RDWR)


def relay(client: socket.socket, port: int) -> None:
    """Join a forwarded connection with the service on loopback. Servers bound to 127.0.0.1 only are reached too."""
    import threading

    for host in ("127.0.0.1", "::1"):
        try:
            service = socket.create_connection((host, port))
            break
        except OSError:
            continue
    else:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # refuse it as the port would
        client.close()
        return
    for end in (client, service):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    other = threading.Thread(target=copy_stream, args=(service, client), daemon=True)
    other.start()
    copy_stream(client, service)
    other.join()


def serve_forward(connection: socket.socket, port: int) -> None:
    """Listen on a free port, report it, and relay to `port` until the control connection ends."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # relays need no reaping
    listener = socket.create_server((wire.GUEST_ADDRESS, 0), backlog=128)
    connection.sendall(wire.frame(Kind.FORWARDED, struct.pack("!H", listener.getsockname()[1])))
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    poller.register(listener, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == connection.fileno():
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                connection.close()
                relay(client, port)
                os._exit(0)
            client.close()


Accepted = tuple[dict[str, Any], wire.FrameReader, list[tuple[Kind, bytes]]]


def receive_request(connection: socket.socket, token: bytes) -> Accepted | None:
    """Return the request of a new connection and the frames that came with it, or None if its token is wrong."""
    connection.settimeout(HELLO_TIMEOUT_S)
    received = b""
    while len(received) < wire.TOKEN_BYTES:
        data = connection.recv(wire.TOKEN_BYTES - len(received))
        if not data:
            return None
        received += data
    if not hmac.compare_digest(received, token):
        return None
    reader = wire.FrameReader()
    while True:
        data = connection.recv(wire.CHUNK_BYTES)
        if not data:
            return None
        frames = reader.feed(data)
        if frames:
            kind, payload = frames[0]
            if kind is not Kind.REQUEST:
                return None
            connection.settimeout(None)
            return wire.decode_request(payload), reader, frames[1:]


def serve(connection: socket.socket, token: bytes) -> None:
    """Serve one connection, in a process of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ends after its command has, also when the guest ends
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted = receive_request(connection, token)
    if accepted is None:
        return
    request, reader, early_frames = accepted
    if "forward" in request:
        serve_forward(connection, int(request["forward"]))
        return
    try:
        if request.get("hostname"):
            socket.sethostname(request["hostname"])
        if request.get("runtime_dir"):
            Path(request["runtime_dir"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        Session(connection, request, reader).run(early_frames)
    finally:
        if request.get("main"):
            power_off()


def main() -> None:
    """Accept connections and reap processes, for ever."""
    token = read_secret()
    wakeup_read, wakeup_write = os.pipe()
    for fd in (wakeup_read, wakeup_write):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wakeup_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listener = socket.create_server((wire.GUEST_ADDRESS, wire.AGENT_PORT), backlog=64)
    print(wire.READY_LINE, flush=True)
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    poller.register(wakeup_read, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == wakeup_read:
                os.read(wakeup_read, 4096)
                continue
            connection, _ = listener.accept()
            if os.fork() == 0:
                status = 1
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listener.close()
                    serve(connection, token)
                    status = 0
                except Exception:  # noqa: BLE001 - the last resort of this process, said on the console
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(status)
            connection.close()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass  # nothing runs


if __name__ == "__main__":
    main()
