"""Faults: their parameters, how often they act, and the functional single frame."""

from __future__ import annotations

import pytest

from otabench.ecu_firmware_sim import faults
from otabench.ecu_firmware_sim.bus.transport import functional_request
from otabench.ecu_firmware_sim.errors import FaultError
from otabench.ecu_firmware_sim.faults import FaultKind, Faults
from otabench.proto.isotp_address import FrameAddress


@pytest.mark.parametrize(
    ("short", "shown"),
    [
        ("boot-fail", {"kind": "boot-fail"}),
        ("nrc:0x34:0x70", {"kind": "nrc", "service": 0x34, "nrc": 0x70}),
        ("nrc:0x34:0x70:2", {"kind": "nrc", "service": 0x34, "nrc": 0x70, "count": 2}),
        ("silent:3", {"kind": "silent", "count": 3}),
        ("slow-flash:2.5", {"kind": "slow-flash", "factor": 2.5}),
        ("voltage:7.5", {"kind": "voltage", "volts": 7.5}),
        ("speed:30", {"kind": "speed", "km_h": 30}),
        ("engine-running", {"kind": "engine-running"}),
        ("power-cut:17", {"kind": "power-cut", "flash_operation": 17, "off_s": 0.5, "mode": "torn"}),
        ("crash:2", {"kind": "crash", "after_s": 0.3, "count": 2}),
    ],
)
def test_the_short_form_names_kind_parameters_and_count(short: str, shown: dict[str, object]) -> None:
    assert faults.parse_short(short).shown() == shown


@pytest.mark.parametrize("short", ["flood", "nrc", "nrc:0x34", "nrc:x:y", "bit-rot:2:0", "power-cut:-1", "nrc:1:2:3:4"])
def test_a_wrong_short_form_is_refused(short: str) -> None:
    with pytest.raises(FaultError):
        faults.parse_short(short)


def test_an_unknown_parameter_or_mode_is_refused() -> None:
    with pytest.raises(FaultError, match="no parameter color"):
        faults.parse({"kind": "silent", "color": 1})
    with pytest.raises(FaultError, match="mode"):
        faults.parse({"kind": "power-cut", "flash_operation": 1, "mode": "soft"})
    with pytest.raises(FaultError, match="voltage: volts= is missing"):
        faults.parse({"kind": "voltage"})
    with pytest.raises(FaultError, match="volts= is a number, not 'low'"):
        faults.parse({"kind": "voltage", "volts": "low"})


def test_a_power_cut_may_be_clean_and_have_a_seed() -> None:
    cut = faults.parse({"kind": "power-cut", "flash_operation": 1, "mode": "clean", "seed": 7})
    assert cut.shown() == {"kind": "power-cut", "flash_operation": 1, "off_s": 0.5, "mode": "before", "seed": 7}
    with pytest.raises(FaultError, match="seed"):
        faults.parse({"kind": "power-cut", "flash_operation": 1, "seed": "luck"})


def test_a_counted_fault_acts_so_often() -> None:
    active = Faults()
    active.set(faults.parse_short("silent:2"))
    assert [active.act(FaultKind.SILENT) is not None for _ in range(3)] == [True, True, False]


def test_nrc_faults_of_several_services_stand_side_by_side() -> None:
    active = Faults()
    active.set(faults.parse_short("nrc:0x34:0x70"))
    active.set(faults.parse_short("nrc:0x36:0x72"))
    active.set(faults.parse_short("nrc:0x36:0x71"))
    assert [fault["nrc"] for fault in active.shown()] == [0x70, 0x71]
    assert active.act(FaultKind.NRC, service=0x22) is None


@pytest.mark.parametrize(
    ("frame", "request_"),
    [
        ("02 3E 80 CC CC CC CC CC", "3E 80"),
        ("00 0A" + " 22 F1 89" * 3 + " 01 CC CC", "22 F1 89" * 3 + "01"),
        ("10 14 22 F1 89 F1 8C F1", None),
        ("05 3E", None),
        ("00", None),
        ("", None),
    ],
)
def test_a_functional_request_is_a_single_frame(frame: str, request_: str | None) -> None:
    received = functional_request(bytes.fromhex(frame), FrameAddress(0x7DF))
    assert received == (None if request_ is None else (bytes.fromhex(request_), True))


@pytest.mark.parametrize(
    ("frame", "request_"),
    [
        ("33 02 3E 80 CC CC CC CC", "3E 80"),
        ("33 00 09" + " 22 F1 89" * 3, "22 F1 89" * 3),
        ("34 02 3E 80 CC CC CC CC", None),
        ("33", None),
        ("33 02 3E", None),
    ],
)
def test_with_extended_addressing_the_functional_address_stands_in_front(frame: str, request_: str | None) -> None:
    received = functional_request(bytes.fromhex(frame), FrameAddress(0x7DF, 0x33))
    assert received == (None if request_ is None else (bytes.fromhex(request_), True))
