"""The acts of an update on one ECU with a sequence profile: when each sequence is carried out, and what its success means.

Each act first reads the ECU (``sequence_reading``) and does only what is still to be done, so that it may be repeated after any
interruption. What cannot be read is noted (``records``). An ECU with a single bank is programmed in its activation (``put_into_use``), and
reverted by flashing the former image. How sequences are repeated is in ``sequence_runs``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.records import Act, EcuRecord, EcuRecords, FormerImages
from otabench.bench.gateway.flashing.sequence_reading import SequenceReading
from otabench.bench.gateway.flashing.sequence_runs import POLL_P2_S, POLL_PAUSE_S, SequenceRuns
from otabench.bench.gateway.vehicle import EcuImage, Phase
from otabench.bench.uds.errors import (
    BusUnavailable,
    EcuContradicts,
    EcuLost,
    EcuRefused,
    FlashError,
    RolledBack,
)
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.sequence.sections import Confirming, Reverting, SlotsKind
from otabench.bench.uds.sequence.steps import Reset, Sequence
from otabench.bench.uds.sequence_client import SequenceClient
from otabench.bench.uds.slot_table import SlotState

NOT_USABLE = "it cannot be used meanwhile"
_RUNS = frozenset({SlotState.TRIAL, SlotState.CONFIRMED})


class SequenceEcu:
    """One ECU.

    Args:
        client: the connection to it.
        records: where its jobs are noted.
        former: the images that it ran before.
        timing: limits of the gateway.

    Attributes:
        runs: carries out its sequences.
        reading: what it reports.
    """

    def __init__(
        self, client: SequenceClient, *, records: EcuRecords, former: FormerImages, timing: GatewayTiming
    ) -> None:
        self.client = client
        self.name = client.name
        self.profile = client.profile
        self.reading = SequenceReading(client, records)
        self.runs = SequenceRuns(client, self.reading, timing)
        self._records = records
        self._former = former
        self._boot_timeout_s = timing.boot_timeout_s

    @property
    def is_single(self) -> bool:
        """Whether the ECU has one bank, so that programming it takes its application away."""
        return self.profile.slots.kind is SlotsKind.SINGLE

    def begin(self, image: EcuImage) -> None:
        """Note the job and what the ECU ran before it, unless that is noted. Check on paper that the image can be sent.

        Raises:
            FlashError: the ECU does not answer, or the image does not fit.
        """
        job_id = self.client.job_id or ""
        record = self.reading.record
        if record is None or (record.job_id, record.version) != (job_id, image.version):
            # A rollback needs the version that runs now, so wait for an ECU that is silent.
            running = self._await_version()
            before = running if running is not None else _last_known(record, self.client)
            self._records.write(self.name, EcuRecord(job_id=job_id, version=image.version, from_version=before))
        self.runs.check_on_paper(image)

    def runs_already(self, image: EcuImage) -> bool:
        """Return whether the ECU runs the image's version. Return False if it is silent: its own attempt waits for it."""
        try:
            return self.reading.is_version(self.reading.version(), image.version)
        except (EcuLost, BusUnavailable):
            return False

    def is_in_application(self) -> bool:
        """Return whether the ECU runs an application. Return False if it is silent."""
        try:
            return self.reading.version() is not None
        except (EcuLost, BusUnavailable):
            return False

    def stage(
        self,
        image: EcuImage,
        *,
        sender: ProgressSender,
        cancel: threading.Event | None,
        is_entered: bool,
        fetch_image: Callable[[str], None],
    ) -> None:
        """Program the inactive slot, unless that was done before. If the ECU refuses its patch, the full image follows.

        Raises:
            FlashError: it could not be programmed.
            FlashCanceled: ``cancel`` was set.
        """
        if self._act is not Act.STAGED:
            program = partial(self.runs.program, image, sender=sender, cancel=cancel)
            try:
                program(is_entered=is_entered, is_patch=image.patch is not None)
            except EcuRefused as error:
                if image.patch is None:
                    raise
                # Refused, not lost: the ECU cannot use this patch. The full image does not depend on what the ECU runs.
                self.client.emit("flash.patch_refused", step=error.step, nrc=error.nrc, reason=str(error))
                if not image.image.exists():
                    fetch_image(self.name)
                program(is_entered=False)
            self._note(Act.STAGED)
        sender.phase(Phase.STAGED)

    def activate(self, image: EcuImage, *, sender: ProgressSender) -> None:
        """Let the ECU start the image in its inactive slot, unless it runs it already.

        Raises:
            FlashError: it refused or was lost, or the image is not staged.
        """
        if not self.runs_already(image):
            if self._act not in (Act.STAGED, Act.ACTIVATED):
                raise EcuContradicts(
                    f"{image.version} is not staged", ecu=self.name, step="activate", remedy="stage it again"
                )
            sender.phase(Phase.ACTIVATING)
            self._start(image)
        self._note(Act.ACTIVATED)

    def put_into_use(self, image: EcuImage, *, sender: ProgressSender, is_entered: bool) -> None:
        """Program a single bank and start it, unless it runs the image already.

        Raises:
            FlashError: it could not be programmed. It may have no application then.
        """
        if not self.runs_already(image):
            # Before the first byte: after a power cut, only this record shows that there may be no application.
            self._note(Act.PROGRAMMING)
            self.runs.program(image, sender=sender, cancel=None, is_entered=is_entered, note=NOT_USABLE)
            sender.phase(Phase.ACTIVATING, detail=NOT_USABLE)
            self._start(image)
        self._note(Act.ACTIVATED)

    def await_success(self, image: EcuImage, *, deadline: Deadline) -> EcuIdentity:
        """Wait until the ECU proves that the image runs, as its profile requires.

        Raises:
            RolledBack: it runs what it ran before.
            EcuLost: it did not prove it before ``deadline``.
        """
        seen, running = "", None
        while True:
            try:
                running = self.reading.version(p2_s=POLL_P2_S)
                if self._is_success(image, running):
                    self.runs.act(self.profile.sequences.verify, image)
                    return self.reading.identity()
                seen = "it is in its bootloader" if running is None else f"it runs {running}"
            except FlashError as error:
                # While an ECU boots, silence and fragments of responses are normal. Only the deadline turns them into an error.
                seen = seen or str(error)
            if deadline.has_passed():
                break
            time.sleep(POLL_PAUSE_S)
        text = f"{image.version} did not come up in time: {seen}"
        record = self.reading.record
        has_fallen_back = record is not None and self.reading.is_version(running, record.from_version)
        raise (RolledBack if has_fallen_back else EcuLost)(text, ecu=self.name, step="boot")

    def require_running(self, image: EcuImage) -> None:
        """Check that the ECU runs the image.

        Raises:
            RolledBack: it does not.
            FlashError: it does not answer.
        """
        running = self.reading.version()
        if not self._is_success(image, running):
            text = f"{image.version} no longer runs: it runs {running or 'no application'}"
            raise RolledBack(text, ecu=self.name, step="confirm")

    def confirm(self, image: EcuImage) -> EcuIdentity:
        """Make the image permanent, as the profile states, and keep its file as the one that a later rollback may need.

        Raises:
            FlashError: the ECU refused or was lost, or has not confirmed the image.
        """
        if self._act is not Act.CONFIRMED:
            is_table = self.profile.slots.kind is SlotsKind.TABLE
            is_confirmed = is_table and self.reading.slots().active.state is SlotState.CONFIRMED
            if self.profile.confirming is Confirming.SEQUENCE and not is_confirmed:
                self.runs.act(self.profile.sequences.confirm, image)
            if is_table:
                self._await_confirmed()
            self._note(Act.CONFIRMED)
        # After a patch there is no file of the whole image. An ECU that takes patches goes back by its bootloader.
        if self.profile.reverting is Reverting.FLASH_FORMER and image.image.exists():
            self._former.keep(image)
        return self.reading.identity()

    def revert(self, image: EcuImage, *, sender: ProgressSender) -> EcuIdentity:
        """Return the ECU to what it ran before this job, if the job has changed what it runs.

        Raises:
            FlashError: it could not be returned; the message contains what it runs.
        """
        record = self.reading.record
        if record is None or record.job_id != self.client.job_id:
            return self.reading.identity()
        running = self._await_version()
        # Without an application there is nothing to stay with, whatever the record states.
        is_changing = running is None or record.act in (Act.PROGRAMMING, Act.REVERTING)
        is_left = not is_changing and not self.reading.is_version(running, image.version)
        # The image may contain another version than was stated. Then the ECU runs neither the new version nor the former one.
        if record.act in (Act.ACTIVATED, Act.CONFIRMED):
            is_left = is_left and self.reading.is_former(running, record)
        # A reverting whose end was not noted: the ECU may run the version before already.
        has_returned = (
            record.act is Act.REVERTING and self.reading.has_version and self.reading.is_former(running, record)
        )
        if is_left or has_returned:
            self._note(Act.REVERTED)
            return self.reading.identity()
        # The job did not change the version, so there is nothing to go back to.
        if record.from_version == record.version:
            return self.reading.identity()
        was_confirmed = record.act is Act.CONFIRMED
        how = self._way_back(was_confirmed=was_confirmed)
        self._note(Act.REVERTING)
        if how is Reverting.FLASH_FORMER:
            self._flash_former(image, record, sender=sender)
        else:
            steps = self.profile.sequences.revert
            # RESET_UNCONFIRMED needs no steps of its own: a hard reset ends the trial.
            self.runs.act(steps if steps.steps else Sequence(steps=(Reset(reset=1),)), image)
        self._await_former(record)
        self._note(Act.REVERTED)
        return self.reading.identity()

    # -- steps of the acts

    @property
    def _act(self) -> Act | None:
        record = self.reading.record
        return None if record is None else record.act

    def _note(self, act: Act) -> None:
        record = self.reading.record
        if record is not None and record.act is not act:
            self._records.write(self.name, record.model_copy(update={"act": act}))

    def _start(self, image: EcuImage) -> None:
        try:
            self.runs.act(self.profile.sequences.activate, image)
        except (EcuLost, BusUnavailable):
            # An ECU may boot for longer than its sequence waits. What it runs then, it reports itself.
            if not self.reading.has_version:
                raise
        self.client.close()

    def _is_success(self, image: EcuImage, running: str | None) -> bool:
        match self.profile.proves_success_by:
            case "version":
                return self.reading.is_version(running, image.version)
            case "slot":
                state = self.reading.slots().active.state
                return self.reading.is_version(running, image.version) and state in _RUNS
        return running is not None

    def _await_confirmed(self) -> None:
        deadline = Deadline(self._boot_timeout_s)
        while (state := self.reading.slots().active.state) is not SlotState.CONFIRMED:
            if deadline.has_passed() or self.profile.confirming is Confirming.SEQUENCE:
                raise self.client.contradiction("confirm", f"the slot is {state}")
            time.sleep(POLL_PAUSE_S)

    def _way_back(self, *, was_confirmed: bool) -> Reverting:
        """Return how the ECU is returned.

        Raises:
            EcuRefused: its profile has no way, or none that still exists.
        """
        how = self.profile.reverting
        if how is Reverting.NONE:
            raise self._refusal(f"flash profile {self.profile.name} has no way back (revert: none)")
        if how is Reverting.RESET_UNCONFIRMED and was_confirmed:
            raise self._refusal("the new software was confirmed, and a reset does not leave it any more")
        return how

    def _flash_former(self, image: EcuImage, record: EcuRecord, *, sender: ProgressSender) -> None:
        former = self._former.find(self.client.endpoint, record.from_version, like=image)
        if former is None:
            raise self._refusal(f"the image of {record.from_version or 'what it ran before'} is not at hand")
        self.runs.program(former, sender=sender, cancel=None, is_entered=False, note=NOT_USABLE)
        # As in _start: an ECU may boot for longer than the sequence waits. _await_former sees the result.
        with suppress(EcuLost, BusUnavailable):
            self.runs.act(self.profile.sequences.activate, former)
        self.client.close()

    def _refusal(self, text: str) -> EcuRefused:
        return EcuRefused(text, ecu=self.name, step="revert", remedy="have the image flashed by a workshop")

    def _await_version(self) -> str | None:
        """Return the version that runs, as soon as the ECU answers. It may be booting because of an interrupted attempt."""
        deadline = Deadline(self._boot_timeout_s)
        while True:
            try:
                return self.reading.version(p2_s=POLL_P2_S)
            except FlashError as error:
                if deadline.has_passed():
                    raise EcuLost.of(error, note="it does not come back") from error
            time.sleep(POLL_PAUSE_S)

    def _await_former(self, record: EcuRecord) -> None:
        if not self.reading.has_version:
            return
        deadline = Deadline(self._boot_timeout_s)
        while not self.reading.is_former(running := self._await_version(), record):
            if deadline.has_passed():
                raise self.client.contradiction("revert", f"it still runs {running or 'no application'}")
            time.sleep(POLL_PAUSE_S)


def _last_known(record: EcuRecord | None, client: SequenceClient) -> str:
    """Return what an ECU in its bootloader ran last, as far as it is known."""
    if record is None:
        given = client.endpoint.former_image
        return "" if given is None else given.version
    return record.version if record.act is Act.CONFIRMED else record.from_version
