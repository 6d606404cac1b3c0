"""A board that is silent or is another one: the error has the facts, and composes its text from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.errors import BoardSilent, WrongBoard
from otabench.bench.gateway import flashing
from otabench.bench.launcher import boards, endpoints
from otabench.bench.topology import bench_file
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.identity import EcuIdentity


@pytest.fixture
def engine(tmp_path: Path) -> EcuEndpoint:
    (tmp_path / "ecu").mkdir()
    (tmp_path / "ecu" / "engine.secret").write_text("00" * 32, encoding="ascii")
    return endpoints.endpoint(bench_file.load(), "engine", keys_dir=tmp_path)


def test_a_silent_board_is_named_once_with_reason_and_remedy(
    engine: EcuEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: EcuEndpoint) -> EcuIdentity:
        raise FlashError("no answer", ecu="engine", step="22 F18C")

    monkeypatch.setattr(flashing, "probe", silent)
    with pytest.raises(BoardSilent) as silence:
        boards.ask(engine, within_s=0.0)
    assert silence.value.ecu == "engine"
    assert str(silence.value).startswith(f"board engine: {silence.value.reason}; power, wiring, termination, bit rate")
    assert str(silence.value).count("engine: ") == 1


@pytest.mark.parametrize("key", ["serial", "hardware_id"])
def test_another_board_than_the_bench_file_s_is_told_with_both_values(
    engine: EcuEndpoint, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    found = EcuIdentity("engine", engine.serial, engine.hardware_id, "1.0.0", active_slot=0, boots_left=0, slots=())
    other = replace(found, serial="other") if key == "serial" else replace(found, hardware_id="other")
    monkeypatch.setattr(flashing, "probe", lambda _: other)
    with pytest.raises(WrongBoard) as wrong:
        boards.ask(engine, within_s=0.0)
    expected = getattr(engine, key)
    assert (wrong.value.ecu, wrong.value.key, wrong.value.read, wrong.value.expected) == (
        "engine",
        key,
        "other",
        expected,
    )
    assert f"reports {key} 'other', the bench file has {expected!r}; correct ecus.engine.{key}" in str(wrong.value)
