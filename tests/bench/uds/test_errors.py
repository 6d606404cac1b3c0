"""What a FlashError prints: ECU, step, code, problem, remedy and note, each once."""

from __future__ import annotations

from otabench.bench.uds.errors import BusUnavailable, EcuLost, EcuRefused, FlashError, PatchRefused, SeveralFailed


def test_a_flash_error_names_ecu_step_and_code_each_once() -> None:
    error = FlashError("refused", ecu="engine", step="31 01 FF00 erase memory", nrc=0x31)
    text = "engine: 31 01 FF00 erase memory: NRC 31 requestOutOfRange: refused: "
    assert str(error).startswith(text + "the ECU has no such address, length or identifier")


def test_a_remedy_of_the_caller_replaces_that_of_the_code() -> None:
    error = EcuRefused(ecu="engine", step="11 01 reset", nrc=0x22, remedy="stop the vehicle")
    assert str(error) == "engine: 11 01 reset: NRC 22 conditionsNotCorrect: stop the vehicle"


def test_an_error_of_another_class_keeps_all_fields_and_both_notes() -> None:
    first = EcuRefused.of(EcuRefused("too long", ecu="adas", step="34 request download", nrc=0x70), note="a patch")
    second = PatchRefused.of(first, note="given up after 3 attempts")
    assert (second.ecu, second.step, second.nrc, second.remedy) == (first.ecu, first.step, 0x70, first.remedy)
    assert str(second).endswith("(a patch; given up after 3 attempts)")


def test_an_error_of_the_bus_names_no_ecu() -> None:
    assert str(BusUnavailable("can0: is down.", ecu="", step="open bus")) == "open bus: can0: is down"


def test_several_errors_may_be_retried_only_if_each_may() -> None:
    lost = EcuLost("no answer in time", ecu="adas", step="11 01 reset")
    refused = EcuRefused("status 01", ecu="engine", step="31 01 0212 revert")
    both = SeveralFailed([lost, refused])
    assert str(both) == "adas: 11 01 reset: no answer in time; engine: 31 01 0212 revert: status 01"
    assert not both.retryable
    assert SeveralFailed([lost, lost]).retryable
