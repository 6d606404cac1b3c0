"""The job in the ECU's events and trouble codes: read from flash when the metadata window changes, and not for every event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otabench.ecu_firmware_sim.boot import manifest
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.event_trace import EventTrace
from otabench.ecu_firmware_sim.factory import Provision
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.ecu_firmware_sim.programming.download import DownloadFormat
from otabench.ecu_firmware_sim.startup import Startup
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.ecu_firmware_sim.uds.state import Device
from otabench.proto.trace import TraceEvent, TraceWriter, read
from tests.ecu_firmware_sim.factory import SMALL, Bench, Keys, Manifest
from tests.ecu_firmware_sim.process import make_config

TARGETS_ERASE = b"\x31\x01\xff\x00\x44" + METADATA_WINDOW.to_bytes(4, "big") + SMALL.metadata_bytes.to_bytes(4, "big")


class TracedBoots:
    """Boots over the flash of an ECU, with a trace; everything but the flash is new at each."""

    def __init__(self, folder: Path, keys: Keys, ecu: Bench, image: bytes) -> None:
        self._path = folder / "trace.jsonl"
        self._config = make_config(folder, keys, image, bus={}, transport="user")
        self._given = Provision(ecu.policy, keys.pinned)
        self._ecu = ecu

    def boot(self) -> tuple[Startup, Device]:
        self._ecu.flash.on_operation = None
        self._ecu.flash.powered = True
        startup = Startup(self._config, self._given, self._ecu.flash, SMALL, TraceWriter(self._path, component="ecu"))
        outcome, dtcs = startup.boot()
        startup.report_running(outcome, mode="application")
        return startup, startup.device(outcome, dtcs)

    def events(self) -> list[TraceEvent]:
        return list(read(self._path))


@pytest.fixture
def traced(tmp_path: Path, keys: Keys, ecu: Bench, old_image: bytes) -> TracedBoots:
    return TracedBoots(tmp_path, keys, ecu, old_image)


def put_targets(device: Device, document: bytes) -> None:
    download = device.firmware.begin_download(METADATA_WINDOW, len(document), DownloadFormat())
    for start in range(0, len(document), 500):
        download.write(document[start : start + 500])
    download.finish()


def test_the_window_is_read_when_it_is_refreshed_and_not_for_events(tmp_path: Path) -> None:
    jobs = iter(["job-1", "job-2"])
    path = tmp_path / "trace.jsonl"
    trace = EventTrace(TraceWriter(path, component="ecu"), ecu="engine", announced_job_id=lambda: next(jobs))
    trace.emit("ecu.a")
    trace.refresh_job()
    for _ in range(3):
        trace.emit("ecu.b", slot=1)
    trace.refresh_job()
    trace.emit("ecu.c")
    trace.emit_external("ecu.power")
    found = [(event.event, event.job_id, event.ecu) for event in read(path)]
    assert [job_id for _, job_id, _ in found] == [None, "job-1", "job-1", "job-1", "job-2", None]
    assert {ecu for _, _, ecu in found} == {"engine"}


def test_a_boot_parses_the_metadata_once_whatever_happens_in_it(
    ecu: Bench, traced: TracedBoots, new_image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a trial without boots, whose end is a boot with several events
    ecu.trial(new_image)
    ecu.firmware.end_trial()
    parsed: list[int] = []
    parse = manifest.announced_job_id

    def count(data: bytes) -> str | None:
        parsed.append(len(data))
        return parse(data)

    monkeypatch.setattr(manifest, "announced_job_id", count)

    _, device = traced.boot()

    events = traced.events()
    assert [event.event for event in events] == ["ecu.slot", "ecu.rollback", "ecu.boot"]
    assert {event.job_id for event in events} == {"job-1"}, "the slot event, too, which is the first of all"
    assert len(parsed) == 1
    assert device.nvm.current.dtcs[-1].job_id == "job-1"


def test_a_new_job_is_known_once_its_targets_are_there(
    keys: Keys, ecu: Bench, traced: TracedBoots, new_image: bytes
) -> None:
    startup, device = traced.boot()
    assert startup.trace.job_id is None
    put_targets(device, Manifest(new_image, job_id="job-2").signed(keys.targets))
    assert startup.trace.job_id == "job-2"
    put_targets(device, Manifest(new_image, job_id="job-3").signed(keys.targets))
    assert startup.trace.job_id == "job-3"
    put_targets(device, b"not JSON")
    assert startup.trace.job_id is None


def test_an_erased_window_names_no_job_and_trouble_codes_fall_back_to_the_last_accepted_one(
    keys: Keys, traced: TracedBoots, new_image: bytes
) -> None:
    startup, device = traced.boot()
    put_targets(device, Manifest(new_image, job_id="job-2").signed(keys.targets))
    device.nvm.update(job_id="job-1")
    device.firmware.erase(METADATA_WINDOW, SMALL.metadata_bytes)
    assert startup.trace.job_id is None
    device.dtcs.set(Dtc.FLASH_ERROR, "after the erase")
    assert device.nvm.current.dtcs[-1].job_id == "job-1"


@pytest.mark.parametrize("operation", [1, 2, 4])
def test_after_a_power_cut_the_job_is_the_one_that_flash_names(
    keys: Keys, ecu: Bench, traced: TracedBoots, new_image: bytes, operation: int
) -> None:
    """Operation 1 erases the window, the next ones program it."""
    _, device = traced.boot()
    put_targets(device, Manifest(new_image, job_id="job-2").signed(keys.targets))
    first = ecu.flash.operations
    ecu.flash.on_operation = lambda done: Cut.BEFORE if done.number == first + operation else None
    with pytest.raises(PowerLost):
        put_targets(device, Manifest(new_image, job_id="job-3").signed(keys.targets))
    startup, device = traced.boot()
    assert startup.trace.job_id == ("job-2" if operation == 1 else None)
    put_targets(device, Manifest(new_image, job_id="job-3").signed(keys.targets))
    assert startup.trace.job_id == "job-3"
    startup, _ = traced.boot()
    assert startup.trace.job_id == "job-3"
    assert traced.events()[-1].job_id == "job-3"


@pytest.mark.parametrize(
    ("act", "changes"),
    [
        pytest.param(lambda ecu, targets, image: ecu.download_metadata(targets), 1, id="first Targets: 37"),
        pytest.param(lambda ecu, targets, image: ecu.must(TARGETS_ERASE), 1, id="erase of the window"),
        pytest.param(lambda ecu, targets, image: (ecu.erase(), ecu.download_image(image)), 0, id="slot only"),
    ],
)
def test_every_change_of_the_window_is_reported_and_no_other(
    ecu: Bench,
    keys: Keys,
    new_image: bytes,
    act: Callable[[Bench, bytes, bytes], object],
    changes: int,
) -> None:
    ecu.unlock()
    act(ecu, Manifest(new_image).signed(keys.targets), new_image)
    assert ecu.metadata_changes == changes
