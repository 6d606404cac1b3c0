"""What of the calls goes into the audit log: every call that changes something or hands metadata out, and every refused one.

Calls that only read (an operator's lists, check-ins, progress of a transfer) are not recorded, unless they are refused. A caller that calls
too often is recorded once in ten seconds, or it could fill the disk by its refusals.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from otabench.cloud.store.batches import Batches
from otabench.proto import ota_pb2
from otabench.proto.audit_log import AuditError, AuditLog, new_line

_READING: Final = frozenset(
    {
        "CheckIn",
        "AttestTime",
        "GetCampaign",
        "ListCampaigns",
        "ListJobs",
        "ListVehicles",
        "WatchCampaign",
        "Check",
        "Watch",
        "List",
    }
)
_BUSY_PAUSE_S: Final = 10.0
_MAX_CALLERS: Final = 10_000
_MAX_DETAIL_CHARACTERS: Final = 300
_MAX_VINS: Final = 1000
_log = logging.getLogger(__name__)


class Auditor:
    """Records calls. If the log cannot be written (disk full), the call stands and the process's own log has it.

    A line is signed and written in a thread, together with the lines of other calls, so that no other call waits for it. Each method
    returns when the line is written.

    Args:
        log: where to.
        clock: the monotonic clock, in seconds.
    """

    def __init__(self, log: AuditLog, *, clock: Callable[[], float]) -> None:
        self._audit = log
        self._clock = clock
        self._lines: Batches[Mapping[str, Any], None] = Batches(self._append_all)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._busy_s: dict[str, float] = {}
        self._attacks: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        """End the thread once it has written."""
        self._writer.shutdown(wait=True)

    async def record(
        self, method: str, *, who: str, request: Any, answer: Any, code: grpc.StatusCode, detail: str = ""
    ) -> None:
        """Record a call that has ended, if it belongs into the log.

        Args:
            method: "/ota.v1.Operator/CreateCampaign".
            who: the subject of the caller's certificate.
            request: the message; None if it could not be decoded.
            answer: the answer; None if the call was refused.
            code: how it ended.
            detail: why it was refused.
        """
        if not self.is_recorded(method, request=request, code=code):
            return
        what = method.rpartition("/")[2]
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not self._is_due(who):
            return
        facts = {"detail": detail[:_MAX_DETAIL_CHARACTERS]} if detail else {}
        for name, message in (("campaign_id", answer), ("campaign_id", request), ("job_id", request)):
            if value := getattr(message, name, ""):
                facts[name] = value
        if isinstance(request, ota_pb2.CreateCampaignRequest) and request.dry_run and not detail:
            facts["detail"] = "dry run"
        if isinstance(request, ota_pb2.UpdateStatusRequest):
            # Enumerations of proto3 are open: any number may arrive.
            known = ota_pb2.JobState.DESCRIPTOR.values_by_number.get(request.state)
            facts["state"] = known.name.removeprefix("JOB_STATE_") if known else str(request.state)
        await self._append(who=who, what=what, outcome=code.name, vins=_vins(request), hashes=_hashes(request), **facts)

    async def record_dropped_report(self, vin: str, *, who: str, reason: str) -> None:
        """Record that a vehicle's version report was dropped. The call that brought it may have been answered all the same."""
        await self._append(
            who=who, what="VersionReport", outcome="DROPPED", vins=[vin], detail=reason[:_MAX_DETAIL_CHARACTERS]
        )

    async def record_attack(self, vin: str, ecu: str, attack: str, *, who: str) -> bool:
        """Record that an ECU has signed that it refused something, and return True. An ECU repeats that in every report: not again."""
        if self._attacks.get((vin, ecu)) == attack:
            return False
        if len(self._attacks) >= _MAX_CALLERS:
            self._attacks.clear()
        self._attacks[vin, ecu] = attack
        await self._append(who=who, what="AttackReported", outcome=attack, vins=[vin], detail=ecu)
        return True

    async def _append(self, *, who: str, what: str, outcome: str, **facts: Any) -> None:
        try:
            await self._lines.result_of(new_line(who=who, what=what, outcome=outcome, **facts))
        except AuditError as error:
            _log.error("audit: %s by %s (%s) is not recorded: %s", what, who, outcome, error)

    async def _append_all(self, lines: Sequence[Mapping[str, Any]]) -> Sequence[None]:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._audit.append_all, lines)
        return [None] * len(lines)

    def is_recorded(self, method: str, *, request: Any, code: grpc.StatusCode) -> bool:
        """Return whether a call that ended so belongs into the log. Almost none of a fleet's does, so the caller's name is not needed."""
        is_reading = method.rpartition("/")[2] in _READING or _is_progress(request)
        return code is not grpc.StatusCode.OK or not is_reading

    def _is_due(self, who: str) -> bool:
        now_s = self._clock()
        if now_s - self._busy_s.get(who, -_BUSY_PAUSE_S) < _BUSY_PAUSE_S:
            return False
        if len(self._busy_s) >= _MAX_CALLERS:
            self._busy_s.clear()
        self._busy_s[who] = now_s
        return True


def _is_progress(request: Any) -> bool:
    return isinstance(request, ota_pb2.UpdateStatusRequest) and bool(request.progress)


def _vins(request: Any) -> list[str]:
    many = list(getattr(request, "vins", ()))[:_MAX_VINS]
    one = getattr(request, "vin", "")
    return many or ([one] if one else [])


def _hashes(request: Any) -> list[str]:
    """Return the SHA-256 of each image or file of metadata in a request."""
    if isinstance(request, ota_pb2.CreateCampaignRequest):
        contents = [image.image for image in request.images]
    elif isinstance(request, ota_pb2.PublishImagesRequest):
        contents = list(request.metadata.values())
    else:
        contents = []
    return [hashlib.sha256(content).hexdigest() for content in contents]
