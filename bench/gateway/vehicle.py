"""The interface between the agent and the vehicle's ECUs.

The agent chooses which call belongs to a job state; a ``Vehicle`` carries it out on the bus. ``gateway.flashing`` does so by UDS over
ISO-TP.

Rules:

* All calls block, and are made from worker threads.
* Each call may be repeated after a restart of the gateway, whatever state the ECUs are in then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.conditions import ConditionSource, Quantity


class Phase(StrEnum):
    """The phase of an ECU within an update, for progress reports and the driver's page."""

    WAITING = "waiting"
    ERASING = "erasing"
    TRANSFERRING = "transferring"
    CHECKING = "checking"
    STAGED = "staged"
    ACTIVATING = "activating"
    TRIAL = "trial"
    SOAKING = "soaking"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"


@dataclass(frozen=True)
class Payload:
    """The format of an image's file, if the file itself was signed instead of an MCUboot container."""

    file_format: str
    """Its format, as ``bench.firmware.programs`` names it: RAW, Intel HEX, VBF, …"""
    start_address: int | None = None
    """Where a raw binary belongs in the ECU's memory. None: the file has its own addresses."""
    segments: tuple[tuple[int, int], ...] = ()
    """Address and length of each segment, as they were signed. Empty: they were not signed (a former image of the bench file)."""


@dataclass(frozen=True)
class EcuImage:
    """The image that one ECU is to run, verified and downloaded."""

    ecu: str
    version: str
    image: Path
    """The full image. The file may be missing while ``patch`` is tried first; ``fetch_image`` downloads it then."""
    image_length: int
    """Length of the image in the ECU. The file may be longer (``file_length``)."""
    metadata: bytes
    """The Director's signed Targets with its later Roots, for the ECU's partial verification (``proto.metadata_window``)."""
    attest_time: Callable[[bytes], bytes] | None = None
    """Returns a time attestation for an ECU's nonce; empty if there is none now. May be called on any thread. None: nobody attests."""
    patch: Path | None = None
    patch_length: int = 0
    is_encrypted: bool = False
    """Whether ``image`` and ``patch`` are encrypted. The ECU decrypts them; the gateway cannot."""
    file_length: int | None = None
    """Length of the file ``image``. None: as long as the image."""
    needs: str = ""
    """The image's dependencies and the versions in the vehicle, in words. It explains an ECU's report that a dependency is not met."""
    payload: Payload | None = None
    """None: ``image`` is an MCUboot container. Otherwise the file itself was signed, and is sent as format and flash profile state."""


@dataclass(frozen=True)
class EcuProgress:
    """Progress of one ECU. Bytes are those that cross the bus: of the patch, if one is used."""

    ecu: str
    phase: Phase
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    detail: str = ""


ProgressListener = Callable[[EcuProgress], None]


class Vehicle(Protocol):
    """All ECUs of the vehicle, for one gateway.

    An update makes the calls in the order of their definition: identify, stage, activate, verify, confirm (or revert), finish.
    ``version_reports`` and ``read_conditions`` may come at any time.
    """

    def identify(self) -> Mapping[str, EcuIdentity]:
        """Read every ECU's identity.

        Raises:
            FlashError: an ECU does not answer (then ``retryable`` is true), or its response does not fit.
        """
        ...

    def version_reports(self, nonce: bytes) -> Mapping[str, bytes]:
        """Read the version report of every ECU that signs one, each about ``nonce``.

        Raises:
            FlashError: an ECU does not answer, or refuses.
        """
        ...

    def read_conditions(self, sources: Mapping[Quantity, ConditionSource], *, job_id: str) -> Mapping[Quantity, float]:
        """Return the values of quantities that conditions are about. A value that cannot be read is left out; nothing is raised."""
        ...

    def stage(
        self,
        images: list[EcuImage],
        *,
        job_id: str,
        progress: ProgressListener,
        cancel: threading.Event,
        fetch_image: Callable[[str], None],
    ) -> None:
        """Program the inactive slots of all ECUs, up to STAGED.

        An image that is staged already is not transferred again. If an ECU refuses its patch, the full image follows, which
        ``fetch_image(ecu)`` puts on disk. A lost or power-cycled ECU is tried again, a limited number of times.

        Raises:
            FlashError: an ECU could not be staged. All ECUs still run what they ran before.
            FlashCanceled: ``cancel`` was set.
        """
        ...

    def activate(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> None:
        """Check dependencies on all ECUs, make all staged slots trial slots, and reset all ECUs.

        Raises:
            DependenciesNotMet: an ECU reports that a dependency is not met; this call has changed no ECU.
            FlashError: an ECU refused or was lost. The caller then reverts all ECUs.
        """
        ...

    def verify(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """Wait until every ECU has booted and runs its image's version in a TRIAL or CONFIRMED slot, then soak.

        During the soak all trial images must run and answer together for a while, before any of them may be confirmed.

        Raises:
            FlashError: an ECU runs another version (it rolled back), did not come back in time, or was reset or silent during the soak.
        """
        ...

    def confirm(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """Confirm the active slot of all ECUs. Skip ECUs whose active slot is confirmed already.

        Raises:
            FlashError: an ECU could not be confirmed.
        """
        ...

    def revert(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """Return every ECU that runs its image's version to the slot that it ran before. Staged slots stay as they are.

        Raises:
            FlashError: an ECU could not be reverted. The message contains the ECU and what it runs.
        """
        ...

    def finish(self, *, job_id: str) -> None:
        """Run post-programming on all ECUs: communication and DTC setting on, default session. A silent ECU is not an error."""
        ...

    def close(self) -> None:
        """Close all sockets."""
        ...
