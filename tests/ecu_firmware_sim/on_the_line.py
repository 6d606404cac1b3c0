"""An ECU on a line, with the interface of the one in memory, so that the rules' own tests run over its transport, in real time.

``OnTheLine`` is a ``Bench`` whose requests cross a bus and are answered by the ECU's loop. What a test reads of the ECU (slots,
NVM, flash) it reads from that one. Time cannot be moved.
"""

from __future__ import annotations

from otabench.ecu_firmware_sim.boot.bootloader import BootOutcome
from otabench.ecu_firmware_sim.uds.codes import SUPPRESS_POSITIVE_RESPONSE
from otabench.ecu_firmware_sim.uds.server import SERVICES
from tests.ecu_firmware_sim.factory import SERIAL, Bench
from tests.ecu_firmware_sim.line import Rig, as_bytes

_LATER = b"\x62\xf1\x8c" + SERIAL.encode()
"""The answer to the later request."""


class OnTheLine(Bench):
    """One ECU of a rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.keys = rig.keys
        self.layout = rig.ecu.layout
        self.flash = rig.ecu.flash
        self._look()

    def _look(self) -> None:
        """Look up the parts that each boot creates."""
        ecu = self.rig.ecu
        assert ecu.life.server is not None
        self.server = ecu.life.server
        device = self.server.device
        self.dtcs, self.firmware, self.nvm, self.boot_control = (
            device.dtcs,
            device.firmware,
            device.nvm,
            ecu.boot_control,
        )

    def boot(self) -> BootOutcome:
        self.rig.power_cycle()
        self._look()
        slot = self.firmware.running
        return BootOutcome(slot, None if slot is None else self.firmware.slot_table()[slot].image, ())

    def send(self, request: bytes | str, *, functional: bool = False) -> bytes | None:
        """Return the response to a request; None: the response to a later request came first."""
        data = as_bytes(request)
        if not functional and not _may_be_silent(data):
            self.rig.send(data)
            return self.rig.final()
        if functional:
            self.rig.broadcast(data.hex())
        else:
            self.rig.send(data)
        self.rig.send(b"\x22\xf1\x8c")
        answer = self.rig.final()
        if answer == _LATER:
            return None
        assert self.rig.final() == _LATER
        return answer


def _may_be_silent(data: bytes) -> bool:
    service = SERVICES.get(data[0])
    return (
        service is not None and service.sub_functions is not None and data[1:2] >= bytes((SUPPRESS_POSITIVE_RESPONSE,))
    )
