"""What can go wrong in the agent, and what each means for the job.

    GatewayError
    ├── StartError         the process cannot start: one line on stderr, exit status 1
    ├── CloudUnreachable   the control plane does not answer: wait and try again
    ├── CloudRefused       the control plane answered, and refused: trying again changes nothing
    ├── ManifestRefused    the manifest must not be installed: the job is REJECTED
    └── DownloadError      a file could not be had
        ├── DownloadRefused   what is served is not what the manifest promises: the job has FAILED
        └── DownloadTimedOut  the artifact server stayed away too long: the job is TIMED_OUT

``FlashError`` and ``FlashCanceled``, what a vehicle may raise, are in ``gateway.vehicle``.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Base of the agent's errors; the message is one sentence for a person."""


class StartError(GatewayError):
    """The process cannot start. The message names what, where and the remedy."""


class CloudUnreachable(GatewayError):
    """The control plane did not answer, or only that it cannot now."""


class CloudRefused(GatewayError):
    """The control plane refused the call.

    Attributes:
        code: the gRPC status code's name, e.g. "FAILED_PRECONDITION".
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ManifestRefused(GatewayError):
    """The manifest is not to be installed on this vehicle. The message is the reason, without "manifest refused"."""


class DownloadError(GatewayError):
    """A file could not be downloaded."""


class DownloadRefused(DownloadError):
    """What the artifact server sends is not what the manifest promises."""


class DownloadTimedOut(DownloadError):
    """The artifact server did not send the file in time."""
