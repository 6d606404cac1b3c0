"""Which steps of a sequence may be sent to all ECUs at once. Pure."""

from __future__ import annotations

from pydantic import BaseModel

from otabench.bench.uds.sequence.steps import Common, Request, Reset, Session, Target, TesterPresent
from otabench.bench.uds.services import without_suppress


def functional_request(step: BaseModel) -> bytes | None:
    """Return the request that a step sends to all ECUs, without its suppress bit. Return None for a step that concerns one ECU only."""
    if not isinstance(step, Common) or step.to is not Target.ALL:
        return None
    match step:
        case Session():
            return bytes((0x10, step.session))
        case TesterPresent():
            return b"\x3e\x00"
        case Reset():
            return bytes((0x11, step.reset))
        case Request() if (constant := step.request.constant) is not None:
            return without_suppress(constant)
    return None
