"""A manifest that takes long to make: the vehicle comes again later, one manifest is made, and the vehicle is woken."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import grpc
import pytest

from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.campaigns.outbox import OutboxSender
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.control import vehicles as module
from otabench.cloud.control.auditing import Auditor
from otabench.cloud.control.operator import Operator
from otabench.cloud.control.server import start_grpc_server
from otabench.cloud.control.vehicles import ControlPlane
from otabench.cloud.store.artifact_store import open_store
from otabench.cloud.store.database import open_database
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.keys import load_director_keys, load_image_public_key
from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.audit_log import AuditLog
from otabench.proto.trace import read
from tests.cloud.bench import ENGINE, ImageMaker, Vehicle, campaign_request, free_port


class Recorder:
    """An event plane that records the topics."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.published = asyncio.Event()

    async def wait_until_connected(self) -> None:
        pass

    async def deliver(self, topic: str, payload: bytes) -> None:
        self.topics.append(topic.rpartition("/")[2])
        self.published.set()


async def story(keys_dir: Path, folder: Path, vehicle: Vehicle, images: ImageMaker) -> None:
    database, store = open_database(f"sqlite:///{folder}/cloud.db"), open_store(f"file://{folder}/store")
    recorder = Recorder()
    artifacts = ArtifactMaker(database=database, store=store, private_store=open_store(f"file://{folder}/private"))
    sender = OutboxSender(database=database, publisher=recorder, messages_per_s=10_000)
    announcer = Announcer(trace=folder / "trace.jsonl", notify_outbox=sender.notify)
    director = Director(load_director_keys(keys_dir))
    manifests = ManifestMaker(database=database, artifacts=artifacts, director=director, announcer=announcer)
    publication = Publication(database, None)
    orchestrator = Orchestrator(
        database=database,
        artifacts=artifacts,
        manifests=manifests,
        image_key=load_image_public_key(keys_dir),
        announcer=announcer,
        publication=publication,
        messages_per_s=10_000,
    )
    auditor = Auditor(AuditLog(folder / "audit"), clock=time.monotonic)
    plane = ControlPlane(
        database=database,
        manifest_maker=manifests,
        announcer=announcer,
        director=director,
        publication=publication,
        artifact_base_url="http://x/",
        poll_interval_s=30,
        tls=False,
        auditor=auditor,
    )
    operator = Operator(
        database=database, orchestrator=orchestrator, publication=publication, announcer=announcer, tls=False
    )
    port = free_port()
    server = await start_grpc_server(
        host="127.0.0.1",
        port=port,
        tls=None,
        control_plane=plane,
        operator=operator,
        auditor=auditor,
    )
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    control = ota_pb2_grpc.ControlPlaneStub(channel)  # type: ignore[no-untyped-call]
    operate = ota_pb2_grpc.OperatorStub(channel)  # type: ignore[no-untyped-call]
    go_on = threading.Event()
    sending = asyncio.create_task(sender.run())
    try:
        # given: a campaign for a vehicle that has not checked in yet, and a maker that is busy
        ecus = [
            ota_pb2.RegisterVehicleRequest.Ecu(ecu=name, serial=vehicle.serial(name), hardware_id=hardware)
            for name, hardware in vehicle.hardware.items()
        ]
        await operate.RegisterVehicle(ota_pb2.RegisterVehicleRequest(vin=vehicle.vin, ecus=ecus))
        request = campaign_request(vehicle, (ENGINE, images()))
        request.images[0].base_image = images(ENGINE, "1.0.0", counter=1)
        await operate.CreateCampaign(request)
        # the transition, and the wake-up of the new campaign
        async with asyncio.timeout(30):
            while len(recorder.topics) < 2:
                await asyncio.sleep(0.005)
        busy = asyncio.ensure_future(artifacts.run(lambda: go_on.wait(timeout=30)))
        recorder.topics.clear()

        # when: the vehicle checks in, twice at once
        check_in = ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=vehicle.reports())
        early = await asyncio.gather(control.CheckIn(check_in), control.CheckIn(check_in))

        # then: the answer asks it to check in again soon
        for answer in early:
            assert answer.decision == ota_pb2.CheckInResponse.DECISION_NO_UPDATE
            assert "check in again" in answer.reason
            assert answer.poll_interval_s < 30

        # when: the manifest is made, then: the vehicle is woken and finds one manifest
        recorder.published.clear()
        go_on.set()
        await busy
        await asyncio.wait_for(recorder.published.wait(), timeout=30)
        assert set(recorder.topics) == {"update-available"}
        answer = await control.CheckIn(check_in)
        assert answer.decision == ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE
        assert answer.poll_interval_s == 30
        signed = [event for event in read(folder / "trace.jsonl") if event.event == "manifest.signed"]
        assert [event.data["version"] for event in signed] == [1]
        assert list(signed[0].data["patches"]) == [ENGINE]
    finally:
        go_on.set()
        sending.cancel()
        await asyncio.wait({sending})
        await channel.close()
        await server.stop()
        manifests.close()
        artifacts.close()
        announcer.close()
        database.close()


def test_a_vehicle_does_not_wait_for_a_manifest_that_takes_long(
    keys_dir: Path, tmp_path: Path, vehicle: Vehicle, images: ImageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PREPARE_WAIT_S", 0.05)
    asyncio.run(story(keys_dir, tmp_path, vehicle, images))
