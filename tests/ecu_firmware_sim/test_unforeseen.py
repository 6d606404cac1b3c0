"""Mistakes of the simulator itself, provoked in a request, in a pending operation, in the loop and at boot. It logs them and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otabench.ecu_firmware_sim import control_port
from otabench.ecu_firmware_sim.control_port import EcuControlPort
from otabench.ecu_firmware_sim.runtime.lifecycle import Mode
from otabench.ecu_firmware_sim.uds.codes import RoutineId
from otabench.ecu_firmware_sim.uds.routines import ROUTINES
from tests.ecu_firmware_sim.factory import Keys
from tests.ecu_firmware_sim.line import Line, Rig
from tests.ecu_firmware_sim.process import free_port
from tests.waiting import eventually

VERSION = "62 F1 89 31 2E 30 2E 30"


@pytest.fixture
def rig(tmp_path: Path, keys: Keys, old_image: bytes) -> Iterator[Rig]:
    rig = Rig(Line("user", "normal", False), tmp_path, keys, old_image)
    yield rig
    rig.close()


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a mistake")


def once(then: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that raises at its first call."""
    calls: list[None] = []

    def act(*given: Any, **named: Any) -> Any:
        calls.append(None)
        return broken() if len(calls) == 1 else then(*given, **named)

    return act


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "unforeseen ZeroDivisionError" in record.getMessage()]


def test_a_pending_operation_that_breaks_is_answered_with_10(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase = ROUTINES[RoutineId.ERASE_MEMORY]
    monkeypatch.setitem(ROUTINES, int(RoutineId.ERASE_MEMORY), replace(erase, run=broken))
    rig.unlock()
    assert rig.erase() == "7F 31 10"
    assert len(logged(caplog)) == 1 and "engine: service 31" in logged(caplog)[0]
    monkeypatch.undo()
    assert rig.erase() == "71 01 FF 00 00", "the session, the security and the server are as they were"


def test_the_loop_that_breaks_outside_a_request_goes_on(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.ecu.requests.tick = once(rig.ecu.requests.tick)  # type: ignore[method-assign]
    rig.send("3E 00")
    eventually(
        lambda: logged(caplog) and rig.ecu.call(lambda: rig.ecu.connection.is_open),
        "the error is logged, and the bus is open again",
    )
    assert len(logged(caplog)) == 1 and "in its loop, application" in logged(caplog)[0]
    rig.connection.empty_rxqueue()
    assert rig.ask("22 F1 89") == VERSION


def test_a_boot_that_breaks_is_tried_again(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    startup = rig.ecu.startup
    startup.boot = once(startup.boot)  # type: ignore[method-assign]
    assert rig.ask("11 01") == "51 01"
    eventually(
        lambda: logged(caplog) and rig.ecu.call(lambda: rig.ecu.mode is Mode.APPLICATION),
        "the error is logged, and the application runs",
    )
    assert "in its loop, booting" in logged(caplog)[0]
    assert rig.ask("22 F1 89") == VERSION


def test_an_operation_of_the_control_port_that_breaks_is_answered(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(control_port._OPERATIONS, "state", broken)
    with EcuControlPort(rig.ecu.config.model_copy(update={"control_port": free_port()})) as control:
        control.start(rig.ecu, partial(control_port.perform, rig.ecu))
        answer = control.server.answer(b'{"op": "state"}')
        control.stop()
    assert answer == {"ok": False, "error": "unforeseen ZeroDivisionError: a mistake; see the ECU's log"}
    assert len(logged(caplog)) == 1
    assert rig.ask("22 F1 89") == VERSION
