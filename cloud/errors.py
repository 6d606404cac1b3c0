"""Errors of the cloud, as one tree.

    CloudError
    ├── StartError            a process cannot start (configuration, keys, port, database); exit status 1
    ├── NotDelivered          the broker has not acknowledged a message; it is sent again
    └── RequestError          one request is refused; becomes a gRPC status
        ├── InvalidRequest        INVALID_ARGUMENT     the request itself is wrong
        ├── UnknownThing          NOT_FOUND            the vehicle, campaign or job does not exist
        ├── NotAllowed            FAILED_PRECONDITION  the request is valid, but not in this state
        ├── NotPermitted          PERMISSION_DENIED    the caller's certificate does not cover it
        ├── Conflict              ABORTED              concurrent changes got in the way, twice; the same call may succeed now
        ├── TooManyCalls          RESOURCE_EXHAUSTED   the caller calls too often; the same call may succeed after a pause
        └── NotReady              UNAVAILABLE          database or store does not answer; the same call may succeed later

Every message states what is wrong, where, and the remedy, in one line.

``trust.firmware.FirmwareRefused`` is not part of the tree, because the rules for firmware do not depend on requests.
``campaigns.request`` turns it into InvalidRequest.
"""

from __future__ import annotations


class CloudError(Exception):
    """Root of the tree."""


class StartError(CloudError):
    """A process of the cloud cannot start."""


class NotDelivered(CloudError):
    """The broker is away, or did not acknowledge a message."""


class RequestError(CloudError):
    """One request is refused; the process continues."""

    code = "INTERNAL"
    """Name of the gRPC status code."""


class InvalidRequest(RequestError):
    """The request itself is wrong. Repeating it does not help."""

    code = "INVALID_ARGUMENT"


class UnknownThing(RequestError):
    """The vehicle, campaign or job does not exist."""

    code = "NOT_FOUND"


class NotAllowed(RequestError):
    """The state of a vehicle, campaign or job does not allow the request."""

    code = "FAILED_PRECONDITION"


class NotPermitted(RequestError):
    """The caller's certificate does not cover the request."""

    code = "PERMISSION_DENIED"


class Conflict(RequestError):
    """Another process changed the same thing at the same time. ``store.database`` tries the transaction again before it gives up."""

    code = "ABORTED"


class TooManyCalls(RequestError):
    """The caller has used up its quota.

    Attributes:
        retry_after_s: when the same call may succeed.
    """

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(RequestError):
    """The database or the artifact store does not answer."""

    code = "UNAVAILABLE"
