"""Program the ECUs of one bus: pre-programming for all of them together, then one ECU after the other up to STAGED.

Rules:

* If an ECU falls silent or loses its session, wait for it and start its sequence again, a limited number of times.
* A refusal is final at once. After a refused patch, send the full image.
* An ECU is in its bootloader when neither slot holds an image that may run. It has no extended session then, so program it from the session
  that it is in.
* ECUs with sequence profiles and two slots are staged by their sequences, in the same way. Those with a single bank are only looked at.

The single steps are in ``steps``, the transfer of data in ``transfer``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.flashing.entering import Member, enter_all
from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.sequence_ecu import NOT_USABLE, SequenceEcu
from otabench.bench.gateway.flashing.steps import Work, pre_programming_step, programming_step
from otabench.bench.gateway.vehicle import EcuImage, Phase, ProgressListener
from otabench.bench.uds import answers
from otabench.bench.uds.bus_link import BusLink
from otabench.bench.uds.errors import BusUnavailable, EcuLost, EcuRefused, FlashCanceled, FlashError, PatchRefused
from otabench.bench.uds.identity import AWAIT_STEP, await_answer, read_slots
from otabench.bench.uds.profile import Step
from otabench.bench.uds.slot_table import SlotState, SlotTable, same_version

_TRANSFERRING: Final = frozenset({Step.ERASE, Step.DOWNLOAD_IMAGE})
_RUNS: Final = frozenset({SlotState.TRIAL, SlotState.CONFIRMED})


class BusProgramming:
    """One call of ``stage``, for one bus."""

    def __init__(
        self,
        link: BusLink,
        *,
        sequences: Mapping[str, SequenceEcu],
        timing: GatewayTiming,
        progress: ProgressListener,
        cancel: threading.Event,
        fetch_image: Callable[[str], None],
    ) -> None:
        self._link = link
        self._sequences = sequences
        self._timing = timing
        self._progress = progress
        self._cancel = cancel
        self._fetch_image = fetch_image
        self._entered: set[str] = set()

    def stage(self, images: list[EcuImage]) -> None:
        """Program the ECUs of ``images``, all on this bus.

        Raises:
            FlashError: see ``Vehicle.stage``.
            FlashCanceled: ``cancel`` was set.
        """
        works = [self._work(image) for image in images if image.ecu not in self._sequences]
        for work in works:
            work.progress.phase(Phase.WAITING, bytes_total=_bus_bytes(work))
        remaining = [work for work in works if not self._is_done(work)]
        sequences = [work for work in map(self._sequence_work, images) if work is not None]
        # In its bootloader an ECU has other steps, which it does by itself.
        in_application = {ecu.name: ecu for ecu, _, _ in sequences if ecu.is_in_application()}
        members: dict[str, Member] = {**{work.client.name: work.client for work in remaining}, **in_application}
        self._entered |= enter_all(self._link, members, attempts=self._timing.stage_attempts)
        for work in remaining:
            self._stage_one(work)
        for ecu, image, sender in sequences:
            ecu.stage(
                image,
                sender=sender,
                cancel=self._cancel,
                is_entered=ecu.name in self._entered,
                fetch_image=self._fetch_image,
            )

    def _work(self, image: EcuImage) -> Work:
        client = self._link.client(image.ecu)
        return Work(
            client=client,
            image=image,
            progress=ProgressSender(client, self._progress),
            cancel=self._cancel,
            fetch_image=self._fetch_image,
            use_patch=image.patch is not None,
        )

    def _sequence_work(self, image: EcuImage) -> tuple[SequenceEcu, EcuImage, ProgressSender] | None:
        """Return what is to be staged by a sequence; None for an ECU that is done, has a single bank, or has named steps."""
        ecu = self._sequences.get(image.ecu)
        if ecu is None:
            return None
        sender = ProgressSender(ecu.client, self._progress)
        sender.phase(Phase.WAITING)
        ecu.begin(image)
        total = ecu.runs.length_of(image)
        if ecu.runs_already(image):
            sender.phase(Phase.STAGED, detail=f"runs {image.version} already")
            return None
        if ecu.is_single:
            # It cannot be staged without being changed: it is programmed when all others are staged.
            sender.phase(Phase.WAITING, bytes_total=total, detail=f"is programmed last; {NOT_USABLE}")
            return None
        sender.phase(Phase.WAITING, bytes_total=total)
        return ecu, image, sender

    def _is_done(self, work: Work) -> bool:
        """Return whether the ECU runs the version already. Return False if it is silent: its own attempt follows and waits for it."""
        try:
            slots = read_slots(work.client)
        except (EcuLost, BusUnavailable):
            return False
        if slots.active.state in _RUNS and same_version(slots.active.version, work.image.version):
            work.progress.phase(Phase.STAGED, detail=f"runs {slots.active.version} already")
            return True
        return False

    def _stage_one(self, work: Work) -> None:
        attempts = self._timing.stage_attempts
        last: FlashError | None = None
        attempt = 1
        while attempt <= attempts:
            if self._cancel.is_set():
                raise FlashCanceled(f"{work.client.name}: canceled before programming")
            try:
                self._attempt(work, is_first=last is None)
                work.progress.phase(Phase.STAGED, bytes_done=_bus_bytes(work), bytes_total=_bus_bytes(work))
                return
            except PatchRefused as error:
                # The full image follows at once. It does not count as a further attempt, because the ECU works.
                work.use_patch = False
                work.client.emit("flash.patch_refused", step=error.step, nrc=error.nrc, reason=str(error))
                last = error
                continue
            except (EcuLost, BusUnavailable) as error:
                # If the ECU did not come back after a failure, that failure is the reason to report, not the vain wait.
                last = last if last is not None and error.step == AWAIT_STEP else error
            except EcuRefused as error:
                if error.nrc not in answers.FORGOTTEN:
                    work.progress.phase(Phase.FAILED, detail=str(error))
                    raise
                last = error
            # The ECU may be back in its default session, so its next attempt begins with pre-programming.
            self._entered.discard(work.client.name)
            work.client.emit("flash.lost", attempt=attempt, of=attempts, step=last.step, reason=str(last))
            work.progress.phase(Phase.WAITING, detail=f"attempt {attempt} of {attempts} failed: {last}")
            attempt += 1
        assert last is not None
        work.progress.phase(Phase.FAILED, detail=str(last))
        note = f"given up after {attempts} attempts; the active slot is untouched"
        if last.nrc is None or isinstance(last, EcuLost):
            raise EcuLost.of(last, note=note) from last
        raise EcuRefused.of(last, note=note) from last

    def _attempt(self, work: Work, *, is_first: bool) -> None:
        client = work.client
        if client.name not in self._entered:
            if not is_first:
                # After a failure the ECU may be rebooting or without power.
                await_answer(client, deadline=Deadline(self._timing.ecu_lost_timeout_s), cancel=self._cancel)
            for step in client.profile.sequence.pre_programming:
                pre_programming_step(client, step)
            self._entered.add(client.name)
        steps = client.profile.sequence.programming
        # The slot may hold the image already, staged by an earlier attempt or process. Then check memory with the new metadata is enough,
        # and the transfer, by far the longest step, is left out.
        if self._is_staged(read_slots(client), work) and Step.CHECK_MEMORY in steps:
            try:
                for step in steps:
                    if step not in _TRANSFERRING:
                        programming_step(work, step)
                return
            except EcuRefused as error:
                # A negative response concerns the request. A status of check memory concerns the image: transfer it again.
                if error.nrc is not None:
                    raise
                client.emit("flash.staged_image_refused", reason=str(error))
        for step in steps:
            programming_step(work, step)

    def _is_staged(self, slots: SlotTable, work: Work) -> bool:
        return slots.other.state is SlotState.STAGED and same_version(slots.other.version, work.image.version)


def _bus_bytes(work: Work) -> int:
    image = work.image
    return image.patch_length if work.use_patch else image.file_length or image.image_length
