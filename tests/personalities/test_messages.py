"""At one message of an update the ECU loses power, or the gateway is killed: the vehicle ends updated, or as it was.

Each point: an update is disturbed at a message, which a ``Tap`` counts. It ends in its time. If it ends with an error, the vehicle is
reverted. In both cases a complete application runs, and the way back to the first version is open. The points of one bootloader use one
vehicle, so that each of them also is the undisturbed update after the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.perf.message_cut import Point, Victim
from otabench.bench.perf.tap import Moment, Tap
from otabench.bench.uds.errors import FlashError
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.personalities.on_bus import BusRig, EcuOnBus, virtual_bus
from tests.waiting import eventually

ACTS = ("stage", "activate", "verify")
KINDS = [(victim, moment) for victim in Victim for moment in Moment]
SAMPLE = "single-bank"
OFF_S = 0.1


class GatewayKilled(BaseException):
    """The gateway ends at once: not an error that flashing code could handle."""


def every_point(messages: int, step: int) -> Iterable[Point]:
    """Yield points at every ``step``-th message, with the four kinds of them in turn."""
    for number, message in enumerate(range(1, messages + 1, step)):
        victim, moment = KINDS[number % len(KINDS)]
        yield Point(victim, message, moment)


def count_messages(rig: BusRig, images: list[EcuImage]) -> int:
    tap = Tap()
    restart(rig, tap)
    run(rig, images, "count", ACTS)
    rig.revert(images, "count")
    return len(tap.sent)


def restart(rig: BusRig, tap: Tap | None = None) -> None:
    rig.vehicle.close()
    if tap is None:
        rig.restart()
    else:
        rig.restart(tap.open)


def run(rig: BusRig, images: list[EcuImage], job: str, acts: Iterable[str]) -> None:
    for act in acts:
        {"stage": rig.stage, "activate": rig.activate, "verify": rig.verify}[act](images, job)


def disturb(rig: BusRig, ecu: EcuOnBus, images: list[EcuImage], point: Point) -> str:
    """Run an update that is disturbed at a point, and the way back. Return the version that the update ended with."""
    job = f"job-{point}"

    def act() -> None:
        if point.victim is Victim.GATEWAY:
            raise GatewayKilled
        ecu.control("power", state="off")
        ecu.control("power", state="on")

    restart(rig, Tap(at=point.message, moment=point.moment, action=act))
    try:
        for begun, name in enumerate(ACTS):
            try:
                run(rig, images, job, [name])
            except GatewayKilled:
                restart(rig)
                run(rig, images, job, ACTS[begun:])
                break
    except FlashError as error:
        assert error.ecu == ecu.name
    restart(rig)
    ended_with = ecu.runs
    rig.revert(images, job)
    eventually(lambda: ecu.control("state")["mode"] == "application")
    assert ecu.runs == "1.0.0", f"{point}: after the way back"
    return ended_with


@pytest.mark.parametrize(
    ("name", "step"),
    # Every third message: one point takes two seconds. ``test_shipped`` disturbs every message of each, without a bus and without time.
    [(SAMPLE, 20), *(pytest.param(name, 3, marks=pytest.mark.exhaustive) for name in sorted(PERSONALITIES))],
)
def test_power_or_gateway_that_goes_at_a_message(name: str, step: int, tmp_path: Path) -> None:
    with EcuOnBus(name, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        points = list(every_point(count_messages(rig, images), step))
        ended = [disturb(rig, ecu, images, point) for point in points]
        assert set(ended) <= {"2.0.0", "1.0.0", ""}, "the new version, the old one, or a bootloader that waits"
        assert ended.count("2.0.0") >= 0.8 * len(points), f"most updates are completed: {ended}"
