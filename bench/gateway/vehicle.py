"""The vehicle as the agent sees it: what an ECU is, what is to be flashed, and the one seam behind which flashing happens.

The agent chooses *what* is done in which job state; a ``Vehicle`` implements *how* it is done on the bus (UDS over ISO-TP:
``gateway.flashing``). All calls block and are made from worker threads. Each may be repeated after a restart of the gateway, from
whatever state the ECUs are in then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from otabench.bench.uds.identity import EcuIdentity


class Phase(StrEnum):
    """Where an ECU is within an update, for progress and HMI."""

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
class EcuImage:
    """What one ECU is to run: verified and downloaded, all files on disk."""

    ecu: str
    version: str
    image: Path
    """The full image; may be absent on disk while ``patch`` is tried first (``fetch_image`` gets it)."""
    image_length: int
    """Of the image in the ECU; the file may be longer (``file_length``)."""
    metadata: bytes
    """The Director's signed Targets, for the ECU's partial verification (metadata window)."""
    patch: Path | None = None
    patch_length: int = 0
    is_encrypted: bool = False
    """Whether ``image`` and ``patch`` are encrypted for the ECU, which decrypts them."""
    file_length: int | None = None
    """Of the file ``image``; None: the image's own."""
    needs: str = ""
    """What the image depends on and what the vehicle would run, in words, for an ECU that reports that it is not met."""


@dataclass(frozen=True)
class EcuProgress:
    """Progress of one ECU. ``bytes_total`` counts what crosses the bus (the patch, where one is used)."""

    ecu: str
    phase: Phase
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    detail: str = ""


ProgressListener = Callable[[EcuProgress], None]


class Vehicle(Protocol):
    """All ECUs of the vehicle, for one gateway. An update makes the calls in the order in which they are defined here."""

    def identify(self) -> Mapping[str, EcuIdentity]:
        """Read every ECU's identity.

        Raises:
            FlashError: an ECU does not answer (retryable) or answers nonsense.
        """
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
        """Program all inactive slots, up to STAGED. An ECU whose inactive slot already holds the image is left alone.

        A patch that the ECU refuses is followed by the full image; ``fetch_image(ecu)`` then puts it on disk. A lost or
        power-cycled ECU is tried again, a bounded number of times.

        Raises:
            FlashError: an ECU could not be staged. Nothing that any ECU runs has changed.
            FlashCanceled: ``cancel`` was set.
        """
        ...

    def activate(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> None:
        """Check dependencies on all ECUs, make all staged slots trial slots, and reset all ECUs.

        Raises:
            DependenciesNotMet: an ECU reports that a dependency is not met; this call has changed no ECU.
            FlashError: an ECU refused or was lost; the caller then reverts all.
        """
        ...

    def verify(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """Wait until every ECU has booted and runs its image's version in a TRIAL or CONFIRMED slot, then soak.

        The soak: all trial images run and answer for a while, together, before any may be confirmed.

        Raises:
            FlashError: an ECU runs another version (it rolled back), does not come back in time, or was reset or
                silent while it soaked.
        """
        ...

    def confirm(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """Confirm the running slot of all ECUs; ECUs already confirmed are left alone.

        Raises:
            FlashError: an ECU could not be confirmed.
        """
        ...

    def revert(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """Bring every ECU that runs its image's version back to the slot it ran before; staged slots are not activated.

        Raises:
            FlashError: an ECU could not be reverted; the message names it and what it runs.
        """
        ...

    def finish(self, *, job_id: str) -> None:
        """Post-programming on all ECUs: communication and DTC setting on, default session. Never raises for a silent ECU."""
        ...

    def close(self) -> None:
        """Close all sockets."""
        ...
