"""One guest: its processes on the host, its memory, its forwarded ports.

It determines how much memory a guest gets and in which directory that memory is
kept, how its processes are started, and that none of them outlives its owner.
Run directories are `guests.py`'s, commands `client.py`'s, what the console says `console.py`'s.

Rules:

* The guard is a process between the owner and the guest: it ends the guest and
  removes the directory when the owner's pipe closes, so also after SIGKILL.
  Should the guard itself be killed, the kernel ends its children
  (PR_SET_PDEATHSIG, by `setpriv`).
* The guest's processes are in sessions of their own: Ctrl-C in a terminal
  reaches the command through the agent only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import console
import wire
from guests import GuestError, describe, make_run_dir, remove_remains, running_guests

BOOT_TIMEOUT_S = 60.0
DEFAULT_MEMORY_MIB = 3072
GUEST_FILES = ("init", "agent.py", "wire.py")
CONSOLE_LOG = "console.log"


class BootError(GuestError):
    """The guest did not come up; no command was started.

    Attributes:
        reason: it in one line.
    """

    def __init__(self, text: str, *, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


def memory_mib() -> int:
    """Memory of the guest: WITH_CAN_MEMORY, else 3 GiB, but at most three quarters of the machine.

    Raises:
        GuestError: WITH_CAN_MEMORY is not a size.
    """
    text = os.environ.get("WITH_CAN_MEMORY", "").strip()
    if text:
        units = {"K": 1 / 1024, "M": 1, "G": 1024}
        unit = units.get(text[-1].upper())
        digits = text[:-1] if unit else text
        if not digits.isdigit():
            raise GuestError(f"WITH_CAN_MEMORY={text} is not a size: use 2G or 1500M")
        wanted = int(int(digits) * (unit or 1))
        if wanted < 128:
            raise GuestError(f"WITH_CAN_MEMORY={text} is too little for the guest: use 128M or more")
        return wanted
    machine_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    return min(DEFAULT_MEMORY_MIB, machine_mib * 3 // 4)


def memory_dir(size_mib: int, run_dir: Path) -> str:
    """Return where the file that is the guest's memory fits: a tmpfs with space and without noexec, else a disk.

    User Mode Linux maps this file executable. A container's /dev/shm often has 64 MB and noexec: a guest whose
    memory is there dies with SIGBUS in the middle of its work.

    Raises:
        GuestError: it fits nowhere.
    """
    candidates = [
        "/dev/shm",
        os.environ.get("XDG_RUNTIME_DIR"),
        os.environ.get("TMPDIR"),
        "/tmp",
        "/var/tmp",
        str(run_dir),
    ]
    for candidate in candidates:
        if not candidate or not os.access(candidate, os.W_OK | os.X_OK):
            continue
        info = os.statvfs(candidate)
        if info.f_bavail * info.f_frsize >= size_mib << 20 and not info.f_flag & os.ST_NOEXEC:
            return candidate
    raise GuestError(
        f"no directory has room for the guest's {size_mib} MiB of memory (tried /dev/shm, TMPDIR, /tmp): "
        "set WITH_CAN_MEMORY to less, for example 1G, or TMPDIR to a directory with room"
    )


def check_port_is_free(port: int) -> None:
    """Raise GuestError if a port cannot be served on 127.0.0.1 of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except PermissionError as error:
            raise GuestError(f"port {port} of 127.0.0.1 needs root: forward one above 1023") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise GuestError(
                f"port {port} of 127.0.0.1 is in use on this machine: end what uses it (ss -ltnp "
                f"'sport = :{port}' names it) or forward another port"
            ) from error


def python_for_guest() -> str:
    """Return the interpreter that runs the agent: the system's, which every user can read."""
    return "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


def slirp_command(run_dir: Path) -> list[str]:
    """Return the command of the user-mode network on a socket, controlled through another one."""
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "slirp4netns",
        "--target-type=bess",
        f"--api-socket={run_dir}/api",
        f"{run_dir}/net",
    ]


def kernel_command(kernel: str, run_dir: Path, size_mib: int) -> list[str]:
    """Return the command that starts the guest."""
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        kernel,
        f"mem={size_mib}M",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        f"init={run_dir}/init",
        "con=null",
        "con0=null,fd:1",
        "quiet",
        "panic=-1",
        "vcan.echo=1",
        f"vec0:transport=bess,dst={run_dir}/net,depth=128,gro=0",
        f"uml_dir={run_dir}/",  # else it makes ~/.uml, and panics where it cannot
        f"OTABENCH_RUN={run_dir}",
        f"OTABENCH_PYTHON={python_for_guest()}",
    ]


class Guard:
    """The owner's handle on a guest's guard process."""

    def __init__(self, kernel: str, run_dir: Path) -> None:
        self._run_dir = run_dir
        size_mib = memory_mib()
        memory = memory_dir(size_mib, run_dir)
        alive_read, self._alive_write = os.pipe()
        self.ended_fd, ended_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._alive_write)
                os.close(self.ended_fd)
                guard(kernel_command(kernel, run_dir, size_mib), run_dir, memory, alive_read, ended_write)
            finally:
                os._exit(1)
        os.close(alive_read)
        os.close(ended_write)

    def has_ended(self) -> bool:
        """Return whether the guest is gone."""
        return bool(select.select([self.ended_fd], [], [], 0)[0])

    def end(self) -> None:
        """End the guest and wait until nothing of it is left."""
        if self._pid:
            os.close(self._alive_write)
            os.waitpid(self._pid, 0)
            self._pid = 0
            if self._run_dir.exists():
                remove_remains(self._run_dir)


def guard(command: list[str], run_dir: Path, memory: str, alive_fd: int, ended_fd: int) -> NoReturn:
    """Be the guard process: start slirp4netns and the kernel, wait for the end of either or of the owner, clean up."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    lock = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, str(os.getpid()).encode())
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(run_dir / CONSOLE_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, fd in enumerate((null, output, output)):
        os.dup2(fd, target)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for arguments in (slirp_command(run_dir), command):
            if arguments is command:
                pin_to_one_processor(run_dir)
            environment = {**os.environ, "TMPDIR": memory}
            children.append(subprocess.Popen(arguments, env=environment, start_new_session=True, cwd="/"))
        select.select([alive_fd, *(os.pidfd_open(child.pid) for child in children)], [], [])
    except OSError as error:
        os.write(2, f"cannot start the guest: {error}\n".encode())
    for child in children:
        with contextlib.suppress(ProcessLookupError):  # ended by itself
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    os.close(ended_fd)
    select.select([alive_fd], [], [])  # the owner may want to read the console log of a guest that died
    shutil.rmtree(run_dir, ignore_errors=True)
    os._exit(0)


def pin_to_one_processor(run_dir: Path) -> None:
    """Keep what starts from here on one processor: the one with the fewest of this user's guests.

    The guest has one processor, and each of its system calls is a hand-over between two host processes. On one
    processor that takes 14 µs where two took 42 µs (measured).
    """
    allowed = list(os.sched_getaffinity(0))
    used = []
    for guest in running_guests():
        try:
            used.append(int((guest.run_dir / "processor").read_text()))
        except (OSError, ValueError):
            continue  # on its way up or down
    chosen = min(allowed, key=lambda number: (used.count(number), secrets.randbelow(1 << 16)))
    os.sched_setaffinity(0, {chosen})
    (run_dir / "processor").write_text(str(chosen))


def slirp_call(run_dir: Path, request: dict[str, object]) -> dict[str, object]:
    """Make one call to slirp4netns' control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(10)
        control.connect(f"{run_dir}/api")
        control.sendall(json.dumps(request).encode())
        control.shutdown(socket.SHUT_WR)
        answer = b""
        while data := control.recv(4096):
            answer += data
    decoded = json.loads(answer or b"{}")
    return decoded if isinstance(decoded, dict) else {}


def forward(run_dir: Path, host_port: int, guest_port: int) -> int:
    """Forward a port of the host's loopback to a port of the guest. Return the number by which to undo it.

    Raises:
        GuestError: slirp4netns refused, as a rule because the port is in use.
    """
    answer = slirp_call(
        run_dir,
        {
            "execute": "add_hostfwd",
            "arguments": {
                "proto": "tcp",
                "host_addr": "127.0.0.1",
                "host_port": host_port,
                "guest_addr": wire.GUEST_ADDRESS,
                "guest_port": guest_port,
            },
        },
    )
    result = answer.get("return")
    if not isinstance(result, dict) or not isinstance(result.get("id"), int):
        raise GuestError(
            f"port {host_port} of 127.0.0.1 cannot be forwarded into the guest: it is in use, or not "
            f"allowed (slirp4netns: {answer.get('error')})"
        )
    return int(result["id"])


def free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def boot(kernel: str, *, folder: str, command: Sequence[str]) -> tuple[Path, Guard]:
    """Start a guest and wait until its agent answers.

    Args:
        kernel: the program.
        folder, command: what the guest is started for; who wants to join it sees them.

    Raises:
        BootError: it did not come up; the text holds the end of its console.
        GuestError: no place, no memory.
    """
    run_dir = make_run_dir()
    started = False
    try:
        for name in GUEST_FILES:
            shutil.copy(Path(__file__).parent / name, run_dir / name)
        secret = os.open(run_dir / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(secret, secrets.token_bytes(wire.TOKEN_BYTES + 64))
        os.close(secret)
        guard_of_guest = Guard(kernel, run_dir)
        started = True
    finally:
        if not started:
            shutil.rmtree(run_dir, ignore_errors=True)
    try:
        wait_until_ready(run_dir, guard_of_guest)
        describe(run_dir, folder=folder, command=command)
        publish(run_dir)
    except BaseException:
        guard_of_guest.end()
        raise
    return run_dir, guard_of_guest


def wait_until_ready(run_dir: Path, guard_of_guest: Guard) -> None:
    """Wait until the agent reports on the console. Raise BootError if it does not in time."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    marker = wire.READY_LINE.encode()
    log = run_dir / CONSOLE_LOG
    while not (log.exists() and marker in log.read_bytes()):
        if guard_of_guest.has_ended():
            raise boot_error("the guest kernel ended before it was up", run_dir)
        if time.monotonic() > deadline:
            raise boot_error(f"the guest kernel was not up after {BOOT_TIMEOUT_S:.0f} s", run_dir)
        time.sleep(0.004)


def boot_error(what: str, run_dir: Path) -> BootError:
    """Return the error with the console's output: all of its end, and the most informative line."""
    written = read_console(run_dir)
    return BootError(
        f"{what}. Its last words:\n{console.last_words(written)}", reason=f"{what}: {console.reason(written)}"
    )


def read_console(run_dir: Path) -> str:
    """Return what the guest's kernel and its first process wrote."""
    try:
        return (run_dir / CONSOLE_LOG).read_text(errors="replace")
    except OSError as error:
        return f"no console log: {error.strerror}"


def publish(run_dir: Path) -> None:
    """Forward a free port to the agent and write it down: from here on the guest can be joined."""
    for attempts_left in reversed(range(10)):
        port = free_port()
        try:
            forward(run_dir, port, wire.AGENT_PORT)
            break
        except GuestError:
            if not attempts_left:
                raise
    unfinished = run_dir / "port.new"
    unfinished.write_text(str(port))
    unfinished.rename(run_dir / "port")


def connect(run_dir: Path) -> socket.socket:
    """Return a connection to the agent, with the token already sent.

    Raises:
        GuestError: the guest is going or gone.
    """
    try:
        port = int((run_dir / "port").read_text())
        token = (run_dir / "secret").read_bytes()[: wire.TOKEN_BYTES]
        connection = socket.create_connection(("127.0.0.1", port), timeout=BOOT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise GuestError(f"guest {run_dir.name} cannot be reached ({error}): it is ending") from error
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(token)
    return connection


def take_forward_back(run_dir: Path, number: int) -> None:
    """Undo `forward`. A guest that has ended meanwhile took it along."""
    try:
        slirp_call(run_dir, {"execute": "remove_hostfwd", "arguments": {"id": number}})
    except OSError:
        return
