"""Carry out the sequences of one ECU's profile, and repeat them after silence, lost sessions and interrupted transfers.

Rules:

* An ECU that falls silent is waited for, and its sequence starts again, a limited number of times.
* In programming a refusal is a reason to start again, too: after an interruption the ECU may hold a transfer without an end. A refused
  key or certificate is final, because the ECU counts wrong keys; so is a refusal before programming, because nothing has begun.
* An ECU in its bootloader is programmed from there (``in_bootloader`` in place of ``pre_programming``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.flashing.payloads import DEFAULT_SETTINGS, make_material
from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.sequence_reading import SequenceReading
from otabench.bench.gateway.vehicle import EcuImage, Phase
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuLost, EcuRefused, FlashCanceled, FlashError
from otabench.bench.uds.identity import AWAIT_STEP
from otabench.bench.uds.sequence.dry_run import dry_run
from otabench.bench.uds.sequence.material import Material
from otabench.bench.uds.sequence.runner import Runner
from otabench.bench.uds.sequence.scope import RunScope
from otabench.bench.uds.sequence.steps import AnyStep, Sequence
from otabench.bench.uds.sequence_client import SequenceClient

POLL_P2_S: Final = 0.3
POLL_PAUSE_S: Final = 0.1
_ACT_ATTEMPTS: Final = 3
"""For acts other than programming, whose attempts the gateway's configuration limits (``stage_attempts``)."""
_ACT_LIMIT_S: Final = 10.0
_FINAL: Final = frozenset({0x33, 0x35, 0x36, 0x37, *range(0x50, 0x5E)})
"""securityAccessDenied, invalidKey, exceedNumberOfAttempts, requiredTimeDelayNotExpired, and the refusals of authentication (50 to 5D).

A further attempt would be refused, too, or counted as another wrong key or proof (ISO 14229-1, services 27 and 29).
"""


class SequenceRuns:
    """Sequences on one ECU.

    Args:
        client: the ECU.
        reading: what it reports.
        timing: limits of the gateway.
    """

    def __init__(self, client: SequenceClient, reading: SequenceReading, timing: GatewayTiming) -> None:
        self._client = client
        self._profile = client.profile
        self._reading = reading
        self._timing = timing
        self._saved: dict[str, bytes] = {}
        """What earlier steps have read: a later act may use it."""
        self._attempts = 0
        self._nothing = Material((), settings={**DEFAULT_SETTINGS, **client.endpoint.settings})

    def check_on_paper(self, image: EcuImage) -> None:
        """Run all sequences without the ECU, so that what cannot be sent is found before anything is changed.

        Raises:
            FlashError: the image cannot be read, or does not fit the profile.
        """
        dry_run(self._profile, self._material(image), now=datetime.now(UTC))
        if self._profile.authenticates:
            self._client.certificate()

    def length_of(self, image: EcuImage) -> int:
        """Return how many bytes of the image are sent. A program file itself is longer, as text.

        Raises:
            FlashError: the image cannot be read, or does not fit the profile.
        """
        return _length(self._material(image))

    def step(self, step: AnyStep, *, sent: bytes = b"") -> None:
        """Carry out one step of a sequence. ``sent``: the request that went to all ECUs already; only the response is collected.

        Raises:
            FlashError: see ``Runner.run``.
        """
        with self._client.answering(sent):
            self._runner(self._nothing).run(Sequence(steps=(step,)))

    def act(self, steps: Sequence, image: EcuImage) -> None:
        """Carry out a sequence. Start it again if the ECU was away or a message was lost.

        Raises:
            FlashError: the last failure.
        """
        if not steps.steps:
            return
        material = self._material(image)
        deadline = Deadline(_ACT_LIMIT_S)
        for attempt in range(1, _ACT_ATTEMPTS + 1):
            try:
                self._runner(material).run(steps)
                return
            except (EcuLost, BusUnavailable) as error:
                # With an NRC the ECU was not silent: it answered 78 until the limit. Repeating would take as long again.
                if attempt == _ACT_ATTEMPTS or deadline.has_passed() or error.nrc is not None:
                    raise
                self._client.emit(
                    "flash.reentry", step=error.step, attempt=attempt, of=_ACT_ATTEMPTS, reason=str(error)
                )
                self._await_answer(deadline, lost=error)

    def program(
        self,
        image: EcuImage,
        *,
        sender: ProgressSender,
        cancel: threading.Event | None,
        is_entered: bool,
        note: str = "",
        is_patch: bool = False,
    ) -> None:
        """Program an image, and try again after failures that may be temporary.

        Args:
            image, sender: what to program, and what receives the progress.
            cancel: ends the programming when it is set.
            is_entered: pre-programming was carried out already.
            note: the text shown to the driver meanwhile.
            is_patch: send the patch in place of the image.

        Raises:
            FlashError: the last failure.
            FlashCanceled: ``cancel`` was set.
        """
        material, attempts = self._material(image, is_patch=is_patch), self._timing.stage_attempts
        total, kind = _length(material), "delta" if is_patch else "full"
        last: FlashError | None = None
        self._client.cancel = cancel
        try:
            for attempt in range(1, attempts + 1):
                if cancel is not None and cancel.is_set():
                    raise FlashCanceled(f"{self._client.name}: canceled before programming")
                try:
                    if last is not None:
                        self._await_answer(Deadline(self._timing.ecu_lost_timeout_s), lost=last)
                    self._enter(is_entered=is_entered and last is None)
                    sender.phase(Phase.ERASING, bytes_total=total, detail=note)
                    counter = _ByteCounter(sender, total, note or ("delta" if is_patch else ""))
                    self._program(material, counter, kind=kind)
                    return
                except (EcuLost, BusUnavailable, EcuContradicts, EcuRefused) as error:
                    if isinstance(error, _RefusedBefore) or error.nrc in _FINAL:
                        sender.phase(Phase.FAILED, detail=str(error))
                        raise
                    last = error
                self._client.emit("flash.lost", attempt=attempt, of=attempts, step=last.step, reason=str(last))
                sender.phase(Phase.WAITING, detail=f"attempt {attempt} of {attempts} failed: {last}")
        finally:
            self._client.cancel = None
        assert last is not None
        raise _given_up(last, attempts, sender) from last

    def _enter(self, *, is_entered: bool) -> None:
        """Carry out the sequence before programming: that of the application, or that of the bootloader."""
        # Without a version the ECU is in its bootloader, where an interrupted attempt leaves a single bank.
        acts = self._profile.sequences
        if self._reading.version() is None:
            self._client.emit("flash.in_bootloader", step="in_bootloader")
            self._runner(self._nothing).run(acts.in_bootloader)
            return
        if is_entered:
            return
        try:
            self._runner(self._nothing).run(acts.pre_programming)
        except EcuRefused as error:
            raise _RefusedBefore.of(error) from error

    def _program(self, material: Material, counter: _ByteCounter, *, kind: str) -> None:
        self._attempts += 1
        runner = self._runner(material, on_bytes=counter.on_bytes)
        runner.run(self._profile.sequences.programming)
        totals = runner.totals
        self._client.emit(
            "flash.transfer",
            kind=kind,
            bytes=totals.bytes,
            duration_s=round(totals.duration_s, 6),
            bytes_per_s=round(totals.bytes / totals.duration_s, 1) if totals.duration_s > 0 else 0.0,
        )

    def _await_answer(self, deadline: Deadline, *, lost: FlashError) -> None:
        """Wait until the ECU answers anything.

        Raises:
            EcuLost: it does not come back; the error is made of ``lost``.
        """
        while True:
            # A new connection for each try: after a fault of the bus the old socket may be dead.
            self._client.close()
            try:
                self._client.ask(b"\x3e\x00", step=AWAIT_STEP, p2_s=POLL_P2_S)
                return
            except (EcuRefused, EcuContradicts):
                return
            except (EcuLost, BusUnavailable):
                if deadline.has_passed():
                    raise EcuLost.of(lost, note="it does not come back") from lost
            self._client.pause(POLL_PAUSE_S)

    def _material(self, image: EcuImage, *, is_patch: bool = False) -> Material:
        settings = self._client.endpoint.settings
        # While a patch is tried first, the full image may not be there yet.
        is_patch = is_patch or (image.patch is not None and not image.image.exists())
        return make_material(image, self._profile, settings=settings, is_patch=is_patch)

    def _runner(self, material: Material, on_bytes: Callable[[int], None] = lambda _: None) -> Runner:
        now = datetime.now(UTC)
        scope = RunScope(material, self._profile.values, now, attempt=max(1, self._attempts), saved=self._saved)
        return Runner(self._client, scope, times=self._profile.times, on_bytes=on_bytes)


def _length(material: Material) -> int:
    return sum(len(block.data) for block in material.blocks)


class _RefusedBefore(EcuRefused):
    """The ECU refused before anything was programmed."""


def _given_up(last: FlashError, attempts: int, sender: ProgressSender) -> FlashError:
    sender.phase(Phase.FAILED, detail=str(last))
    return type(last).of(last, note=f"given up after {attempts} attempts")


class _ByteCounter:
    """Adds up the bytes of all blocks. The runner counts each block from 0."""

    def __init__(self, sender: ProgressSender, total: int, note: str) -> None:
        self._sender, self._total, self._note = sender, total, note
        self._done_before = self._in_block = 0
        self._has_begun = False

    def on_bytes(self, in_block: int) -> None:
        """Report that the ECU has accepted ``in_block`` bytes of the block."""
        if not self._has_begun:
            self._sender.phase(Phase.TRANSFERRING, bytes_total=self._total, detail=self._note)
            self._has_begun = True
        # The count has fallen, so a new block has begun.
        if in_block < self._in_block:
            self._done_before += self._in_block
        self._in_block = in_block
        self._sender.bytes(self._done_before + in_block)
