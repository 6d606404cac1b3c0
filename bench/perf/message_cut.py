"""`otabench perf message-cut`: power-cycle the ECU or kill the gateway at one UDS message of an update, one run for each message.

The points are all messages that the tester sends in an undisturbed update, before and after each. The gateway is a process of its own
that is killed by SIGKILL. The next one resumes from the last call that was begun, as the agent does from its database.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.perf.rig import OneEcuRig, RigOptions, Stage, update
from otabench.bench.perf.tap import Moment, Tap
from otabench.bench.perf.verdict import Run, Runs, judge

OFF_S: Final = 0.15
LIMIT_S: Final = 60.0
RIG: Final = RigOptions(body_bytes=1500, max_block_bytes=1026, p2_margin_s=0.3)
"""Two blocks of transfer data, so that the first and the last one are cut; the tester's timeouts are short."""


class Victim(StrEnum):
    """The party that fails."""

    ECU = "ecu"
    GATEWAY = "gateway"


@dataclass(frozen=True)
class Point:
    """One run: who fails, at which message (from 1), and on which side of it."""

    victim: Victim
    message: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.victim}:{self.moment}@{self.message}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Return the point that ``str`` made this text of.

        Raises:
            WrongUsage: not of that form.
        """
        try:
            victim, _, rest = text.partition(":")
            moment, _, number = rest.partition("@")
            return cls(Victim(victim), int(number), Moment(moment))
        except ValueError as error:
            raise WrongUsage(
                f"point {text!r}: expected ecu|gateway:before|after@MESSAGE, such as ecu:after@7"
            ) from error


def points_of(messages: int, *, step: int = 1) -> list[Point]:
    """Return all points of an update with that number of messages; with ``step``, every n-th."""
    every = [
        Point(victim, message, moment) for victim in Victim for message in range(1, messages + 1) for moment in Moment
    ]
    return every[::step]


def sweep(
    choose: Callable[[list[str]], Iterable[Point]], *, on_run: Callable[[Run, int], None] = lambda _run, _of: None
) -> Runs:
    """Return one run for each point.

    Args:
        choose: receives the messages of an undisturbed update, and returns the points.
        on_run: called with each run and the number of all runs.

    Raises:
        BenchError: the rig could not run.
    """
    with tempfile.TemporaryDirectory(prefix="otabench-message-cut-") as folder, OneEcuRig(Path(folder), RIG) as rig:
        points = list(choose(messages(rig)))
        runs = Runs()
        for point in points:
            runs.runs.append(_run(rig, point))
            on_run(runs.runs[-1], len(points))
        return runs


def messages(rig: OneEcuRig) -> list[str]:
    """Return the messages of an undisturbed update, the first two bytes of each."""
    tap = Tap()
    vehicle = rig.vehicle(tap)
    try:
        update(vehicle, rig.next_image())
    finally:
        vehicle.close()
    return tap.sent


def _run(rig: OneEcuRig, point: Point) -> Run:
    disturbed = _ecu_cut if point.victim is Victim.ECU else _gateway_killed
    name = str(point)
    return judge(
        rig, name, rig.next_image(), lambda image: disturbed(rig, point, image), lambda: _power_back(rig), LIMIT_S
    )


def _ecu_cut(rig: OneEcuRig, point: Point, image: EcuImage) -> None:
    back = threading.Timer(OFF_S, lambda: rig.control.power("on"))

    def cut() -> None:
        rig.control.power("off")
        back.start()

    vehicle = rig.vehicle(Tap(at=point.message, moment=point.moment, action=cut))
    try:
        update(vehicle, image)
    finally:
        vehicle.close()
        # The power must be back before the judgement, also if the update has given up earlier. A timer that was never
        # started cannot be joined.
        if back.ident is not None:
            back.join()


def _gateway_killed(rig: OneEcuRig, point: Point, image: EcuImage) -> None:
    """Kill the first gateway; continue in a second one with the call that was begun last."""
    begun = _killed_at(rig, point, image)
    vehicle = rig.vehicle()
    try:
        update(vehicle, image, start=begun)
    finally:
        vehicle.close()


def _killed_at(rig: OneEcuRig, point: Point, image: EcuImage) -> Stage:
    reader, writer = os.pipe()
    # A fork, not a new interpreter: SIGKILL must hit at this message, and an interpreter would take a second to come
    # so far, in each of hundreds of runs.
    child = os.fork()
    if child == 0:  # the gateway: it ends here, one way or the other
        status = 1
        try:
            tap = Tap(at=point.message, moment=point.moment, action=lambda: os.kill(os.getpid(), signal.SIGKILL))
            order = list(Stage)
            update(rig.vehicle(tap), image, on_stage=lambda stage: _write_number(writer, order.index(stage)))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    # Blocks until the first stage is written, or until the child has ended and with it the last writer of the pipe.
    begun = os.read(reader, 64)
    _, status = os.waitpid(child, 0)
    # What was written between the first read and the end.
    begun += os.read(reader, 64)
    os.close(reader)
    if not os.WIFSIGNALED(status):
        raise BenchError(
            f"{point}: the gateway was to be killed, and ended with status {os.waitstatus_to_exitcode(status)}"
        )
    return list(Stage)[begun[-1]]


def _write_number(writer: int, number: int) -> None:
    os.write(writer, bytes((number,)))


def _power_back(rig: OneEcuRig) -> None:
    if rig.control.state()["power"] == "off":
        rig.control.power("on")
