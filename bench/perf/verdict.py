"""Judge one disturbed update, and count many.

Rules: the update ends within its limit; the ECU then runs the old or the new version, CONFIRMED; and an update without any
disturbance then succeeds. The disturbed update itself may end as "updated" or as "unchanged".
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from otabench.bench.errors import BenchError
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.perf.rig import OneEcuRig, Stage, update
from otabench.bench.uds.errors import FlashError


class End(StrEnum):
    """How the disturbed update ended."""

    UPDATED = "updated"
    UNCHANGED = "cleanly unchanged"
    WRONG = "WRONG"


@dataclass(frozen=True)
class Run:
    """One disturbed update. ``reason``: the update's error, or what is wrong."""

    point: str
    end: End
    duration_s: float
    reason: str = ""


@dataclass
class Runs:
    """The runs of a whole sweep."""

    runs: list[Run] = field(default_factory=list)

    @property
    def counts(self) -> Counter[End]:
        return Counter(run.end for run in self.runs)

    @property
    def wrong(self) -> list[Run]:
        return [run for run in self.runs if run.end is End.WRONG]

    @property
    def longest_s(self) -> float:
        return max((run.duration_s for run in self.runs), default=0.0)

    def sentence(self, what: str) -> str:
        """ "120 cut points, 0 bricked: 100 updated, 20 cleanly unchanged; longest 4.1 s"."""
        counts = self.counts
        return (
            f"{len(self.runs)} {what}, {len(self.wrong)} bricked or stuck: {counts[End.UPDATED]} updated, "
            f"{counts[End.UNCHANGED]} cleanly unchanged; the longest took {self.longest_s:.1f} s"
        )


def judge(
    rig: OneEcuRig,
    point: str,
    image: EcuImage,
    disturbed: Callable[[EcuImage], None],
    calm: Callable[[], None],
    limit_s: float,
) -> Run:
    """Run ``disturbed`` (an update to ``image``), then ``calm`` (no more disturbance), and judge.

    Args:
        rig: the ECU.
        point: names what is done.
        image: of ``rig.next_image()``.
        disturbed: may raise FlashError.
        calm: ends the disturbance.
        limit_s: how long ``disturbed`` may take.

    Raises:
        BenchError: a process of the rig has died.
    """
    old, new = rig.running()[0], image.version
    started = time.monotonic()
    reason, is_stuck = _bounded(lambda: disturbed(image), limit_s)
    duration_s = time.monotonic() - started
    calm()
    rig.check()
    if is_stuck:
        return Run(point, End.WRONG, duration_s, f"stuck: it did not end within {limit_s:.0f} s")
    try:
        version, state = rig.running()
    except BenchError as error:
        return Run(point, End.WRONG, duration_s, f"{error}; before that: {reason or 'nothing wrong'}")
    if state != "CONFIRMED" or version not in (old, new):
        return Run(
            point, End.WRONG, duration_s, f"it runs {version} ({state}); before that: {reason or 'nothing wrong'}"
        )
    # An update that reports success and changed nothing is the worst result: no one would check it again.
    if version == old and not reason:
        return Run(point, End.WRONG, duration_s, f"the update reported success, but {old} runs")
    # An ECU that runs a confirmed image but refuses every later update is bricked all the same.
    again, is_stuck = _bounded(lambda: _update_again(rig), limit_s)
    if again or is_stuck:
        return Run(point, End.WRONG, duration_s, f"an undisturbed update fails afterwards: {again or 'stuck'}")
    return Run(point, End.UPDATED if version == new else End.UNCHANGED, duration_s, reason)


def _update_again(rig: OneEcuRig) -> None:
    vehicle, image = rig.vehicle(), rig.next_image()
    try:
        update(vehicle, image, start=Stage.STAGE)
    finally:
        vehicle.close()
    if rig.running() != (image.version, "CONFIRMED"):
        raise BenchError(f"it runs {rig.running()}, not {image.version}")


def _bounded(act: Callable[[], None], limit_s: float) -> tuple[str, bool]:
    """Return what ``act`` raised, in words, and whether it did not end in time."""
    problem: list[str] = []
    defect: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except (FlashError, BenchError) as error:
            problem.append(str(error))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            defect.append(error)

    # A thread, because a stuck update cannot be interrupted. It is left behind as a daemon, and the run counts as
    # WRONG.
    thread = threading.Thread(target=run, name="disturbed update", daemon=True)
    thread.start()
    thread.join(limit_s)
    if defect:
        raise defect[0]
    return "".join(problem), thread.is_alive()
