"""The operator's client of the cloud's control plane: register vehicles, create, read and cancel campaigns.

    with OperatorClient("127.0.0.1:50051", tls) as operator:
        campaign = operator.create_campaign(name="2.0.0", release_notes="", vins=[vin], images=[CampaignImage("engine-mcu-a", image)])
        for state in operator.watch_campaign(campaign.campaign_id):
            print(state.jobs[0].state)

This module sets the timeouts of calls; ``explained_calls`` has the texts of errors. Only these two, the gateway and the fleet
bench import grpc.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

# gRPC reads this at its import. Its own log lines mention C++ files; this module raises errors with plain messages.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from otabench.bench.clients.explained_calls import ExplainedCall, read_tls_file
from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import JobState, to_wire
from otabench.proto.process_config import TlsConfig
from otabench.proto.uptane import PayloadCustom
from otabench.proto.version_order import SEMVER, VersionRule

CALL_TIMEOUT_S: Final = 20.0
CAMPAIGN_TIMEOUT_S: Final = 120.0
"""Longer than for other calls: the cloud makes patches during the call, which takes long on a slow CPU."""
_PAGE_SIZE: Final = 500
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class ProgramFacts:
    """The facts about a program file that the cloud signs: its version and its contents."""

    version: str
    payload: PayloadCustom


@dataclass(frozen=True)
class CampaignImage:
    """The image that one kind of ECU is to run, and optionally the image that it runs now, as the base of a patch.

    ``program``: ``image`` is a program file. None: it is an MCUboot image.
    """

    hardware_id: str
    image: bytes
    base_image: bytes = b""
    program: ProgramFacts | None = None


@dataclass(frozen=True)
class RegisteredEcu:
    """One ECU of a vehicle that is registered.

    Attributes:
        name, serial, hardware_id: what it is.
        public_key: X25519 key; None: artifacts cannot be encrypted for it.
        image_number: 0: its place among the ECUs, counted from 1.
        takes_programs: whether it takes program files instead of MCUboot images.
        takes_patches: whether it rebuilds an image from a patch.
        versions: how its versions are compared.
        report_key: Ed25519 key that verifies its version reports; empty: it cannot sign.
    """

    name: str
    serial: str
    hardware_id: str
    public_key: bytes | None = None
    image_number: int = 0
    takes_programs: bool = False
    takes_patches: bool = True
    versions: VersionRule = SEMVER
    report_key: bytes = b""


class OperatorClient:
    """A connection to the control plane, as a context manager.

    Args:
        target: host:port.
        tls: the operator's certificate. None: no encryption.
    """

    def __init__(self, target: str, tls: TlsConfig | None) -> None:
        options = [
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        self.target = target
        if tls is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(
                root_certificates=read_tls_file(tls.ca),
                private_key=read_tls_file(tls.key),
                certificate_chain=read_tls_file(tls.certificate),
            )
            self._channel = grpc.secure_channel(target, credentials, options)
        self._operator = ota_pb2_grpc.OperatorStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> OperatorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def is_serving(self) -> bool:
        """Return whether the control plane reports that it serves (gRPC health checking)."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(service=""), timeout=2.0)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def register_vehicle(self, vin: str, ecus: Sequence[RegisteredEcu], *, gateway_key: bytes = b"") -> None:
        """Register a vehicle with these ECUs.

        Args:
            vin: the vehicle.
            ecus: all of its ECUs.
            gateway_key: Ed25519 key that verifies the vehicle's version reports; empty: its gateway cannot sign.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        request = ota_pb2.RegisterVehicleRequest(vin=vin, gateway_key=gateway_key)
        for ecu in ecus:
            request.ecus.add(
                ecu=ecu.name,
                serial=ecu.serial,
                hardware_id=ecu.hardware_id,
                public_key=ecu.public_key,
                image_number=ecu.image_number,
                payload=ota_pb2.PAYLOAD_KIND_PROGRAM if ecu.takes_programs else ota_pb2.PAYLOAD_KIND_CONTAINER,
                version_order=f"VERSION_ORDER_{ecu.versions.order.upper()}",
                known_versions=ecu.versions.known,
                refuses_patches=not ecu.takes_patches,
                report_key=ecu.report_key,
            )
        with self._explained("RegisterVehicle"):
            self._operator.RegisterVehicle(request, timeout=CALL_TIMEOUT_S, wait_for_ready=True)

    def publish_images(self, metadata: Mapping[str, bytes]) -> None:
        """Put Targets of the Image repository into force that were signed offline (``firmware.image_repository``).

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        with self._explained("PublishImages"):
            self._operator.PublishImages(
                ota_pb2.PublishImagesRequest(metadata=metadata), timeout=CALL_TIMEOUT_S, wait_for_ready=True
            )

    def create_campaign(
        self,
        *,
        name: str,
        release_notes: str,
        vins: Sequence[str],
        images: Sequence[CampaignImage],
        transfer: str = "auto",
        encrypt: bool = False,
        manifest_lifetime_s: float = 0.0,
        approval_timeout_s: float = 0.0,
        conditions: Sequence[str] = (),
        conditions_limit_s: float = 0.0,
        texts: Mapping[str, DriverTexts] | None = None,
        needs_approval: bool = False,
        driver: DriverRules | None = None,
        rollout: ota_pb2.Rollout | None = None,
        where: str = "",
        dry_run: bool = False,
    ) -> ota_pb2.Campaign:
        """Create a campaign. ``transfer`` is auto, full or delta. ``encrypt`` encrypts each file for the ECU that receives it.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        request = ota_pb2.CreateCampaignRequest(
            name=name,
            release_notes=release_notes,
            vins=list(vins),
            transfer=f"TRANSFER_POLICY_{transfer.upper()}",
            encrypt=encrypt,
            manifest_lifetime_s=manifest_lifetime_s,
            approval_timeout_s=approval_timeout_s,
            conditions=conditions,
            conditions_limit_s=conditions_limit_s,
            needs_approval=needs_approval,
            rollout=rollout,
            where=where,
            dry_run=dry_run,
            texts=[
                ota_pb2.DriverTexts(language=language, **each.model_dump()) for language, each in (texts or {}).items()
            ],
            driver=None if driver is None else ota_pb2.DriverRules(**driver.model_dump(exclude_none=True)),
        )
        for image in images:
            entry = request.images.add(hardware_id=image.hardware_id, image=image.image, base_image=image.base_image)
            if image.program is not None:
                entry.program.CopyFrom(_program_message(image.program))
        with self._explained("CreateCampaign"):
            campaign: ota_pb2.Campaign = self._operator.CreateCampaign(
                request, timeout=CAMPAIGN_TIMEOUT_S, wait_for_ready=True
            )
        return campaign

    def set_vehicle_attributes(
        self, vin: str, attributes: Mapping[str, str], *, remove: Sequence[str] = ()
    ) -> ota_pb2.Vehicle:
        """Set and remove attributes of a vehicle. Return the vehicle.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        with self._explained("SetVehicleAttributes"):
            vehicle: ota_pb2.Vehicle = self._operator.SetVehicleAttributes(
                ota_pb2.SetVehicleAttributesRequest(vin=vin, attributes=attributes, remove=remove),
                timeout=CALL_TIMEOUT_S,
            )
        return vehicle

    def list_vehicles(self, *, where: str = "") -> Iterator[ota_pb2.Vehicle]:
        """Yield the vehicles that match a filter, in the order of their VINs. They are requested page by page.

        Raises:
            EndpointError: the cloud does not answer, or the filter cannot be read.
        """
        request = ota_pb2.ListVehiclesRequest(where=where, page_size=_PAGE_SIZE)
        while True:
            with self._explained("ListVehicles"):
                page = self._operator.ListVehicles(request, timeout=CALL_TIMEOUT_S)
            yield from page.vehicles
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def get_campaign(self, campaign_id: str, *, with_jobs: bool = True) -> ota_pb2.Campaign:
        """Return the present state of one campaign. Without its jobs it still has their counts.

        Raises:
            EndpointError: the cloud does not answer, or the campaign does not exist.
        """
        return self._call_for_campaign(
            self._operator.GetCampaign, ota_pb2.GetCampaignRequest(campaign_id=campaign_id, without_jobs=not with_jobs)
        )

    def approve_campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        """Approve a campaign that waits for a second person, with an approver's certificate. Return the campaign.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        return self._call_for_campaign(
            self._operator.ApproveCampaign,
            ota_pb2.ApproveCampaignRequest(campaign_id=campaign_id),
            timeout_s=CAMPAIGN_TIMEOUT_S,
        )

    def list_campaigns(self) -> list[ota_pb2.Campaign]:
        """Return all campaigns.

        Raises:
            EndpointError: the cloud does not answer.
        """
        with self._explained("ListCampaigns"):
            answer = self._operator.ListCampaigns(ota_pb2.ListCampaignsRequest(), timeout=CALL_TIMEOUT_S)
            return list(answer.campaigns)

    def pause_campaign(self, campaign_id: str, *, reason: str) -> ota_pb2.Campaign:
        """Pause the roll-out of a campaign. Return the campaign.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        return self._call_for_campaign(
            self._operator.PauseCampaign, ota_pb2.PauseCampaignRequest(campaign_id=campaign_id, reason=reason)
        )

    def resume_campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        """Continue the paused roll-out of a campaign. Return the campaign.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        return self._call_for_campaign(
            self._operator.ResumeCampaign, ota_pb2.ResumeCampaignRequest(campaign_id=campaign_id)
        )

    def retry_campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        """Create a campaign for the vehicles whose jobs have failed. Return it.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        return self._call_for_campaign(
            self._operator.RetryCampaign, ota_pb2.RetryCampaignRequest(campaign_id=campaign_id)
        )

    def cancel_campaign(self, campaign_id: str, *, reason: str, only_not_begun: bool = False) -> ota_pb2.Campaign:
        """Cancel those jobs of a campaign that can still be canceled, or only those not begun. Return the campaign.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        return self._call_for_campaign(
            self._operator.CancelCampaign,
            ota_pb2.CancelCampaignRequest(campaign_id=campaign_id, reason=reason, only_not_begun=only_not_begun),
        )

    def list_jobs(
        self, *, campaign_id: str = "", states: Sequence[JobState] = (), vin_prefix: str = ""
    ) -> Iterator[ota_pb2.Job]:
        """Yield jobs in the order of their VINs. They are requested page by page.

        Args:
            campaign_id: only of this campaign.
            states: only in these.
            vin_prefix: only of vehicles whose VIN begins so.

        Raises:
            EndpointError: the cloud does not answer, or the campaign does not exist.
        """
        request = ota_pb2.ListJobsRequest(
            campaign_id=campaign_id, states=map(to_wire, states), vin_prefix=vin_prefix, page_size=_PAGE_SIZE
        )
        while True:
            with self._explained("ListJobs"):
                page = self._operator.ListJobs(request, timeout=CALL_TIMEOUT_S)
            yield from page.jobs
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def abandon_job(self, campaign_id: str, vin: str, *, reason: str) -> ota_pb2.Job:
        """End the job of a vehicle that does not come back. Return the job.

        Raises:
            EndpointError: the cloud does not answer, or there is no such open job.
        """
        with self._explained("AbandonJob"):
            job: ota_pb2.Job = self._operator.AbandonJob(
                ota_pb2.AbandonJobRequest(campaign_id=campaign_id, vin=vin, reason=reason), timeout=CALL_TIMEOUT_S
            )
        return job

    def watch_campaign(self, campaign_id: str) -> Iterator[ota_pb2.Campaign]:
        """Yield the campaign after every change, until all its jobs have ended.

        Raises:
            EndpointError: the cloud does not answer, or the campaign does not exist.
        """
        with self._explained("WatchCampaign"):
            yield from self._operator.WatchCampaign(ota_pb2.GetCampaignRequest(campaign_id=campaign_id))

    def _call_for_campaign(
        self, method: Callable[..., ota_pb2.Campaign], request: Message, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> ota_pb2.Campaign:
        """Call a method that returns a campaign. Its name is that of its request, without "Request" (``ota.proto``)."""
        with self._explained(type(request).__name__.removesuffix("Request")):
            return method(request, timeout=timeout_s)

    def _explained(self, call: str) -> ExplainedCall:
        return ExplainedCall(call, self.target)


def _program_message(facts: ProgramFacts) -> ota_pb2.CreateCampaignRequest.Program:
    message = ota_pb2.CreateCampaignRequest.Program(
        format=facts.payload.format, version=facts.version, start_address=facts.payload.start_address
    )
    for segment in facts.payload.segments:
        message.segments.add(address=segment.address, length=segment.length)
    return message
