"""Turn failed gRPC calls of the operator's client into errors with the call, the address and the reason. Missing certificates, too."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final

import grpc

from otabench.bench.errors import EndpointError, ValueRefused

_REFUSED_VALUES: Final = ("INVALID_ARGUMENT", "NOT_FOUND")
"""Codes of calls that can never succeed as they are."""


class ExplainedCall:
    """A context manager that turns a failed call into an EndpointError with the call, the address and the reason."""

    def __init__(self, call: str, target: str) -> None:
        self._call = call
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(value, grpc.RpcError):
            return
        code = value.code().name if isinstance(value, grpc.Call) else "UNKNOWN"
        details = " ".join(str(value.details()).split()) if isinstance(value, grpc.Call) else str(value)
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            raise EndpointError(
                f"cloud control plane {self._target}: {self._call}: no answer ({details}); is it up? see logs/cloud-control.log"
            ) from value
        error = ValueRefused if code in _REFUSED_VALUES else EndpointError
        raise error(f"cloud control plane refuses {self._call} ({code}): {details}") from value


def read_tls_file(path: Path) -> bytes:
    """Return the content of a key or certificate.

    Raises:
        EndpointError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EndpointError(
            f"{path}: {error.strerror}; has that bench ended? Its keys are removed then: name the one that runs with --run"
        ) from error
