"""The client of the gateway's HMI: read what the driver's page shows, and decide in the driver's place.

    hmi = HmiClient(8080)
    hmi.decide("install", job_id=hmi.state()["job_id"])

A decision may arrive a moment before the gateway waits for one. It is then repeated for a short time. Any other refusal is raised.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Final

from otabench.bench.deadline import Deadline
from otabench.bench.errors import EndpointError
from otabench.bench.ports import LOOPBACK

_TIMEOUT_S: Final = 5.0
_CONFLICT: Final = 409
_CONFLICT_PATIENCE_S: Final = 3.0


@dataclass(frozen=True)
class HmiClient:
    """The HMI on one port of loopback."""

    port: int
    host: str = LOOPBACK

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def state(self) -> dict[str, Any]:
        """Return what the page shows (``gateway.hmi.model.HmiState`` as JSON).

        Raises:
            EndpointError: the gateway does not answer.
        """
        status, body = self._request("GET", "/api/state")
        if status != http.client.OK or not isinstance(body, dict):
            raise EndpointError(f"HMI {self.url}: GET /api/state answered {status}; see the gateway's log")
        return body

    def decide(self, decision: str, *, job_id: str) -> None:
        """Decide about a job: ``install``, ``later`` or ``decline``.

        Raises:
            EndpointError: the gateway does not answer, or refuses the decision.
        """
        deadline = Deadline(_CONFLICT_PATIENCE_S)
        while True:
            status, body = self._request("POST", "/api/decision", {"job_id": job_id, "decision": decision})
            if status == http.client.OK:
                return
            if status != _CONFLICT or deadline.has_passed():
                reason = body.get("error", body) if isinstance(body, dict) else body
                raise EndpointError(f"HMI {self.url}: {decision!r} for job {job_id} is refused ({status}): {reason}")
            deadline.pause(0.1)

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
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndpointError(f"HMI {self.url}: no answer to {method} {path}: {error}; is the gateway up?") from error
        finally:
            connection.close()
