"""The connection to the control plane: ``ota.v1.ControlPlane`` over gRPC, with mutual TLS if certificates are configured.

Rules:

* A failed call raises ``CloudUnreachable`` (not now: wait and repeat) or ``CloudRefused`` (repeating does not help).
* After RESOURCE_EXHAUSTED with a time to retry, no call is made before that time: every caller's next call waits for it.
* This module reports every change of reachability. The caller decides when to repeat a call.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.errors import CloudRefused, CloudUnreachable, ManifestRefused, RefusalKind, StartError
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto import ota_pb2
from otabench.proto.message_limits import MAX_DTCS, MAX_TEXT_BYTES, RETRY_PUSHBACK_KEY, cut_text
from otabench.proto.process_config import TlsConfig

if TYPE_CHECKING:
    import grpc

_log = logging.getLogger("gateway.cloud")
_T = TypeVar("_T")
_CALL_TIMEOUT_S: Final = 10.0
_ATTESTATION_TIMEOUT_S: Final = 2.0
"""An ECU waits meanwhile, and an update also works without."""
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""The longest message that the gateway takes from the cloud."""
_TOO_LONG: Final = "message larger than max"
"""Part of gRPC's own message about a message that is longer than that."""
_MAX_PUSHBACK_S: Final = 60.0
"""A cloud that asks for a longer pause is asked again after this one, so that a wrong answer does not silence the vehicle."""
# gRPC also reports INTERNAL and UNKNOWN for broken connections and for a crash of the server, so they do not count as refusals.
_NOT_NOW: Final = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN"}
)


@dataclass(frozen=True)
class Manifest:
    """The answer of GetManifest."""

    metadata: Mapping[str, bytes]
    """The Director's files by name."""
    image_metadata: Mapping[str, bytes]
    """The Image repository's files by name."""
    artifact_base_url: str


class CloudLink:
    """The control plane, called for one vehicle.

    Args:
        target: host:port.
        vin: this vehicle.
        tls: PEM files. None: no encryption.
        on_reachable: called at the first answer or failure, and at every change.
        retry_max_s: the longest pause of gRPC itself before it connects again.

    Attributes:
        report_nonce: the last nonce of the cloud, for the next version report; empty: the cloud wants none. Answers to progress have none.
    """

    def __init__(
        self,
        *,
        target: str,
        vin: str,
        tls: TlsConfig | None,
        on_reachable: Callable[[bool], None],
        retry_max_s: float = 10.0,
    ) -> None:
        self._target = target
        self._vin = vin
        self._credentials = _read_pems(tls) if tls else None
        self._on_reachable = on_reachable
        self._retry_max_s = retry_max_s
        self._reachable: bool | None = None
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._pushback = Deadline(0.0)
        self.report_nonce = b""

    async def check_in(
        self, identities: Mapping[str, EcuIdentity], *, job_id: str = "", version_report: bytes = b""
    ) -> ota_pb2.CheckInResponse:
        """Report what the vehicle runs, and return the cloud's answer: an offered job, or none (see ``ota.proto``).

        Args:
            identities: what the gateway has read of the ECUs.
            job_id: the job the vehicle is busy with, if any.
            version_report: the sealed report; empty: none.

        Raises:
            CloudUnreachable: the cloud does not answer.
            CloudRefused: the cloud refuses this vehicle.
        """
        request = ota_pb2.CheckInRequest(
            vin=self._vin, ecus=ecu_reports(identities), job_id=job_id, version_report=version_report
        )
        answer: ota_pb2.CheckInResponse = await self._call(lambda stub: stub.CheckIn(request, timeout=_CALL_TIMEOUT_S))
        self.report_nonce = answer.report_nonce or self.report_nonce
        return answer

    async def get_manifest(self, job_id: str) -> Manifest:
        """Return the Director's metadata for this vehicle.

        Raises:
            CloudUnreachable: the cloud does not answer.
            CloudRefused: the cloud does not have a manifest for this job.
            ManifestRefused: the manifest is longer than ``MAX_ANSWER_BYTES`` (endless data attack).
        """
        request = ota_pb2.GetManifestRequest(vin=self._vin, job_id=job_id)
        try:
            answer = await self._call(lambda stub: stub.GetManifest(request, timeout=_CALL_TIMEOUT_S))
        except CloudRefused as error:
            if error.code != "RESOURCE_EXHAUSTED":
                raise
            raise ManifestRefused(
                f"it is longer than {MAX_ANSWER_BYTES:,} bytes", kind=RefusalKind.ENDLESS_DATA
            ) from error
        return Manifest(dict(answer.metadata), dict(answer.image_metadata), answer.artifact_base_url)

    async def attest_time(self, nonce: bytes) -> bytes:
        """Return the time, signed by the cloud together with a nonce (``proto.time_attestation``). It is not verified here.

        Raises:
            CloudUnreachable: the cloud does not answer.
            CloudRefused: this cloud does not attest the time, or the nonce has another length.
        """
        request = ota_pb2.AttestTimeRequest(vin=self._vin, nonce=nonce)
        answer = await self._call(lambda stub: stub.AttestTime(request, timeout=_ATTESTATION_TIMEOUT_S))
        return bytes(answer.attestation)

    async def update_status(self, request: ota_pb2.UpdateStatusRequest) -> ota_pb2.UpdateStatusResponse:
        """Report a transition or progress.

        Raises:
            CloudUnreachable: the cloud does not answer. It may have received the report nevertheless.
            CloudRefused: the transition is not allowed, or the cloud does not have this job.
        """
        answer: ota_pb2.UpdateStatusResponse = await self._call(
            lambda stub: stub.UpdateStatus(request, timeout=_CALL_TIMEOUT_S)
        )
        self.report_nonce = answer.report_nonce or self.report_nonce
        return answer

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            # Without grace, because the process ends now and everything important is in the outbox.
            await self._channel.close(grace=None)
            self._channel = self._stub = None

    async def _call(self, call: Callable[[Any], Awaitable[_T]]) -> _T:
        # gRPC's own log lines mention C++ files and mean nothing to a user. This class reports failures.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc

        await asyncio.sleep(self._pushback.remaining_s())
        # Open at the first call. gRPC then reconnects by itself for as long as the channel exists.
        if self._stub is None:
            self._open()
        try:
            answer = await call(self._stub)
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, " ".join((error.details() or "").split())[:300]
            # Asked again, an answer that is too long would be too long again.
            if code in _NOT_NOW and _TOO_LONG not in details:
                self._pushback = Deadline(_pushback_s(error.trailing_metadata()))
                self._note(False, f"{code}: {details}")
                raise CloudUnreachable(f"control plane {self._target}: {code}: {details}") from error
            self._note(True)
            raise CloudRefused(details or code, code=code) from error
        self._note(True)
        return answer

    def _open(self) -> None:
        import grpc

        from otabench.proto import ota_pb2_grpc

        max_ms = int(min(self._retry_max_s, 5.0) * 1000)
        options = [
            ("grpc.initial_reconnect_backoff_ms", min(200, max_ms)),
            ("grpc.min_reconnect_backoff_ms", min(200, max_ms)),
            ("grpc.max_reconnect_backoff_ms", max(200, max_ms)),
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            # Otherwise a dead connection (an unplugged cable, a NAT that forgot it) is noticed only when a call times out.
            ("grpc.keepalive_time_ms", 30_000),
            # A proxy of the environment must not carry calls to the bench's own cloud.
            ("grpc.enable_http_proxy", 0),
        ]
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
        else:
            ca, certificate, key = self._credentials
            credentials = grpc.ssl_channel_credentials(ca, private_key=key, certificate_chain=certificate)
            self._channel = grpc.aio.secure_channel(self._target, credentials, options=options)
        self._stub = ota_pb2_grpc.ControlPlaneStub(self._channel)  # type: ignore[no-untyped-call]

    def _note(self, reachable: bool, why: str = "") -> None:
        if reachable == self._reachable:
            return
        self._reachable = reachable
        if reachable:
            _log.info("control plane %s answers", self._target)
        else:
            _log.warning("control plane %s does not answer (%s); trying again", self._target, why)
        self._on_reachable(reachable)


def ecu_reports(identities: Mapping[str, EcuIdentity]) -> Sequence[ota_pb2.EcuReport]:
    """Return identities of ECUs as messages for the cloud."""
    return [
        ota_pb2.EcuReport(
            ecu=name,
            serial=identity.serial,
            hardware_id=identity.hardware_id,
            software_version=identity.software_version,
            active_slot=identity.active_slot,
            slots=[
                ota_pb2.Slot(
                    state=f"SLOT_STATE_{slot.state}",
                    version=slot.version,
                    security_counter=slot.security_counter,
                )
                for slot in identity.slots
            ],
            dtcs=[cut_text(dtc, MAX_TEXT_BYTES) for dtc in identity.dtcs[:MAX_DTCS]],
        )
        for name, identity in identities.items()
    ]


def _pushback_s(trailing: Iterable[tuple[str, str | bytes]] | None) -> float:
    """Return the pause that the cloud asks for, in seconds; 0.0 if it does not ask for one."""
    for key, value in trailing or ():
        if key == RETRY_PUSHBACK_KEY and str(value).isdecimal():
            return min(int(value) / 1000, _MAX_PUSHBACK_S)
    return 0.0


def _read_pems(tls: TlsConfig) -> tuple[bytes, bytes, bytes]:
    pems = []
    for name, path in (("ca", tls.ca), ("certificate", tls.certificate), ("key", tls.key)):
        try:
            pems.append(path.read_bytes())
        except OSError as error:
            raise StartError(f"tls.{name} {path}: {(error.strerror or str(error)).lower()}") from error
    return pems[0], pems[1], pems[2]
