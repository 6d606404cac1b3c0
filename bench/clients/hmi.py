"""The client of the gateway's HMI: read what the driver's page shows, and decide in the driver's place.

    hmi = HmiClient(8080, code="K7QM-2XFD-9RTP-AB3C")
    hmi.decide("install", job_id=hmi.state()["job_id"])

The pairing code is in bench.json. A decision may arrive a moment before the gateway waits for one. It is then repeated for a short
time. Any other refusal is raised.

The gateway answers a decision when it has carried it out: it reads the ECUs, and writes to disk. If that takes longer than a request may,
the state of the page shows whether the decision was taken.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otabench.bench.deadline import Deadline
from otabench.bench.errors import EndpointError
from otabench.bench.ports import LOOPBACK
from otabench.proto.job_states import JobState

_TIMEOUT_S: Final = 5.0
_NOT_YET: Final = frozenset({http.client.CONFLICT, http.client.TOO_MANY_REQUESTS})
"""The job does not wait for a decision, or there were too many decisions in a short time."""
_CONFLICT_PATIENCE_S: Final = 3.0
_DECISION_LIMIT_S: Final = 60.0
_INTERVAL_S: Final = 0.25
_CONSENTS: Final = frozenset({"install", "schedule"})
_BEFORE_A_DECISION: Final = frozenset({JobState.CREATED, JobState.CONFIRMING, JobState.WAITING_FOR_APPROVAL})
_CANCELABLE: Final = frozenset({JobState.DOWNLOADING, JobState.INSTALLING})
_ENDED_WITHOUT_CONSENT: Final = frozenset({"declined", "refused", "withdrawn", "out_of_time"})


class _NotInTime(EndpointError):
    """The gateway has taken the request, and has not answered in time."""


@dataclass(frozen=True)
class HmiClient:
    """The HMI on one port of loopback."""

    port: int
    host: str = LOOPBACK
    code: str = field(default="", repr=False)
    """The pairing code; only ``is_up`` works without."""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def link(self) -> str:
        """The link that pairs a browser and leads to the page."""
        return f"{self.url}/pair/{self.code}"

    def state(self) -> dict[str, Any]:
        """Return what the page shows (``gateway.hmi.model.HmiState`` as JSON).

        Raises:
            EndpointError: the gateway does not answer.
        """
        status, body = self._request("GET", "/api/state")
        if status != http.client.OK or not isinstance(body, dict):
            reason = body.get("error") if isinstance(body, dict) else None
            raise EndpointError(
                f"HMI {self.url}: GET /api/state answered {status}: {reason or 'see the log of the gateway'}"
            )
        return body

    def decide(self, decision: str, *, job_id: str, when: str = "", reason: str = "") -> None:
        """Decide about a job: ``install``, ``schedule``, ``later``, ``decline`` or ``cancel``.

        A consent is to the offer that the page shows at this moment, with the campaign's own name and notes.

        Args:
            decision: what the driver chooses.
            job_id: the job.
            when: for ``schedule``: ``night``, or day and time in the vehicle's zone, ``2026-11-30T02:30``.
            reason: for ``decline``.

        Raises:
            EndpointError: the gateway does not answer, or refuses the decision.
        """
        patience = Deadline(_CONFLICT_PATIENCE_S)
        while True:
            choice = {"job_id": job_id, "decision": decision, "when": when, "reason": reason}
            offer = self._shown(Deadline(_DECISION_LIMIT_S))["offer"] if decision in _CONSENTS else ""
            try:
                status, body = self._request("POST", "/api/decision", {**choice, "offer": offer})
            except _NotInTime:
                self._await_decision(decision, job_id)
                return
            if status == http.client.OK:
                return
            if status not in _NOT_YET or patience.has_passed():
                refusal = body.get("error", body) if isinstance(body, dict) else body
                raise EndpointError(f"HMI {self.url}: {decision!r} for job {job_id} is refused ({status}): {refusal}")
            patience.pause(_INTERVAL_S)

    def _await_decision(self, decision: str, job_id: str) -> None:
        """Wait until the page shows that a decision was taken, whose answer did not come in time.

        Raises:
            EndpointError: the page shows that it was not, or the gateway does not answer.
        """
        deadline = Deadline(_DECISION_LIMIT_S)
        undecided = _BEFORE_A_DECISION | _CANCELABLE if decision == "cancel" else _BEFORE_A_DECISION
        while True:
            shown = self._shown(deadline)
            if _was_taken(decision, job_id, shown):
                return
            waits = shown.get("job_id") == job_id and shown.get("job_state") in undecided
            if not waits or deadline.has_passed():
                raise EndpointError(
                    f"HMI {self.url}: {decision!r} for job {job_id} was not answered in time, and not taken: "
                    f"job {shown.get('job_id')} is {shown.get('job_state')} ({shown.get('reason') or 'no reason given'})"
                )
            deadline.pause(_INTERVAL_S)

    def _shown(self, deadline: Deadline) -> dict[str, Any]:
        """Return what the page shows, however long the gateway takes to answer until the deadline.

        Raises:
            EndpointError: the gateway does not answer.
        """
        while True:
            try:
                return self.state()
            except _NotInTime:
                if deadline.has_passed():
                    raise

    def is_up(self) -> bool:
        """Return whether the gateway serves its HMI."""
        try:
            return self._request("GET", "/healthz")[0] == http.client.OK
        except EndpointError:
            return False

    def _request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_S)
        try:
            payload = None if body is None else json.dumps(body)
            headers = {} if payload is None else {"Content-Type": "application/json"}
            if self.code:
                headers["Authorization"] = f"Bearer {self.code}"
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except TimeoutError as error:
            raise _NotInTime(
                f"HMI {self.url}: no answer to {method} {path} within {_TIMEOUT_S:g} s; is the machine busy?"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndpointError(f"HMI {self.url}: no answer to {method} {path}: {error}; is the gateway up?") from error
        finally:
            connection.close()


def _was_taken(decision: str, job_id: str, shown: Mapping[str, Any]) -> bool:
    """Return whether the page shows what a decision leads to."""
    if shown.get("job_id") != job_id:
        return False
    if decision == "schedule":
        return shown.get("start_from") is not None
    if decision == "cancel":
        return shown.get("ending") == "withdrawn"
    if decision == "later":
        return shown.get("deferred_until") is not None
    if decision == "decline":
        return shown.get("ending") == "declined"
    return shown.get("job_state") not in _BEFORE_A_DECISION and shown.get("ending") not in _ENDED_WITHOUT_CONSENT
