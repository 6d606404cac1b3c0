"""A control plane for tests: a real gRPC server on loopback that keeps the cloud's rules of a job, and can be taken away."""

from __future__ import annotations

import time
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.job_states import JobState, from_wire, is_allowed, is_final, to_wire
from otabench.proto.time_attestation import attest


class ControlPlane(ota_pb2_grpc.ControlPlaneServicer):
    """One vehicle, at most one job."""

    def __init__(self) -> None:
        self.job_id = ""
        self.state = JobState.CREATED
        self.reason = ""
        self.taken_seq = 0
        self.cancel_requested = False
        self.metadata: dict[str, bytes] = {}
        self.artifact_base_url = ""
        self.transitions: list[JobState] = []
        self.check_ins: list[ota_pb2.CheckInRequest] = []
        self.updates: list[ota_pb2.UpdateStatusRequest] = []
        self.manifests_given = 0
        self.refuse_check_in = ""
        self.time_key: Ed25519PrivateKey | None = None
        self.port = 0
        self._server: grpc.aio.Server | None = None

    def offer(self, job_id: str, metadata: dict[str, bytes]) -> None:
        """Let a job wait for the vehicle."""
        self.job_id, self.metadata = job_id, metadata
        self.state, self.taken_seq, self.cancel_requested = JobState.CREATED, 0, False
        self.transitions = []

    async def start(self) -> None:
        """Listen, on the same port as before a ``stop``."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        ota_pb2_grpc.add_ControlPlaneServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Stop at once, whatever runs."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def CheckIn(self, request: ota_pb2.CheckInRequest, context: Any) -> ota_pb2.CheckInResponse:
        self.check_ins.append(request)
        answer = ota_pb2.CheckInResponse
        if self.refuse_check_in:
            return answer(decision=answer.DECISION_REFUSED, reason=self.refuse_check_in)
        if not self.job_id or is_final(self.state):
            return answer(decision=answer.DECISION_NO_UPDATE, job_id=self.job_id, job_state=to_wire(self.state))
        return answer(decision=answer.DECISION_UPDATE_AVAILABLE, job_id=self.job_id, job_state=to_wire(self.state))

    async def GetManifest(self, request: ota_pb2.GetManifestRequest, context: Any) -> ota_pb2.GetManifestResponse:
        if request.job_id != self.job_id:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.job_id}")
        self.manifests_given += 1
        return ota_pb2.GetManifestResponse(metadata=self.metadata, artifact_base_url=self.artifact_base_url)

    async def AttestTime(self, request: ota_pb2.AttestTimeRequest, context: Any) -> ota_pb2.AttestTimeResponse:
        if self.time_key is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this cloud does not attest the time")
        assert self.time_key is not None
        attestation = attest(time_s=int(time.time()), nonce=request.nonce, keys=[self.time_key])
        return ota_pb2.AttestTimeResponse(attestation=attestation)

    async def UpdateStatus(self, request: ota_pb2.UpdateStatusRequest, context: Any) -> ota_pb2.UpdateStatusResponse:
        self.updates.append(request)
        reported = from_wire(request.state)
        if request.job_id != self.job_id:  # the end of the job before, reported late
            return ota_pb2.UpdateStatusResponse(state=request.state)
        if reported is not self.state and request.transition_seq > self.taken_seq:
            if not is_allowed(self.state, reported):
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{self.state} to {reported} is not allowed")
            self.state, self.reason, self.taken_seq = reported, request.reason, request.transition_seq
            self.transitions.append(reported)
        cancel = self.cancel_requested and is_allowed(self.state, JobState.CANCELED)
        return ota_pb2.UpdateStatusResponse(state=to_wire(self.state), cancel_requested=cancel)
