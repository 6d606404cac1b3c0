"""``python -m otabench.bench.faults.bus_load``: send other nodes' traffic on one bus, as requested at a control port.

* Each bus has one such process, started with the bench. Until a load is requested, it neither opens the bus nor imports python-can.
* python-can's ``send_periodic`` sends the frames: on SocketCAN by the kernel's broadcast manager (CAN_BCM), on any other interface by
  threads. On a real bus the frames are really sent.
* Each request for the state measures the load for a second: on SocketCAN from the frames on the bus, by the kernel's time stamps and
  counted in bits; elsewhere from the frames that were handed to the interface.
* The broadcast manager counts each cycle from the moment when its timer really fired, so small delays add up, more on a busy machine. The
  process measures the delay every few seconds and corrects the cycles.

The control port works like a frame gate's (docs/contracts.md), with the operations ``state``, ``fault`` (kind ``load``), ``clear`` and
``seed``. ``faults.load_plan`` chooses the frames.

Exit status: 0 stopped by SIGTERM or SIGINT; 1 could not run (one line on stderr); 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otabench.bench.errors import BenchError, UnknownName, WrongUsage
from otabench.bench.faults import load_plan
from otabench.bench.faults.control_server import open_control_server, require_no_members, seed_of
from otabench.bench.faults.load_plan import CyclicFrame, Line, Load

if TYPE_CHECKING:
    import can
    from can.broadcastmanager import RestartableCyclicTaskABC

WINDOW_S: Final = 1.0
_POLL_INTERVAL_S: Final = 0.02
_CORRECTIONS_AT_ONCE: Final = 2
_CORRECT_EVERY_S: Final = 5.0
_CLOSE_ENOUGH_S: Final = 0.0001
"""Smaller changes of the delay are not corrected: each correction restarts all cycles."""
_MAX_START_S: Final = 0.2
"""The cycles start one after the other within this time. Started at once, all frames would compete for the line at the same moments."""
_HEARS_NOTHING: Final = [{"can_id": 0x1FFF_FFFF, "can_mask": 0x1FFF_FFFF, "extended": True}]


@dataclass(frozen=True)
class Measured:
    """Percent of the line, for the load's own frames and for all frames; and the delay of the timers. None: it cannot be measured."""

    own_percent: float | None
    whole_bus_percent: float | None = None
    late_s: float | None = None


class Traffic:
    """Cyclic frames on a bus.

    Args:
        can_arguments: arguments of ``can.Bus``.
        line: the bit rates of the bus.
    """

    def __init__(self, can_arguments: dict[str, Any], line: Line) -> None:
        self._arguments = can_arguments
        self._line = line
        self._bus: can.BusABC | None = None
        self._tasks: list[RestartableCyclicTaskABC] = []
        self._handed_over: dict[int, int] | None = None
        """How often each frame was handed to the interface, if threads of this process send."""
        self._late_s = 0.0
        self.frames: tuple[CyclicFrame, ...] = ()

    def send(self, frames: tuple[CyclicFrame, ...]) -> None:
        """From now on, send these frames instead of all earlier ones.

        Raises:
            BenchError: the bus cannot be used.
        """
        self.stop()
        if not frames:
            return
        import can

        # python-can logs every frame that could not be sent.
        logging.getLogger("can").setLevel(logging.CRITICAL + 1)
        channel = self._arguments["channel"]
        try:
            # The filter lets nothing through: this bus only sends, and unread frames would fill its buffers.
            self._bus = can.Bus(**self._arguments, can_filters=_HEARS_NOTHING)
            for frame in frames:
                self._start(self._bus, frame)
                time.sleep(_MAX_START_S / len(frames))
        except Exception as error:  # python-can's interfaces raise any exception
            self.stop()
            raise BenchError(
                f"bus load: {channel}: {error}; check that the interface is up and may be used by another program"
            ) from error
        self.frames = frames

    def stop(self) -> None:
        """Stop sending. May be called twice."""
        bus, self._bus, self._handed_over, self._tasks, self.frames = self._bus, None, None, [], ()
        if bus is not None:
            with contextlib.suppress(Exception):  # the interface is gone
                bus.shutdown()

    def measure(self) -> Measured:
        """Measure the load of the line for a second.

        Raises:
            BenchError: the bus is gone.
        """
        if self._arguments["interface"] == "socketcan":
            return self._seen()
        counts, frames = self._handed_over, self.frames
        if counts is None:
            return Measured(None)
        before, started = dict(counts), time.monotonic()
        time.sleep(WINDOW_S)
        elapsed_s = time.monotonic() - started
        busy_s = sum((counts.get(frame.can_id, 0) - before.get(frame.can_id, 0)) * frame.line_s for frame in frames)
        return Measured(100 * busy_s / elapsed_s)

    def _start(self, bus: can.BusABC, frame: CyclicFrame) -> None:
        import can
        from can.broadcastmanager import RestartableCyclicTaskABC, ThreadBasedCyclicSendTask

        message = can.Message(
            arbitration_id=frame.can_id,
            is_extended_id=frame.extended,
            data=frame.data,
            is_fd=self._line.fd,
            bitrate_switch=self._line.fd and self._line.data_bitrate is not None,
            check=True,
        )
        task = bus.send_periodic(message, self._period_s(frame), autostart=False)
        if isinstance(task, ThreadBasedCyclicSendTask):
            counts = self._handed_over = self._handed_over or {}

            def count(_message: can.Message) -> None:
                counts[frame.can_id] = counts.get(frame.can_id, 0) + 1

            task.modifier_callback = count
            # A frame that could not be sent is lost, as on a full bus. Without this the task would end.
            task.on_error = lambda _error: True
        assert isinstance(task, RestartableCyclicTaskABC)
        task.start()
        self._tasks.append(task)

    def correct(self, late_s: float) -> None:
        """Shorten the cycles by the delay of the timers.

        Raises:
            BenchError: the bus is gone.
        """
        if abs(late_s - self._late_s) < _CLOSE_ENOUGH_S:
            return
        import can

        self._late_s = late_s
        try:
            for frame, task in zip(self.frames, self._tasks, strict=True):
                task.period = self._period_s(frame)
                task.start()  # restart with the new cycle
                time.sleep(_MAX_START_S / len(self._tasks))
        except (OSError, can.CanError) as error:
            raise BenchError(f"bus load: {self._arguments['channel']}: {error}; is the interface up?") from error

    def _period_s(self, frame: CyclicFrame) -> float:
        return load_plan.hurried_period_s(frame, self._late_s)

    def _seen(self) -> Measured:
        from otabench.bench.bus.batch_socket import BatchCanSocket
        from otabench.bench.bus.frame import EFF_MASK, ERR_FLAG
        from otabench.bench.captures.statistics import BusStatistics

        channel, line = str(self._arguments["channel"]), self._line
        periods = {frame.can_id: self._period_s(frame) for frame in self.frames}
        before: dict[int, int] = {}
        late: list[float] = []
        statistics = BusStatistics(bitrate=line.bitrate, data_bitrate=line.data_bitrate or line.bitrate)
        try:
            with contextlib.closing(BatchCanSocket(channel)) as source:
                first_us = time.time_ns() // 1000
                last_us = first_us + round(WINDOW_S * 1e6)
                ends = time.monotonic() + WINDOW_S + _POLL_INTERVAL_S
                while time.monotonic() < ends:
                    time.sleep(_POLL_INTERVAL_S)
                    while frames := source.receive():
                        for frame in frames:
                            if frame.can_id & ERR_FLAG or not first_us <= frame.timestamp_us < last_us:
                                continue
                            statistics.count(frame)
                            can_id = frame.can_id & EFF_MASK
                            if can_id in periods:
                                # The first frame of each identifier has no predecessor to compare it with.
                                if can_id in before:
                                    late.append((frame.timestamp_us - before[can_id]) / 1e6 - periods[can_id])
                                before[can_id] = frame.timestamp_us
        except OSError as error:
            raise BenchError(f"bus load: {channel}: {error.strerror}; is the interface up?") from error
        all_bits = line.bitrate * WINDOW_S / 100
        own = sum(entry.bits for can_id, entry in statistics.by_id.items() if can_id in periods)
        return Measured(own / all_bits, statistics.bits / all_bits, load_plan.lateness_s(late))


class LoadControl:
    """The operations of a load's control port.

    Args:
        traffic: the sender of the frames.
        name: the name of the bus.
        line: the bit rates of the bus.
        avoid: identifiers that other nodes use.
        seed: the seed for choosing frames.
    """

    def __init__(self, traffic: Traffic, *, name: str, line: Line, avoid: Collection[int], seed: int) -> None:
        self._traffic = traffic
        self._name = name
        self._line = line
        self._avoid = avoid
        self._seed = seed
        self._load: Load | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        """Set, and replaced by a new one, at every change of the frames."""

    def perform(self, message: dict[str, Any]) -> dict[str, Any]:
        """Perform one operation and return the members of its answer.

        Raises:
            BenchError: the operation is unknown or cannot be carried out.
        """
        with self._lock:
            operation = self._change(message)
        if operation != "state" or self._load is None:
            return self._shown()
        # Measure without the lock: it takes a second, and another request may change the load meanwhile.
        measured = self._traffic.measure()
        return self._shown() | {
            "measured_percent": _rounded(measured.own_percent),
            "bus_percent": _rounded(measured.whole_bus_percent),
        }

    def _change(self, message: dict[str, Any]) -> str:
        seed = seed_of(message)
        operation = message.pop("op", None)
        if operation not in ("state", "fault", "clear", "seed"):
            raise WrongUsage(f"no operation {operation!r}; there are state, fault, clear, seed")
        load = self._load
        if operation == "fault":
            kind = message.pop("kind", None)
            if kind != load_plan.LOAD_KIND:
                raise UnknownName("fault", str(kind), [load_plan.LOAD_KIND], where="of a bus")
            load = Load.parse(message)
        else:
            require_no_members(message, operation=operation)
        if operation == "clear":
            load = None
        if operation != "state":
            self._set(load, self._seed if seed is None else seed)
        return str(operation)

    def _set(self, load: Load | None, seed: int) -> None:
        frames = load_plan.plan(load, self._line, avoid=self._avoid, seed=seed) if load else ()
        self._changed.set()
        self._seed, self._load = seed, None
        self._traffic.send(frames)
        if frames:
            self._load, self._changed = load, threading.Event()
            threading.Thread(target=self._keep_correct, args=(self._changed,), daemon=True).start()

    def _keep_correct(self, changed: threading.Event) -> None:
        """Correct the cycles every few seconds, until the frames change or the bus is gone."""
        corrections = 0
        try:
            while not changed.wait(0.0 if corrections < _CORRECTIONS_AT_ONCE else _CORRECT_EVERY_S):
                measured = self._traffic.measure()
                with self._lock:
                    if measured.late_s is not None and not changed.is_set():
                        self._traffic.correct(measured.late_s)
                corrections += 1
        except BenchError as error:
            print(f"{error}; the load is no longer corrected", file=sys.stderr, flush=True)

    def _shown(self) -> dict[str, Any]:
        load, frames = self._load, self._traffic.frames
        return {
            "name": self._name,
            "seed": self._seed,
            "faults": [load.shown()] if load else [],
            "identifiers": len(frames),
            "frames_per_s": round(sum(1 / frame.period_s for frame in frames)),
            "asked_percent": load.share_percent if load else 0.0,
            "measured_percent": None,
            "bus_percent": None,
        }


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 2)


def run(arguments: argparse.Namespace) -> None:
    """Serve the control port until a signal arrives.

    Raises:
        BenchError: the control port or the bus cannot be used.
    """
    bus = json.loads(arguments.bus)
    can_arguments = bus["can"]
    line = Line(bitrate=bus["bitrate"], data_bitrate=bus["data_bitrate"], fd=bool(can_arguments.get("fd")))
    traffic = Traffic(can_arguments, line)
    control = LoadControl(
        traffic, name=arguments.name, line=line, avoid=frozenset(arguments.avoid), seed=arguments.seed
    )
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked in all threads, so that only ``sigwait`` below receives them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with (
        open_control_server(
            control.perform,
            port=arguments.control_port,
            owner="bus load",
            token_file=arguments.control_token_file,
        ) as server,
        server.serving(),
    ):
        print(f"bus load: {arguments.name}, control port {arguments.control_port}, seed {arguments.seed}", flush=True)
        signal.sigwait(signals)
    traffic.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m otabench.bench.faults.bus_load", description="Other nodes' traffic on a CAN bus."
    )
    parser.add_argument("--bus", required=True, help="JSON: can (arguments of can.Bus), bitrate, data_bitrate or null")
    parser.add_argument("--name", required=True, help="the bus's name")
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--control-token-file", type=Path, help="the token of the control port; its owner's only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--avoid", type=lambda text: int(text, 0), nargs="*", default=[], help="identifiers that others use"
    )
    try:
        run(parser.parse_args(arguments))
    except BenchError as error:
        print(f"otabench.bench.faults.bus_load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
