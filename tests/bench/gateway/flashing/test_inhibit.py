"""The frame that keeps a vehicle from being driven: sent while ECUs are updated, and missed when its sender is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from otabench.bench.gateway.flashing.inhibit import Inhibitor
from otabench.ecu_firmware_sim.bus.inhibit_listener import InhibitListener
from otabench.proto.inhibit import LOST_AFTER, InhibitFrame
from tests.waiting import eventually

FRAME = InhibitFrame(id=0x18FF_1234, period_ms=10)


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"interface": "virtual", "channel": request.node.name}


@pytest.fixture
def ecu(bus: dict[str, Any]) -> Iterator[InhibitListener]:
    listener = InhibitListener(FRAME, bus)
    yield listener
    listener.close()


def test_the_vehicle_is_inhibited_until_the_update_has_ended(bus: dict[str, Any], ecu: InhibitListener) -> None:
    gateway = Inhibitor(FRAME, [bus])
    for _ in range(2):
        gateway.begin()
        gateway.begin()
        eventually(lambda: ecu.is_inhibited, "the vehicle is inhibited")
        gateway.end()
        eventually(lambda: not ecu.is_inhibited, "it may be driven again")
    gateway.end()


def test_a_gateway_that_is_gone_does_not_inhibit_the_vehicle_for_good(
    bus: dict[str, Any], ecu: InhibitListener
) -> None:
    gateway = Inhibitor(FRAME, [bus])
    gateway.begin()
    eventually(lambda: ecu.is_inhibited, "the vehicle is inhibited")
    gateway.abandon()
    eventually(lambda: not ecu.is_inhibited, f"no frame for {LOST_AFTER} periods")


def test_a_bus_that_cannot_be_opened_does_not_stop_an_update() -> None:
    gateway = Inhibitor(FRAME, [{"interface": "socketcan", "channel": "there-is-none"}])
    gateway.begin()
    gateway.end()


def test_only_this_frame_says_so() -> None:
    assert FRAME.read(FRAME.data(300, is_inhibited=True)) is True
    assert FRAME.read(FRAME.data(300, is_inhibited=False)) is False
    for other in (b"", b"\x01", b"\x02\x00", b"\x01\x00\x00"):
        assert FRAME.read(other) is None
