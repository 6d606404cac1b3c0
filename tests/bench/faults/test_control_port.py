"""Faults as they are written: their names and parameters are checked before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.errors import EndpointError, UnknownName, ValueRefused, WrongUsage
from otabench.bench.faults.control_port import ECU_FAULT_PARAMETERS, ControlPort, Fault
from otabench.ecu_firmware_sim import faults as ecu_faults
from otabench.ecu_firmware_sim.errors import FaultError
from otabench.ecu_firmware_sim.faults import FaultKind
from otabench.proto.control_message import Message
from otabench.proto.control_server import ControlServer, OperationRefused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("engine:boot-fial", "there is no fault 'boot-fial'; did you mean 'boot-fail'"),
        ("engine:crash:afters=1", "there is no parameter 'afters' of crash; did you mean 'after_s'"),
        (
            "engine:power-cut:flash_op=4",
            "there is no parameter 'flash_op' of power-cut; did you mean 'flash_operation'",
        ),
        ("engine:engine-running:count=1", "there is no parameter 'count' of engine-running; known: none"),
    ],
)
def test_a_misspelt_fault_or_parameter_is_answered_with_the_nearest(text: str, expected: str) -> None:
    with pytest.raises(UnknownName) as unknown:
        Fault.parse(text)
    assert str(unknown.value).startswith(expected)


def test_a_fault_set_through_a_control_port_is_checked_before_it_is_sent() -> None:
    nobody_listens = ControlPort("engine", 1)
    with pytest.raises(UnknownName, match="did you mean 'count'"):
        nobody_listens.fault("silent", counts=3)


def test_the_parameters_of_every_fault_are_those_that_the_ecu_takes() -> None:
    assert set(ECU_FAULT_PARAMETERS) == set(FaultKind)
    for kind, names in ECU_FAULT_PARAMETERS.items():
        message: dict[str, Any] = {"kind": kind, **dict.fromkeys(names, 1)}
        if "mode" in names:
            message["mode"] = "clean"
        taken = ecu_faults.parse(message)
        assert {*taken.values, *(["count"] if taken.left is not None else [])} == set(names), kind
        if "count" not in names:
            with pytest.raises(FaultError, match="takes no count"):
                ecu_faults.parse({**message, "count": 1})


def test_a_value_that_the_ecu_refuses_is_wrong_usage_and_silence_is_not() -> None:
    def refuse(_: Message) -> Message:
        raise OperationRefused("count: expected a number")

    with ControlServer(refuse, host="127.0.0.1", port=0) as server, server.serving():
        port = ControlPort("engine", server.server_address[1])
        with pytest.raises(ValueRefused, match="ECU engine refuses 'fault': count: expected a number") as refused:
            port.fault("silent", count="abc")
        assert refused.value.exit_status == 2
    with pytest.raises(EndpointError, match="does not answer") as silent:
        ControlPort("engine", 1).clear()
    assert silent.value.exit_status == 1


@pytest.mark.parametrize(
    "members",
    [
        {"kind": "voltage", "volts": float("nan")},
        {"kind": "voltage", "volts": "9.e999"},
        {"kind": "voltage", "volts": 1e6},
        {"kind": "slow-flash", "factor": float("inf")},
        {"kind": "silent", "count": 1.5},
        {"kind": "silent", "count": -1},
        {"kind": "nrc", "service": 0x136, "nrc": 0x72},
        {"kind": "bit-rot", "slot": 0, "offset": 1, "bit": 8},
        {"kind": "bit-rot", "slot": 0.5, "offset": 1},
        {"kind": "hang", "after_s": 1e300},
        {"kind": "power-cut", "flash_operation": 1, "seed": 2**64},
    ],
)
def test_a_number_out_of_range_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(FaultError, match=r"out of range|whole number|is a number"):
        ecu_faults.parse(members)


def test_nan_does_not_leave_the_client() -> None:
    with pytest.raises(ValueRefused, match="not a number"):
        ControlPort("engine", 1).fault("voltage", volts=float("nan"))


def test_the_token_is_sent_and_is_not_shown() -> None:
    with ControlServer(lambda _: {}, host="127.0.0.1", port=0, token="secret") as server, server.serving():
        assert ControlPort("engine", server.server_address[1], token="secret").is_up()
        with pytest.raises(ValueRefused, match="control_token"):
            ControlPort("engine", server.server_address[1]).clear()
    assert "secret" not in repr(ControlPort("engine", 1, token="secret"))


@pytest.mark.parametrize("text", ["bus load 60%", "bus:load 60%", "bus load:60%"])
def test_a_fault_written_as_several_words_is_answered_with_the_one_word(text: str) -> None:
    with pytest.raises(WrongUsage, match=r"did you mean 'bus:load:60%'\?"):
        Fault.parse(text)
