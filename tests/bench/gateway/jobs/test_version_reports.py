"""The gateway's version report: one for each nonce, made when the ECUs were read anew, and left out where an ECU does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.bench.gateway.errors import StartError
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.version_reports import VersionReports, load_key
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.uds.errors import EcuLost
from otabench.proto.trace import TraceWriter
from otabench.proto.version_report import open_vehicle_report
from tests.bench.gateway.model_vehicle import ModelEcu, ModelVehicle

VIN = "W0TABENCH00000001"
KEY = Ed25519PrivateKey.generate()
FIRST, SECOND = bytes(16), bytes([1]) * 16


class SigningVehicle:
    """A vehicle whose engine signs and whose adas does not."""

    def __init__(self, model: ModelVehicle) -> None:
        self.identify = model.identify
        self.asked: list[bytes] = []
        self.silent = False

    def version_reports(self, nonce: bytes) -> Mapping[str, bytes]:
        self.asked.append(nonce)
        if self.silent:
            raise EcuLost("no answer in time", ecu="engine", step="version report")
        return {"engine": b"%d " % len(self.asked) + nonce}


class Gateway:
    """What makes version reports, without the rest."""

    def __init__(self, folder: Path, *, key: Ed25519PrivateKey | None = KEY) -> None:
        ecus = [ModelEcu(name, f"{name}-1", f"{name}-mcu") for name in ("engine", "adas")]
        self.vehicle = SigningVehicle(ModelVehicle.build(folder / "vehicle", ecus))
        trace, worker = TraceWriter(None, component="gateway", vin=VIN), Worker()
        vehicle = cast(Any, self.vehicle)
        dashboard = Dashboard(vin=VIN, hardware_ids={each.name: each.hardware_id for each in ecus})
        self.identities = Identities(vehicle=vehicle, worker=worker, dashboard=dashboard, trace=trace)
        self.reports = VersionReports(
            vin=VIN, key=key, vehicle=vehicle, worker=worker, identities=self.identities, trace=trace
        )


def test_the_report_has_every_ecu_and_the_signature_of_those_that_sign(tmp_path: Path) -> None:
    async def story() -> bytes:
        gateway = Gateway(tmp_path)
        await gateway.identities.refresh()
        return await gateway.reports.for_check_in(FIRST)

    report = open_vehicle_report(asyncio.run(story()), KEY.public_key())

    assert (report.vin, report.nonce) == (VIN, FIRST.hex())
    assert report.primary == KEY.public_key().public_bytes_raw().hex()
    entries = {entry.serial: entry for entry in report.ecus}
    assert {serial: entry.version for serial, entry in entries.items()} == {"engine-1": "1.0.0", "adas-1": "1.0.0"}
    assert bytes.fromhex(entries["engine-1"].report) == b"1 " + FIRST
    assert entries["adas-1"].report == ""


def test_calls_at_the_same_time_get_one_report_for_one_nonce(tmp_path: Path) -> None:
    """Two different reports for one nonce would look like two gateways."""

    async def story() -> tuple[list[bytes], bytes, list[bytes]]:
        gateway = Gateway(tmp_path)
        await gateway.identities.refresh()
        together = await asyncio.gather(*(gateway.reports.make(FIRST) for _ in range(3)))
        return list(together), await gateway.reports.make(SECOND), gateway.vehicle.asked

    together, other, asked = asyncio.run(story())

    assert len(set(together)) == 1 and other not in together
    assert asked == [FIRST, SECOND]


def test_check_ins_ask_ecus_once_for_each_reading(tmp_path: Path) -> None:
    async def story() -> list[bool]:
        gateway = Gateway(tmp_path)
        await gateway.identities.refresh()
        sent = [await gateway.reports.for_check_in(nonce) for nonce in (b"", FIRST, SECOND)]
        await gateway.identities.refresh()
        return [bool(each) for each in (*sent, await gateway.reports.for_check_in(SECOND))]

    assert asyncio.run(story()) == [False, True, False, True]


def test_a_silent_ecu_leaves_the_report_out_and_is_asked_again(tmp_path: Path) -> None:
    async def story() -> tuple[bytes, bytes]:
        gateway = Gateway(tmp_path)
        await gateway.identities.refresh()
        gateway.vehicle.silent = True
        without = await gateway.reports.for_check_in(FIRST)
        gateway.vehicle.silent = False
        return without, await gateway.reports.for_check_in(FIRST)

    without, then = asyncio.run(story())
    assert without == b"" and then != b""


def test_an_ecu_whose_answer_fits_no_report_does_not_end_the_gateway(tmp_path: Path) -> None:
    async def story() -> bytes:
        gateway = Gateway(tmp_path)
        known = await gateway.identities.refresh()
        gateway.identities.record({"engine": replace(known["engine"], serial="x" * 1000)})
        return await gateway.reports.make(FIRST)

    assert asyncio.run(story()) == b""


def test_a_gateway_without_a_key_asks_no_ecu(tmp_path: Path) -> None:
    async def story() -> tuple[bytes, list[bytes]]:
        gateway = Gateway(tmp_path, key=None)
        await gateway.identities.refresh()
        return await gateway.reports.make(FIRST), gateway.vehicle.asked

    assert asyncio.run(story()) == (b"", [])
    assert load_key(None) is None


@pytest.mark.parametrize(
    ("content", "mode", "words"), [("zz", 0o600, "not an Ed25519"), ("00" * 32, 0o644, "report_key")]
)
def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path, content: str, mode: int, words: str) -> None:
    path = tmp_path / "vin.ed25519"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(StartError, match=words) as caught:
        load_key(path)
    assert str(path) in str(caught.value)
