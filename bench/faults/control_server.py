"""Control ports of the bench's own processes (frame gate, bus load): ``proto.control_server`` with the bench's errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.ports import LOOPBACK
from otabench.proto import private_files
from otabench.proto.control_message import Message
from otabench.proto.control_server import ControlServer, OperationRefused, Perform


def open_control_server(perform: Perform, *, port: int, owner: str, token_file: Path | None) -> ControlServer:
    """Return a server that listens on a port of loopback.

    Args:
        perform: carries out a message; a BenchError becomes a refusal.
        port: the port to listen on.
        owner: the name of the owner in error messages.
        token_file: the file with the token that messages must bring; None: they need none.

    Raises:
        BenchError: the port is in use, or the file cannot be read or is not private.
    """

    def perform_or_refuse(message: Message) -> Message:
        try:
            return perform(message)
        except BenchError as error:
            raise OperationRefused(str(error)) from error

    try:
        token = private_files.read(token_file).strip() if token_file else ""
        return ControlServer(perform_or_refuse, host=LOOPBACK, port=port, token=token)
    except private_files.PrivateFileError as error:
        raise BenchError(f"{owner}: {error}") from error
    except OSError as error:
        raise BenchError(f"{owner}: control port {port}: {error.strerror}; choose another") from error


def seed_of(message: dict[str, Any]) -> int | None:
    """Remove the seed from a ``seed`` message, or from a ``fault`` message that has one. Return it, or None.

    Raises:
        WrongUsage: the seed is not a whole number.
    """
    if message.get("op") != "seed" and not (message.get("op") == "fault" and "seed" in message):
        return None
    seed = message.pop("seed", None)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise WrongUsage(f"seed {seed!r}: expected a whole number")
    return seed


def require_no_members(message: Message, *, operation: str) -> None:
    """Refuse members that an operation does not have.

    Raises:
        WrongUsage: the message has one.
    """
    if message:
        raise WrongUsage(f"{operation} has no member {', '.join(sorted(message))[:80]}")
