"""The ECU version report: what the ECU states about the image that it runs, signed with its own key (routine 0220).

The digest is taken of the flash at each request, so it is that of what runs and not of what was once announced. The format is in
``proto.version_report``.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.ecu_firmware_sim.flash.nvm import NvmStore, ReportCounter
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.proto.version_report import EcuVersionReport, seal

_NOTHING_RUNS = "NONE"


class VersionReporter:
    """The maker of one ECU's reports, from one boot to the next.

    Args:
        key: the ECU's own.
        hardware_id: the ECU's.
        version: of the running image, as F189.
        firmware: what runs.
        nvm: the ECU's identity and its counter.
    """

    def __init__(
        self, key: Ed25519PrivateKey, *, hardware_id: str, version: str, firmware: FirmwareMemory, nvm: NvmStore
    ) -> None:
        self._key = key
        self._hardware_id = hardware_id
        self._version = version
        self._firmware = firmware
        self._nvm = nvm
        self._counter = ReportCounter(nvm)

    def report(self, nonce: bytes) -> bytes:
        """Return a report that answers ``nonce``. Raises PowerLost."""
        running = self._firmware.running_image()
        state, image = (_NOTHING_RUNS, memoryview(b"")) if running is None else (running[0].name, running[1])
        stored = self._nvm.current
        report = EcuVersionReport(
            vin=stored.vin,
            serial=stored.serial,
            hardware_id=self._hardware_id,
            version=self._version,
            state=state,
            length=len(image),
            hashes={} if running is None else {"sha256": hashlib.sha256(image).hexdigest()},
            counter=self._counter.take(),
            nonce=nonce.hex(),
            attested_time_s=stored.attested_time_s,
            attack=stored.attack,
        )
        return seal(report, self._key)
