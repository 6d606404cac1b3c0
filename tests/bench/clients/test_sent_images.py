"""The base of a patch is the image that the ECU runs, whatever other images have its version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.clients.running_bench import RunningBench
from otabench.bench.clients.sent_images import SentImages, digest_of
from otabench.bench.errors import BenchError
from otabench.bench.faults.control_port import ControlPort
from tests.ecu_firmware_sim.factory import HARDWARE_ID, ImageMaker, Keys

VERSION = "1.1.0"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> ImageMaker:
    return ImageMaker(Keys(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """A run's folder of that name."""
    folder = tmp_path / "firmware"
    folder.mkdir()
    return folder


def image(make: ImageMaker, body: str, *, hardware_id: str = HARDWARE_ID) -> bytes:
    return make(VERSION, counter=1, body=body.encode() * 100, hardware_id=hardware_id)


def state(digest: str | None, *, version: str = VERSION) -> dict[str, Any]:
    runs = {"state": "CONFIRMED", "version": version} | ({} if digest is None else {"digest": digest})
    return {"active_slot": 1, "slots": [{"state": "EMPTY", "version": "", "digest": ""}, runs]}


def made_by_bench(firmware: Path, content: bytes) -> dict[str, Path]:
    path = firmware / f"{HARDWARE_ID}-{VERSION}.bin"
    path.write_bytes(content)
    return {VERSION: path}


def test_of_images_with_one_version_the_one_that_runs_is_found(make: ImageMaker, firmware: Path) -> None:
    bench_s, first, second = image(make, "bench"), image(make, "first"), image(make, "second")
    made = made_by_bench(firmware, bench_s)
    for sent in (first, second):
        SentImages(firmware).keep(sent)
    for running in (bench_s, first, second):
        # another process looks: the command line, or the next test
        found = SentImages(firmware).running(state(digest_of(running)), hardware_id=HARDWARE_ID, made=made)
        assert found == running


def test_an_image_that_this_run_does_not_hold_is_not_replaced_by_one_of_its_version(
    make: ImageMaker, firmware: Path
) -> None:
    SentImages(firmware).keep(image(make, "first"))
    made = made_by_bench(firmware, image(make, "bench"))
    stranger = state(digest_of(image(make, "stranger")))
    assert SentImages(firmware).running(stranger, hardware_id=HARDWARE_ID, made=made) == b""


def test_a_board_reports_no_digest_and_gets_what_was_sent_last(make: ImageMaker, firmware: Path) -> None:
    sent = SentImages(firmware)
    made = made_by_bench(firmware, image(make, "bench"))
    board = state(None)
    assert sent.running(board, hardware_id=HARDWARE_ID, made=made) == image(make, "bench")
    for number, body in enumerate(("first", "second", "first")):
        sent.keep(image(make, body))
        newest = firmware / "sent" / f"{digest_of(image(make, body))}.bin"
        os.utime(newest, ns=(number, number))
    sent.keep(image(make, "of another", hardware_id="adas-soc-b"))
    assert sent.running(board, hardware_id=HARDWARE_ID, made=made) == image(make, "first")
    assert sent.running(state(None, version="7.0.0"), hardware_id=HARDWARE_ID, made=made) == b""


def test_bytes_that_are_no_image_are_not_kept(firmware: Path) -> None:
    SentImages(firmware).keep(b"no image")
    assert list(firmware.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(make: ImageMaker, firmware: Path) -> None:
    (firmware / "sent").write_text("in the way")
    with pytest.raises(BenchError, match=r"firmware/sent/.*\.bin: the image cannot be kept"):
        SentImages(firmware).keep(image(make, "first"))


def test_a_command_finds_it_by_the_running_bench_s_folder(
    make: ImageMaker, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = image(make, "own")
    made = made_by_bench(firmware, image(make, "bench"))
    content = {
        "control_ports": {"engine": 1},
        "control_token": "",
        "firmware": {"engine": {VERSION: str(made[VERSION])}},
    }
    bench = RunningBench(firmware.parent, content)
    bench.sent_images.keep(own)
    monkeypatch.setattr(ControlPort, "state", lambda _: state(digest_of(own)))
    assert bench.running_image("engine", hardware_id=HARDWARE_ID) == own
    assert bench.running_image("a-board", hardware_id=HARDWARE_ID) == b""
