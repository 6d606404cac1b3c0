"""Errors of the agent, and what each means for the job.

    GatewayError
    ├── StartError         the process cannot start: one line on stderr, exit status 1
    ├── CloudUnreachable   the control plane does not answer: wait and try again
    ├── CloudRefused       the control plane refused the call: trying again does not help
    ├── ManifestRefused    the manifest must not be installed: the job is REJECTED
    └── DownloadError      a file could not be downloaded
        ├── DownloadRefused   the served file differs from the manifest: the job has FAILED
        └── DownloadTimedOut  the artifact server stayed away too long: the job is TIMED_OUT

A vehicle raises ``FlashError`` and ``FlashCanceled``, which are in ``bench.uds.errors``.
"""

from __future__ import annotations

from enum import StrEnum


class GatewayError(Exception):
    """Base of the agent's errors. The message is one sentence for a person."""


class StartError(GatewayError):
    """The process cannot start. The message contains what is wrong, where, and the remedy."""


class CloudUnreachable(GatewayError):
    """The control plane did not answer, or answered that it cannot serve the call now."""


class CloudRefused(GatewayError):
    """The control plane refused the call.

    Attributes:
        code: the gRPC status code's name, e.g. "FAILED_PRECONDITION".
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class RefusalKind(StrEnum):
    """The attack or fault that a refusal stops, by Uptane's word where there is one."""

    ARBITRARY_SOFTWARE = "arbitrary-software"
    FREEZE = "freeze"
    ROLLBACK = "rollback"
    MIX_AND_MATCH = "mix-and-match"
    ENDLESS_DATA = "endless-data"
    SLOW_RETRIEVAL = "slow-retrieval"
    MISSING_METADATA = "missing-metadata"
    MALFORMED_METADATA = "malformed-metadata"
    DIRECTOR_DELEGATES = "director-delegates"
    REPOSITORIES_DISAGREE = "repositories-disagree"
    UNKNOWN_IMAGE = "unknown-image"
    UNKNOWN_ECU = "unknown-ecu"
    ECU_TWICE = "ecu-twice"
    OTHER_VEHICLE = "other-vehicle"
    OTHER_JOB = "other-job"
    OTHER_HARDWARE = "other-hardware"
    OTHER_ECU = "other-ecu"
    TOO_LARGE = "too-large"
    NOT_SUITABLE = "not-suitable"
    """Genuine, but not for this vehicle as it is now."""


class ManifestRefused(GatewayError):
    """The manifest must not be installed on this vehicle. The message is only the reason; callers add "manifest refused".

    Attributes:
        kind: which attack or fault this is.
    """

    def __init__(self, message: str, *, kind: RefusalKind = RefusalKind.NOT_SUITABLE) -> None:
        super().__init__(message)
        self.kind = kind


class DownloadError(GatewayError):
    """A file could not be downloaded."""


class DownloadRefused(DownloadError):
    """The artifact server sent a file that differs from the manifest."""


class DownloadTimedOut(DownloadError):
    """The artifact server did not send the file in time."""
