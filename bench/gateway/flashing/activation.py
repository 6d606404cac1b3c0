"""The acts that follow staging, for one ECU at a time: activate, verify, confirm, revert.

Every act reads the slot table first and does only what is still to be done. So each act may be repeated after any interruption, and
``reentry`` repeats it when the ECU was reset or a message was lost. "New" is the version of the update:

    active slot          inactive slot           activate        revert
    new, TRIAL/CONF.     any                     nothing         0212, reset
    another version      new, STAGED             FF01, 0210      nothing
    another version      new, TRIAL (pending)    reset           0212 (cancels it)
    another version      anything else           error           nothing
    new, INVALID         CONFIRMED               error           reset

The soak between verifying and confirming is in ``soak``.
"""

from __future__ import annotations

import time
from contextlib import suppress
from enum import StrEnum, auto
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.flashing.reentry import enter_extended, enter_pre_programming, with_reentry
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds import answers
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import (
    BusUnavailable,
    DependenciesNotMet,
    EcuContradicts,
    EcuLost,
    EcuRefused,
    FlashError,
    RolledBack,
)
from otabench.bench.uds.identity import EcuIdentity, read_identity, read_slots
from otabench.bench.uds.slot_table import SlotState, SlotTable, same_version


class Standing(StrEnum):
    """The state of an ECU with regard to one version."""

    TRIAL = auto()
    CONFIRMED = auto()
    PENDING = auto()
    STAGED = auto()
    LEFT = auto()
    """It still runs, but 0212 has given it up: the next reset leaves it."""
    ROLLED_BACK = auto()
    OTHER = auto()


_ACTIVE: Final = {
    SlotState.TRIAL: Standing.TRIAL,
    SlotState.CONFIRMED: Standing.CONFIRMED,
    SlotState.INVALID: Standing.LEFT,
}
_RUNS: Final = frozenset({Standing.TRIAL, Standing.CONFIRMED})
_TO_BE_LEFT: Final = _RUNS | {Standing.PENDING}
_LEFT_BEHIND: Final = frozenset(Standing) - _TO_BE_LEFT - {Standing.LEFT}


def standing(slots: SlotTable, version: str) -> Standing:
    """Return the state of an ECU with this slot table with regard to ``version``."""
    if same_version(slots.active.version, version) and slots.active.state in _ACTIVE:
        return _ACTIVE[slots.active.state]
    # The bootloader marks an image INVALID when it gives up its trial.
    if slots.other.state is SlotState.INVALID:
        return Standing.ROLLED_BACK
    if same_version(slots.other.version, version):
        if slots.other.state is SlotState.TRIAL:
            return Standing.PENDING
        if slots.other.state is SlotState.STAGED:
            return Standing.STAGED
    return Standing.OTHER


def describe_slots(slots: SlotTable) -> str:
    """Return a slot table in words: "runs 1.0.0 (CONFIRMED), the other slot is INVALID"."""
    other = f"{slots.other.state} {slots.other.version}".strip()
    return f"runs {slots.active.version or 'nothing readable'} ({slots.active.state}), the other slot is {other}"


def needs_activation(client: EcuClient, image: EcuImage) -> bool:
    """Return whether the ECU is still to be activated; check its dependencies first.

    Raises:
        DependenciesNotMet: the ECU reports that a version that the image depends on is missing.
        FlashError: the ECU refused or was lost, or the image is not staged.
    """
    return with_reentry(client, lambda: _needs_activation(client, image), restore=lambda: enter_pre_programming(client))


def _needs_activation(client: EcuClient, image: EcuImage) -> bool:
    step = "activate"
    slots = read_slots(client)
    where = standing(slots, image.version)
    if where in _RUNS:
        return False
    if where is Standing.PENDING:
        return True
    if where is not Standing.STAGED:
        raise EcuContradicts(
            f"{image.version} is not staged: it {describe_slots(slots)}",
            ecu=client.name,
            step=step,
            remedy="stage it again",
        )
    routine = client.profile.routines.check_dependencies
    if routine is not None and client.routine(routine, "check programming dependencies", find_session=True)[0]:
        step = f"31 01 {routine:04X} check programming dependencies"
        needs = image.needs or "the image needs another version of its own or another ECU's software"
        raise DependenciesNotMet(f"not met: {needs}", ecu=client.name, step=step)
    return True


def make_trial(client: EcuClient, image: EcuImage) -> None:
    """Activate the slot (31 01 0210) if it is still STAGED.

    Raises:
        FlashError: the ECU refused or was lost.
    """

    def act() -> None:
        slots = read_slots(client)
        if standing(slots, image.version) is Standing.STAGED:
            _slot_routine(client, client.profile.routines.activate, "activate", slots_before=slots)

    with_reentry(client, act, restore=lambda: enter_pre_programming(client))


def reset_into_trial(client: EcuClient, image: EcuImage) -> None:
    """Reset the ECU (11 01) if the trial is not running yet.

    An ECU that does not come back is not an error here. ``await_version`` waits for it and reports it.

    Raises:
        EcuRefused: the ECU refuses the reset.
    """
    _reset(client, image, unless=_RUNS)


def _reset(client: EcuClient, image: EcuImage, *, unless: frozenset[Standing]) -> None:
    """Reset the ECU (11 01), unless its state is one of ``unless``. Resetting a running trial would use up one of its boots."""
    kind = client.profile.reset.type
    step = f"11 {kind:02X} reset"

    def act() -> None:
        if standing(read_slots(client), image.version) in unless:
            return
        try:
            client.request(bytes((0x11, kind)), step=step)
        except EcuContradicts as error:
            # A garbled response must not skip the reset. As EcuLost it makes ``with_reentry`` read the slot table again and repeat the
            # act.
            raise EcuLost.of(error) from error

    # An ECU may take longer to boot than a request is repeated. The caller waits for it and reports what it runs.
    with suppress(EcuLost, BusUnavailable):
        with_reentry(client, act, restore=lambda: enter_extended(client))
    client.close()


def await_version(client: EcuClient, version: str, *, deadline: Deadline) -> EcuIdentity:
    """Wait until the ECU runs ``version`` in a TRIAL or CONFIRMED slot.

    Raises:
        RolledBack: the ECU runs another version, and its bootloader has given up this one.
        EcuLost: the ECU did not run this version before ``deadline``.
    """
    step = "boot"
    timing = client.profile.timing
    seen = ""
    while True:
        try:
            slots = read_slots(client, p2_s=timing.poll_p2_s)
            where = standing(slots, version)
            if where in _RUNS:
                return read_identity(client)
            seen = describe_slots(slots)
            if where is Standing.ROLLED_BACK:
                raise RolledBack(
                    f"{version} did not come up and was given up by the bootloader: it {seen}",
                    ecu=client.name,
                    step=step,
                )
        except RolledBack:
            raise
        except FlashError as error:
            # While an ECU boots, silence and fragments of responses are normal. Only the deadline turns them into an error.
            seen = seen or str(error)
        if deadline.has_passed():
            break
        time.sleep(timing.poll_pause_s)
    text = f"{version} did not come up in time: {seen}"
    raise EcuLost(text, ecu=client.name, step=step)


def confirm(client: EcuClient, image: EcuImage) -> EcuIdentity:
    """Confirm the image (31 01 0211) unless it is confirmed already. Read the slot table back to prove it.

    Raises:
        RolledBack: the ECU runs another version.
        FlashError: the ECU refused, was lost, or has not confirmed the image afterwards.
    """
    return with_reentry(client, lambda: _confirm(client, image))


def _confirm(client: EcuClient, image: EcuImage) -> EcuIdentity:
    routine = client.profile.routines.confirm
    slots = _require_running(client, image)
    if standing(slots, image.version) is Standing.TRIAL:
        _enter_for_slot_routine(client)
        _slot_routine(client, routine, "confirm", slots_before=slots)
    identity = read_identity(client)
    if identity.active.state is not SlotState.CONFIRMED:
        raise client.contradiction(
            f"31 01 {routine:04X} confirm", f"reported success, but the slot is {identity.active.state}"
        )
    return identity


def require_running(client: EcuClient, image: EcuImage) -> None:
    """Check that the ECU runs the image's version in a TRIAL or CONFIRMED slot.

    Raises:
        RolledBack: the ECU runs another version.
        FlashError: see ``EcuClient.read``.
    """
    with_reentry(client, lambda: _require_running(client, image))


def _require_running(client: EcuClient, image: EcuImage) -> SlotTable:
    slots = read_slots(client)
    if standing(slots, image.version) not in _RUNS:
        text = f"{image.version} no longer runs: it {describe_slots(slots)}"
        raise RolledBack(text, ecu=client.name, step="confirm")
    return slots


def revert(client: EcuClient, image: EcuImage, *, boot_timeout_s: float) -> EcuIdentity:
    """Return an ECU to the slot that it ran before, if it runs the image's version or would run it after a reset.

    Raises:
        FlashError: the ECU could not be reverted; the message contains what it runs.
    """
    # The ECU may be booting because of an earlier, interrupted attempt. Wait for it before deciding what is left to do.
    await_slots(client, deadline=Deadline(boot_timeout_s))
    with_reentry(client, lambda: _request_revert(client, image))
    # 0212 takes effect only at the next reset. Until then the ECU still runs the image that it gives up.
    _reset(client, image, unless=_LEFT_BEHIND)
    deadline = Deadline(boot_timeout_s)
    while True:
        slots = await_slots(client, deadline=deadline)
        if standing(slots, image.version) in _LEFT_BEHIND:
            return read_identity(client)
        if deadline.has_passed():
            step = f"31 01 {client.profile.routines.revert:04X} revert"
            raise client.contradiction(step, f"reported success, but {describe_slots(slots)}")
        time.sleep(client.profile.timing.poll_pause_s)


def _request_revert(client: EcuClient, image: EcuImage) -> None:
    """Send 31 01 0212 if the image runs or would run after a reset."""
    slots = read_slots(client)
    if standing(slots, image.version) not in _TO_BE_LEFT:
        return
    _enter_for_slot_routine(client)
    try:
        _slot_routine(client, client.profile.routines.revert, "revert", slots_before=slots)
    except EcuRefused as error:
        raise EcuRefused.of(error, note=f"it {describe_slots(slots)}") from error


def await_slots(client: EcuClient, *, deadline: Deadline) -> SlotTable:
    """Return the slot table as soon as the ECU sends it.

    Raises:
        EcuLost: the ECU did not send it before ``deadline``, or the bus stayed away.
    """
    timing = client.profile.timing
    while True:
        try:
            return read_slots(client, p2_s=timing.poll_p2_s)
        except (EcuLost, BusUnavailable, EcuContradicts, EcuRefused) as error:
            if deadline.has_passed():
                raise EcuLost.of(error, note="it does not come back") from error
        time.sleep(timing.poll_pause_s)


def _enter_for_slot_routine(client: EcuClient) -> None:
    enter_extended(client)
    # Without this, an ECU that requires security access would refuse first (NRC 33) and be unlocked only then: one more failed request in
    # every update.
    if client.profile.security.for_slot_routines:
        client.unlock()


def _slot_routine(client: EcuClient, routine: int, name: str, *, slots_before: SlotTable) -> None:
    step = f"31 01 {routine:04X} {name}"
    try:
        status = client.routine(routine, name, find_session=True)[0]
    except EcuRefused as error:
        if error.nrc != answers.CONDITIONS_NOT_CORRECT:
            raise
        slots = read_slots(client)
        text = f"it {describe_slots(slots)}"
        # A changed table means that the ECU was reset meanwhile, or that it carried out a request whose response was lost. Both are
        # reasons to begin the act again.
        if slots != slots_before:
            raise EcuLost(f"{answers.nrc_label(error.nrc)}: {text}", ecu=client.name, step=step) from error
        raise client.refusal(step, text, nrc=error.nrc) from error
    if status:
        raise client.refusal(step, f"status {status:02X}: it was not carried out")
