"""The flashing client with simulated ECUs as processes, on the kernel's vcan0 and over udp_multicast."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bsdiff4
import pytest

from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.flashing import UdsVehicle, progress
from otabench.bench.gateway.vehicle import EcuImage, EcuProgress, Phase
from otabench.bench.uds.errors import DependenciesNotMet, EcuRefused, RolledBack
from otabench.bench.uds.slot_table import SlotState
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.nvm import NvmData, NvmStore
from otabench.proto import metadata_window, trace
from otabench.proto.conditions import ConditionSource, Quantity, standard_sources
from otabench.proto.inhibit import InhibitFrame
from otabench.proto.process_config import IsoTpConfig
from otabench.proto.time_attestation import attest
from otabench.proto.trace import TraceWriter
from tests.bench.gateway.real_ecu import RealEcu
from tests.ecu_firmware_sim.factory import VIN, ImageMaker, Keys
from tests.waiting import eventually

VCAN = {"interface": "socketcan", "channel": "vcan0"}


def multicast() -> dict[str, Any]:
    """Return a multicast group for this test process alone, because multicast reaches every process of the machine."""
    return {"interface": "udp_multicast", "channel": "239.74.163.2", "port": 43200 + os.getpid() % 2000}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def make_image(keys: Keys) -> ImageMaker:
    return ImageMaker(keys)


class EcuProcessRig:
    def __init__(self, folder: Path, ecus: list[RealEcu]) -> None:
        self.folder = folder
        self.ecus = {ecu.name: ecu for ecu in ecus}
        self.seen: list[EcuProgress] = []
        self.fetched: list[str] = []
        config = GatewayConfig(
            vin=VIN,
            ecus=tuple(ecu.endpoint() for ecu in ecus),
            state_dir=folder,
            director_root=folder / "root.json",
            cloud_grpc="127.0.0.1:1",
            timing=GatewayTiming(boot_timeout_s=15.0, ecu_lost_timeout_s=5.0, soak_s=0.2),
            inhibit=ecus[0].inhibit,
        )
        self.vehicle = UdsVehicle(config, TraceWriter(folder / "trace.jsonl", component="gateway"))

    def stage(self, images: list[EcuImage]) -> None:
        self.vehicle.stage(
            images,
            job_id="job-1",
            progress=self.seen.append,
            cancel=threading.Event(),
            fetch_image=self.fetched.append,
        )

    def update(self, images: list[EcuImage]) -> None:
        """Run the update up to a verified trial."""
        self.stage(images)
        self.vehicle.activate(images, job_id="job-1", progress=self.seen.append)
        self.vehicle.verify(images, job_id="job-1", progress=self.seen.append)

    def confirm(self, images: list[EcuImage]) -> None:
        self.vehicle.confirm(images, job_id="job-1", progress=self.seen.append)
        self.vehicle.finish(job_id="job-1")

    def revert(self, images: list[EcuImage]) -> None:
        self.vehicle.revert(images, job_id="job-1", progress=self.seen.append)
        self.vehicle.finish(job_id="job-1")

    def standings(self) -> dict[str, tuple[str, SlotState]]:
        return {name: (of.software_version, of.active.state) for name, of in self.vehicle.identify().items()}

    def metadata_bytes(self) -> list[int]:
        events = trace.read(self.folder / "trace.jsonl")
        return [
            int(event.data["bytes"])
            for event in events
            if event.event == "flash.transfer" and event.data["kind"] == "metadata"
        ]

    def transfers(self) -> list[tuple[str | None, str]]:
        events = trace.read(self.folder / "trace.jsonl")
        return [(event.ecu, event.data["kind"]) for event in events if event.event == "flash.transfer"]


@pytest.fixture
def make_rig(tmp_path: Path, keys: Keys, make_image: ImageMaker) -> Iterator[Callable[..., EcuProcessRig]]:
    with ExitStack() as stack:

        def make(
            *names: str,
            bus: dict[str, Any],
            isotp: IsoTpConfig | None = None,
            size: int = 9000,
            inhibit: InhibitFrame | None = None,
        ) -> EcuProcessRig:
            ecus = [
                RealEcu(name, number, tmp_path, bus, keys, make_image, isotp or IsoTpConfig(), size, inhibit=inhibit)
                for number, name in enumerate(names)
            ]
            for ecu in ecus:
                stack.enter_context(ecu)
            rig = EcuProcessRig(tmp_path, ecus)
            stack.callback(rig.vehicle.close)
            return rig

        yield make


def test_an_ecu_refuses_what_other_targets_promise_too_little_for(make_rig: Callable[..., EcuProcessRig]) -> None:
    """The gateway sends the Targets of another campaign, signed by the same Director, in which adas keeps its old version."""
    rig = make_rig("engine", bus=multicast(), isotp=IsoTpConfig(block_size=8), size=900)
    engine = rig.ecus["engine"]
    engine.new = engine.make_image(
        "2.0.0", counter=2, body=b"some code, " * 60, hardware_id=engine.hardware_id, dependency="(2,2.0.0)"
    )
    needs = "its image 2.0.0 for engine needs adas >= 2.0.0 (adas would run 2.0.0)"
    lie = replace(engine.image(versions={1: "2.0.0", 2: "1.0.0"}), needs=needs)
    rig.stage([lie])
    with pytest.raises(
        DependenciesNotMet, match="engine: 31 01 FF01 check programming dependencies: not met: its image"
    ) as no:
        rig.vehicle.activate([lie], job_id="job-1", progress=rig.seen.append)
    assert no.value.ecu == "engine"
    assert rig.standings() == {"engine": ("1.0.0", SlotState.CONFIRMED)}
    rig.vehicle.finish(job_id="job-1")
    assert any("needs image 2 >= 2.0.0" in text for text in rig.vehicle.identify()["engine"].dtcs)
    # and by the Targets of its own campaign it is updated
    now_s = int(time.time())
    honest = engine.image(versions={1: "2.0.0", 2: "2.0.0"}, version=2)
    # and with them comes a new Root, once: when the metadata are sent again, the ECU has it
    root = engine.keys.next_root(targets=engine.keys.targets)
    window = metadata_window.pack([root], honest.metadata)
    honest = replace(
        honest,
        metadata=window,
        attest_time=lambda nonce: attest(time_s=now_s, nonce=nonce, keys=[engine.keys.time]),
    )
    rig.stage([honest])
    rig.update([honest])
    first, again = rig.metadata_bytes()[-2:]
    assert first - again == len(root) + 5, "the Root, with kind and length"
    assert rig.standings() == {"engine": ("2.0.0", SlotState.TRIAL)}
    # and the time that was attested for its nonce is in its flash
    assert stored_by(engine).attested_time_s == now_s


@pytest.mark.clause("R156 7.2.2.3")
def test_an_ecu_is_updated_over_udp_multicast_in_a_vehicle_that_cannot_leave(
    make_rig: Callable[..., EcuProcessRig],
) -> None:
    frame = InhibitFrame(id=0x3F0, period_ms=50)
    rig = make_rig("engine", bus=multicast(), isotp=IsoTpConfig(block_size=8), size=900, inhibit=frame)
    engine = rig.ecus["engine"]
    images = [engine.image()]
    assert not engine.control(op="state")["inhibited"]
    rig.stage(images)
    eventually(lambda: engine.control(op="state")["inhibited"], "the vehicle is inhibited")
    for kind, values in (("speed", {"km_h": 30}), ("engine-running", {})):
        refused = engine.control(op="fault", kind=kind, **values)
        assert "the vehicle is inhibited" in refused["error"]
    rig.vehicle.activate(images, job_id="job-1", progress=rig.seen.append)
    rig.vehicle.verify(images, job_id="job-1", progress=rig.seen.append)
    assert set(rig.standings().values()) == {("2.0.0", SlotState.TRIAL)}
    assert engine.control(op="state")["inhibited"], "while the ECU restarts, too"
    rig.confirm(images)
    assert set(rig.standings().values()) == {("2.0.0", SlotState.CONFIRMED)}
    eventually(lambda: not engine.control(op="state")["inhibited"], "the vehicle may be driven again")
    assert engine.control(op="fault", kind="speed", km_h=30)["ok"]


def stored_by(ecu: RealEcu) -> NvmData:
    """Return what an ECU keeps in its flash."""
    layout = FlashLayout()
    stored = NvmStore(NorFlash(bytearray((ecu.folder / f"{ecu.name}.flash").read_bytes())), layout).load()
    assert stored is not None
    return stored


def rotten(ecu: RealEcu) -> None:
    """Damage both slots, so that the ECU stays in its bootloader."""
    assert ecu.control(op="fault", kind="bit-rot", slot=0, offset=0x300)["ok"]
    assert ecu.control(op="power", state="cycle")["ok"]
    eventually(lambda: ecu.control(op="state")["mode"] == "bootloader", "the bootloader runs")


@pytest.mark.parametrize(
    "bus", [pytest.param(VCAN, marks=pytest.mark.vcan), pytest.param(multicast(), id="udp_multicast")]
)
def test_an_ecu_in_its_bootloader_is_rescued(make_rig: Callable[..., EcuProcessRig], bus: dict[str, Any]) -> None:
    rig = make_rig("engine", "adas", bus=bus, isotp=IsoTpConfig(block_size=8), size=900)
    engine = rig.ecus["engine"]
    rotten(engine)
    assert rig.standings()["engine"] == ("0.0.0", SlotState.INVALID)
    images = [engine.image(patch=bsdiff4.diff(engine.old, engine.new)), rig.ecus["adas"].image()]
    rig.update(images)
    rig.confirm(images)
    assert set(rig.standings().values()) == {("2.0.0", SlotState.CONFIRMED)}
    assert ("engine", "full") in rig.transfers(), "there is nothing to patch in a bootloader"


def test_a_flash_error_is_read_with_its_job_and_time(
    make_rig: Callable[..., EcuProcessRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flip one bit of the erased slot during the transfer of the image."""
    monkeypatch.setattr(progress, "_MIN_INTERVAL_S", 0.0)  # progress after each block, not only after the last one
    rig = make_rig("engine", bus=multicast(), isotp=IsoTpConfig(block_size=8), size=9000)
    engine = rig.ecus["engine"]
    image = engine.image()

    def listen(seen: EcuProgress) -> None:
        if seen.phase is Phase.TRANSFERRING and seen.bytes_done and not rig.seen:
            assert engine.control(op="fault", kind="bit-rot", slot=1, offset=image.image_length - 100)["ok"]
            rig.seen.append(seen)

    started = datetime.now(UTC).replace(microsecond=0)
    with pytest.raises(EcuRefused, match="NRC 72 generalProgrammingFailure"):
        rig.vehicle.stage(
            [image], job_id="job-1", progress=listen, cancel=threading.Event(), fetch_image=rig.fetched.append
        )
    rig.vehicle.finish(job_id="job-1")
    told = [event for event in trace.read(rig.folder / "trace.jsonl") if event.event == "ecu.dtcs"]
    (text,) = told[-1].data["dtcs"]
    found = re.fullmatch(
        r"P062F-00 the flash memory refused an operation: page at 0x\w+ was programmed without being erased "
        r"\(job job-1, (\S+ \S+) UTC\)",
        text,
    )
    assert found, text
    assert started <= datetime.fromisoformat(f"{found[1]}+00:00") <= datetime.now(UTC)
    assert (told[-1].ecu, told[-1].job_id) == ("engine", "job-1")


@pytest.mark.vcan
@pytest.mark.parametrize(
    ("transport", "names", "size"), [("kernel", ("engine", "adas"), 9000), ("user", ("engine",), 900)]
)
def test_all_ecus_are_updated_on_vcan(
    make_rig: Callable[..., EcuProcessRig], transport: str, names: tuple[str, ...], size: int
) -> None:
    isotp = IsoTpConfig(transport=transport, block_size=8)  # type: ignore[arg-type]
    rig = make_rig(*names, bus=VCAN, isotp=isotp, size=size)
    images = [rig.ecus[name].image() for name in rig.ecus]
    rig.update(images)
    rig.stage(images)  # repeated after a restart: they run it on trial, so nothing is sent
    rig.confirm(images)
    assert set(rig.standings().values()) == {("2.0.0", SlotState.CONFIRMED)}
    assert rig.transfers() == [(ecu, kind) for ecu in names for kind in ("metadata", "full")]


@pytest.mark.vcan
@pytest.mark.parametrize("said", [True, False])
def test_an_ecu_is_updated_by_can_fd(make_rig: Callable[..., EcuProcessRig], said: bool) -> None:
    rig = make_rig("engine", bus={**VCAN, "fd": True}, isotp=IsoTpConfig(fd=said), size=5000)
    images = [rig.ecus["engine"].image()]
    rig.update(images)
    rig.confirm(images)
    assert rig.standings() == {"engine": ("2.0.0", SlotState.CONFIRMED)}


@pytest.mark.vcan
def test_a_patch_is_sent_instead_and_a_foreign_one_replaced_by_the_image(
    make_rig: Callable[..., EcuProcessRig],
) -> None:
    rig = make_rig("engine", "adas", bus=VCAN)
    engine, adas = rig.ecus["engine"], rig.ecus["adas"]
    foreign = bsdiff4.diff(adas.new, adas.new)
    images = [engine.image(patch=bsdiff4.diff(engine.old, engine.new)), adas.image(patch=foreign, base=adas.new)]
    rig.update(images)
    rig.confirm(images)
    assert set(rig.standings().values()) == {("2.0.0", SlotState.CONFIRMED)}
    kinds = rig.transfers()
    assert ("engine", "delta") in kinds and ("engine", "full") not in kinds and ("adas", "full") in kinds


@pytest.mark.vcan
def test_a_power_cycle_in_the_transfer_ends_updated(make_rig: Callable[..., EcuProcessRig]) -> None:
    rig = make_rig("engine", bus=VCAN)
    assert rig.ecus["engine"].control(op="fault", kind="power-cycle-at", bytes=5000, off_s=0.3)["ok"]
    images = [rig.ecus["engine"].image()]
    rig.update(images)
    rig.confirm(images)
    assert rig.standings() == {"engine": ("2.0.0", SlotState.CONFIRMED)}
    assert any("attempt 1 of 3 failed" in seen.detail for seen in rig.seen)


@pytest.mark.vcan
def test_a_refusal_leaves_the_running_slot_and_the_next_try_goes_on(make_rig: Callable[..., EcuProcessRig]) -> None:
    rig = make_rig("engine", bus=VCAN)
    engine = rig.ecus["engine"]
    with pytest.raises(EcuRefused, match="status 06: the manifest's signature is wrong or it is not for this ECU"):
        rig.stage([engine.image(serial="SOME-OTHER")])
    assert engine.control(op="fault", kind="nrc", service=0x36, nrc=0x72, count=1)["ok"]
    with pytest.raises(EcuRefused, match="NRC 72 generalProgrammingFailure"):
        rig.stage([engine.image()])
    rig.vehicle.finish(job_id="job-1")
    assert rig.standings() == {"engine": ("1.0.0", SlotState.CONFIRMED)}
    rig.stage([engine.image()])
    assert rig.seen[-1].phase is Phase.STAGED
    full = rig.transfers().count(("engine", "full"))
    rig.vehicle.close()  # a gateway that was restarted: it checks what is staged and sends no image again
    rig.stage([engine.image(version=2)])
    assert rig.seen[-1].phase is Phase.STAGED and rig.transfers().count(("engine", "full")) == full
    rig.vehicle.finish(job_id="job-1")
    rig.vehicle.activate([engine.image()], job_id="job-1", progress=rig.seen.append)  # from the default session
    rig.vehicle.verify([engine.image()], job_id="job-1", progress=rig.seen.append)
    assert rig.standings() == {"engine": ("2.0.0", SlotState.TRIAL)}


@pytest.mark.vcan
def test_a_boot_that_fails_is_rolled_back_and_the_other_ecu_is_reverted(make_rig: Callable[..., EcuProcessRig]) -> None:
    rig = make_rig("engine", "adas", bus=VCAN)
    images = [rig.ecus[name].image() for name in rig.ecus]
    assert rig.ecus["engine"].control(op="fault", kind="boot-fail")["ok"]
    with pytest.raises(RolledBack, match=r"engine: .*runs 1\.0\.0 \(CONFIRMED\), the other slot is INVALID"):
        rig.update(images)
    rig.revert(images)
    assert set(rig.standings().values()) == {("1.0.0", SlotState.CONFIRMED)}


def test_the_quantities_of_conditions_are_read_from_ecus_and_what_cannot_be_read_is_left_out(
    make_rig: Callable[..., EcuProcessRig],
) -> None:
    rig = make_rig("engine", bus=multicast(), isotp=IsoTpConfig(block_size=8), size=900)
    sources = {
        **standard_sources("engine"),
        Quantity.CHARGE: ConditionSource(ecu="engine", identifier=0x0100),
        Quantity.IGNITION: ConditionSource(ecu="radar", identifier=0x0100),
        Quantity.DOORS_OPEN: ConditionSource(value=0),
    }
    expected = {Quantity.SPEED: 0.0, Quantity.ENGINE_SPEED: 0.0, Quantity.SUPPLY: 13.5, Quantity.DOORS_OPEN: 0.0}
    assert rig.vehicle.read_conditions(sources, job_id="job-1") == pytest.approx(expected)
    rig.ecus["engine"].control(op="fault", kind="speed", km_h=30)
    rig.ecus["engine"].control(op="fault", kind="voltage", volts=9.2)
    now = rig.vehicle.read_conditions(sources, job_id="job-1")
    assert now == pytest.approx({**expected, Quantity.SPEED: 30.0, Quantity.SUPPLY: 9.2})
