"""The refusal of a request by a bootloader, and the one check that all services with a sub-function share."""

from __future__ import annotations

from typing import Final

from otabench.ecu_firmware_sim.uds.codes import Nrc

SUPPRESS: Final = 0x80


class Refused(Exception):
    """A request that is answered negatively, with ``nrc``."""

    def __init__(self, nrc: Nrc) -> None:
        super().__init__(nrc.name)
        self.nrc = nrc


def sub_function(request: bytes) -> int:
    """Return the sub-function of a request. Raises Refused: there is none."""
    if len(request) < 2:
        raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    return request[1] & ~SUPPRESS
