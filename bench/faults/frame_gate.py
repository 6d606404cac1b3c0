"""``python -m otabench.bench.faults.frame_gate``: forward frames between two CAN interfaces, and apply faults to them.

* The near side is the bus of gateway, captures and pacing. The far side is a virtual interface, which the gate creates and removes; the
  simulated ECUs use it.
* A gate is needed because the kernel's ISO-TP runs at both ends, so neither end can drop a frame itself.
* Frames of one direction never overtake each other, so a delayed frame also delays the frames behind it. When a transmit queue is full, the
  gate waits.

The control port works like an ECU's (docs/contracts.md), with the operations ``state``, ``fault``, ``clear`` and ``seed``. ``frame_faults``
decides what happens to a frame.

Exit status: 0 stopped by SIGTERM or SIGINT; 1 could not run (one line on stderr); 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otabench.bench.bus import vcan
from otabench.bench.bus.raw_socket import CANFD_MTU, take_all_frames
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.faults.control_server import open_control_server, require_no_members, seed_of
from otabench.bench.faults.frame_faults import Direction, FrameFault, FrameFaults
from otabench.bench.setup_programs import command_of

_HEADER: Final = struct.Struct("=IBBBB")
_BURST_FRAMES: Final = 64
"""Frames forwarded from one side before the other side gets its turn."""
_QUEUE_FULL_WAIT_S: Final = 0.0005
_POLL_INTERVAL_S: Final = 0.2
_ID_MASK: Final = 0x1FFF_FFFF


def far_channel(near: str) -> str:
    """Return the name of the interface behind a gate. Linux allows 15 characters."""
    return f"{near[:11]}-ecu"


def open_raw(channel: str) -> socket.socket:
    """Return a CAN_RAW socket for classic and FD frames, with a large buffer.

    Raises:
        BenchError: this kernel has no CAN, or the interface does not exist.
    """
    try:
        raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    except OSError as error:
        raise BenchError(f"frame gate: this kernel has no CAN; run the command by {command_of('with-can')}") from error
    try:
        # The options must be set before ``bind``: a bound socket receives frames at once.
        take_all_frames(raw)
        raw.bind((channel,))
    except OSError as error:
        raw.close()
        raise BenchError(
            f"frame gate: {channel}: {error.strerror}; make it by {command_of('vcan.sh')} {channel}"
        ) from error
    raw.setblocking(False)
    return raw


class FrameGate:
    """The forwarding between two open sockets. The control port shares ``faults``; ``lock`` guards it."""

    def __init__(self, near: socket.socket, far: socket.socket, faults: FrameFaults) -> None:
        self.faults = faults
        self.lock = threading.Lock()
        self._routes = {near: (Direction.RX, far), far: (Direction.TX, near)}
        self._late: dict[Direction, deque[tuple[float, bytes]]] = {direction: deque() for direction in Direction}
        # A plain flag is enough, because ``run`` looks at it at least every ``_POLL_INTERVAL_S``. A signal handler must not take a lock.
        self._stopping = False

    def stop(self) -> None:
        """End ``run``. May be called from a signal handler and from any thread."""
        self._stopping = True

    def run(self) -> None:
        """Forward frames until ``stop``.

        Raises:
            BenchError: an interface is gone or down.
        """
        try:
            while not self._stopping:
                readable, _, _ = select.select(list(self._routes), [], [], self._patience_s())
                for source in readable:
                    self._forward(source)
                self._send_late()
        except OSError as error:
            raise BenchError(f"frame gate: an interface is gone or down: {error.strerror}") from error

    def _patience_s(self) -> float:
        due = [queue[0][0] for queue in self._late.values() if queue]
        return min(_POLL_INTERVAL_S, max(0.0, min(due) - time.monotonic())) if due else _POLL_INTERVAL_S

    def _forward(self, source: socket.socket) -> None:
        direction, target = self._routes[source]
        for _ in range(_BURST_FRAMES):
            try:
                frame = source.recv(CANFD_MTU)
            except BlockingIOError:
                return
            identifier, length, *_ = _HEADER.unpack_from(frame)
            data = frame[_HEADER.size : _HEADER.size + length]
            with self.lock:
                verdict = self.faults.judge(direction, identifier & _ID_MASK, data)
            # Change only the data: identifier, length and flags of the header stay.
            if verdict.data is not data:
                frame = frame[: _HEADER.size] + verdict.data + frame[_HEADER.size + length :]
            queue = self._late[direction]
            for _ in range(verdict.copies):
                # A frame waits behind delayed frames even without a delay of its own, because frames must not overtake each other.
                if verdict.delay_s or queue:
                    due = max(time.monotonic() + verdict.delay_s, queue[-1][0] if queue else 0.0)
                    queue.append((due, frame))
                else:
                    _send(target, frame)

    def _send_late(self) -> None:
        now = time.monotonic()
        for direction, target in self._routes.values():
            queue = self._late[direction]
            while queue and queue[0][0] <= now:
                _send(target, queue.popleft()[1])


def _send(target: socket.socket, frame: bytes) -> None:
    while True:
        try:
            # The socket is non-blocking, so a full queue raises.
            target.send(frame)
            return
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                raise
        time.sleep(_QUEUE_FULL_WAIT_S)


class GateControl:
    """The operations of a gate's control port."""

    def __init__(self, gate: FrameGate, *, name: str) -> None:
        self._gate = gate
        self._name = name

    def perform(self, message: dict[str, Any]) -> dict[str, Any]:
        """Perform one operation and return the members of its answer.

        Raises:
            WrongUsage: the operation is unknown, or a parameter is wrong.
        """
        with self._gate.lock:
            return self._perform(message)

    def _perform(self, message: dict[str, Any]) -> dict[str, Any]:
        faults = self._gate.faults
        seed = seed_of(message)
        operation = message.pop("op", None)
        if operation not in ("state", "fault", "clear", "seed"):
            raise WrongUsage(f"no operation {operation!r}; there are state, fault, clear, seed")
        if operation == "fault":
            fault = FrameFault.parse(message)
            # The seed first: the fault draws from it.
            if seed is not None:
                faults.reseed(seed)
            faults.set(fault)
        else:
            require_no_members(message, operation=operation)
            if operation == "clear":
                faults.clear()
            elif seed is not None:
                faults.reseed(seed)
        return {
            "name": self._name,
            "seed": faults.seed,
            "frames": {str(direction): number for direction, number in faults.frames.items()},
            "acted": faults.acted,
            "faults": faults.shown(),
        }


@contextmanager
def _far_interface(name: str) -> Iterator[None]:
    made = vcan.ensure(name)
    try:
        yield
    finally:
        if made:
            # Another process may have removed it already.
            with contextlib.suppress(BenchError):
                vcan.remove(name)


def run(
    *, near: str, far: str, control_port: int, token_file: Path | None, seed: int, on_gate: Callable[[FrameGate], None]
) -> None:
    """Open both sides and forward frames.

    Args:
        near: the bus.
        far: the virtual interface of the ECUs.
        control_port: the port to listen on.
        token_file: the file with the token of the control port; None: it needs none.
        seed: the seed of all random choices.
        on_gate: receives the gate before it starts.

    Raises:
        BenchError: an interface or the control port cannot be used.
    """
    with (
        _far_interface(far),
        contextlib.closing(open_raw(near)) as near_socket,
        contextlib.closing(open_raw(far)) as far_socket,
    ):
        gate = FrameGate(near_socket, far_socket, FrameFaults(seed))
        perform = GateControl(gate, name=near).perform
        with (
            open_control_server(perform, port=control_port, owner="frame gate", token_file=token_file) as server,
            server.serving(),
        ):
            on_gate(gate)
            print(f"frame gate: {near} to {far}, control port {control_port}, seed {seed}", flush=True)
            gate.run()


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m otabench.bench.faults.frame_gate", description="A gate for faults of CAN frames."
    )
    parser.add_argument("--near", default="vcan0", help="the bus that is there (vcan0)")
    parser.add_argument("--far", help="the virtual interface behind it, made if absent (NEAR-ecu)")
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--control-token-file", type=Path, help="the token of the control port; its owner's only")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)

    def stop_by_signal(gate: FrameGate) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: gate.stop())

    try:
        run(
            near=given.near,
            far=given.far or far_channel(given.near),
            control_port=given.control_port,
            token_file=given.control_token_file,
            seed=given.seed,
            on_gate=stop_by_signal,
        )
    except BenchError as error:
        print(f"otabench.bench.faults.frame_gate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
