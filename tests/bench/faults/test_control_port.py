"""Faults as they are written: their names and parameters are checked before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.errors import EndpointError, UnknownName, ValueRefused, WrongUsage
from otabench.bench.faults.control_port import ECU_FAULT_PARAMETERS, ControlPort, Fault
from otabench.ecu_firmware_sim import faults as ecu_faults
from otabench.ecu_firmware_sim.errors import FaultError
from otabench.ecu_firmware_sim.faults import FaultKind
from otabench.proto.control_server import ControlServer, Message, OperationRefused


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


@pytest.mark.parametrize("text", ["bus load 60%", "bus:load 60%", "bus load:60%"])
def test_a_fault_written_as_several_words_is_answered_with_the_one_word(text: str) -> None:
    with pytest.raises(WrongUsage, match=r"did you mean 'bus:load:60%'\?"):
        Fault.parse(text)
