"""What can go wrong in the cloud, as one tree.

    CloudError
    ├── StartError            the process cannot start (configuration, keys, port, database); exit status 1
    └── RequestError          one request is refused; becomes a gRPC status
        ├── InvalidRequest        INVALID_ARGUMENT     what was sent is wrong in itself
        ├── UnknownThing          NOT_FOUND            no such vehicle, campaign, job
        ├── NotAllowed            FAILED_PRECONDITION  right in itself, but not in this state
        ├── NotPermitted          PERMISSION_DENIED    the caller's certificate does not cover it
        └── NotReady              UNAVAILABLE          database or store do not answer; the same call may succeed later

Every message says what, where and what to do, in one line.
"""

from __future__ import annotations


class CloudError(Exception):
    """Root of the tree."""


class StartError(CloudError):
    """A process of the cloud cannot start."""


class RequestError(CloudError):
    """One request is refused; the process goes on."""

    code = "INTERNAL"
    """Name of the gRPC status code."""


class InvalidRequest(RequestError):
    """What was sent is wrong in itself."""

    code = "INVALID_ARGUMENT"


class UnknownThing(RequestError):
    """The vehicle, campaign or job is not known."""

    code = "NOT_FOUND"


class NotAllowed(RequestError):
    """The state that the cloud has does not allow it."""

    code = "FAILED_PRECONDITION"


class NotPermitted(RequestError):
    """The caller's certificate does not cover it."""

    code = "PERMISSION_DENIED"


class NotReady(RequestError):
    """Something that the cloud stands on does not answer."""

    code = "UNAVAILABLE"
