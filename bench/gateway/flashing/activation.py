"""What follows staging, one ECU at a time: activate, verify, confirm, revert, judged by the slot table alone.

Every act looks first and does only what is still to be done, so that each may be repeated after any interruption, as
``reentry`` does where the ECU was reset or a message was lost:

    active slot          other slot                activate        revert
    wanted, TRIAL/CONF.  any                       nothing         0212, reset
    another version      STAGED, wanted            FF01, 0210      nothing
    another version      TRIAL, wanted (pending)   reset           0212 (cancels it)
    another version      anything else             error           nothing
    wanted, INVALID      CONFIRMED (left already)  error           reset
"""

from __future__ import annotations

import time
from contextlib import suppress
from enum import StrEnum, auto
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.flashing.reentry import carry, enter_extended, enter_pre_programming
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
    """Where an ECU stands with regard to one version."""

    TRIAL = auto()
    CONFIRMED = auto()
    PENDING = auto()
    STAGED = auto()
    LEFT = auto()
    """Runs still, given up by 0212: the next reset leaves it."""
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
    """Judge a slot table. Pure."""
    if same_version(slots.active.version, version) and slots.active.state in _ACTIVE:
        return _ACTIVE[slots.active.state]
    if slots.other.state is SlotState.INVALID:
        return Standing.ROLLED_BACK
    if same_version(slots.other.version, version):
        if slots.other.state is SlotState.TRIAL:
            return Standing.PENDING
        if slots.other.state is SlotState.STAGED:
            return Standing.STAGED
    return Standing.OTHER


def describe(slots: SlotTable) -> str:
    """ "runs 1.0.0 (CONFIRMED), the other slot is INVALID"."""
    other = f"{slots.other.state} {slots.other.version}".strip()
    return f"runs {slots.active.version or 'nothing readable'} ({slots.active.state}), the other slot is {other}"


def prepare(client: EcuClient, image: EcuImage) -> bool:
    """Check dependencies. Return False where the ECU runs the version already.

    Raises:
        FlashError: refused, lost, or the slot table holds no such image.
    """
    return carry(client, lambda: _prepare(client, image), restore=lambda: enter_pre_programming(client))


def _prepare(client: EcuClient, image: EcuImage) -> bool:
    step = "activate"
    slots = read_slots(client)
    where = standing(slots, image.version)
    if where in _RUNS:
        return False
    if where is Standing.PENDING:
        return True
    if where is not Standing.STAGED:
        raise EcuContradicts(
            f"{image.version} is not staged: it {describe(slots)}",
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
    """Activate the slot (31 01 0210) where it is still STAGED.

    Raises:
        FlashError: refused or lost.
    """

    def act() -> None:
        slots = read_slots(client)
        if standing(slots, image.version) is Standing.STAGED:
            _slot_routine(client, client.profile.routines.activate, "activate", looked=slots)

    carry(client, act, restore=lambda: enter_pre_programming(client))


def reset_into_trial(client: EcuClient, image: EcuImage) -> None:
    """Reset the ECU (11 01) where the trial is not running yet. ``await_version`` waits for an ECU that does not come back in time.

    Raises:
        EcuRefused: it does not reset.
    """
    _reset(client, image, unless=_RUNS)


def _reset(client: EcuClient, image: EcuImage, *, unless: frozenset[Standing]) -> None:
    """Reset the ECU (11 01), unless it is there already: resetting a running trial would use up one of its boots."""
    kind = client.profile.reset.type
    step = f"11 {kind:02X} reset"

    def act() -> None:
        if standing(read_slots(client), image.version) in unless:
            return
        try:
            client.request(bytes((0x11, kind)), step=step)
        except EcuContradicts as error:
            raise EcuLost.of(error) from error

    with suppress(EcuLost, BusUnavailable):  # it may boot for longer; the caller that waits for it reports what it runs
        carry(client, act, restore=lambda: enter_extended(client))
    client.close()


def await_version(client: EcuClient, version: str, *, deadline: Deadline) -> EcuIdentity:
    """Wait until the ECU runs ``version`` in a TRIAL or CONFIRMED slot.

    Raises:
        RolledBack: it runs another one and has given this one up.
        EcuLost: it did not come up before ``deadline``.
        EcuContradicts: it came up with something else.
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
            seen = describe(slots)
            if where is Standing.ROLLED_BACK:
                raise RolledBack(
                    f"{version} did not come up and was given up by the bootloader: it {seen}",
                    ecu=client.name,
                    step=step,
                )
        except RolledBack:
            raise
        except FlashError as error:
            seen = seen or str(error)
        if deadline.has_passed():
            break
        time.sleep(timing.poll_pause_s)
    text = f"{version} did not come up in time: {seen}"
    raise EcuLost(text, ecu=client.name, step=step)


def confirm(client: EcuClient, image: EcuImage) -> EcuIdentity:
    """Confirm the image (31 01 0211) unless it is confirmed already, and read back that it is.

    Raises:
        RolledBack: it runs another version.
        FlashError: refused, lost, or not confirmed afterwards.
    """
    return carry(client, lambda: _confirm(client, image))


def _confirm(client: EcuClient, image: EcuImage) -> EcuIdentity:
    routine = client.profile.routines.confirm
    slots = _require_running(client, image)
    if standing(slots, image.version) is Standing.TRIAL:
        _enter_for_slot_routine(client)
        _slot_routine(client, routine, "confirm", looked=slots)
    identity = read_identity(client)
    if identity.active.state is not SlotState.CONFIRMED:
        raise client.contradiction(f"31 01 {routine:04X} confirm", f"answered done, and is {identity.active.state}")
    return identity


def require_running(client: EcuClient, image: EcuImage) -> None:
    """Check that the ECU runs the image's version in a TRIAL or CONFIRMED slot.

    Raises:
        RolledBack: it runs another version.
        FlashError: see ``EcuClient.read``.
    """
    carry(client, lambda: _require_running(client, image))


def _require_running(client: EcuClient, image: EcuImage) -> SlotTable:
    slots = read_slots(client)
    if standing(slots, image.version) not in _RUNS:
        text = f"{image.version} does not run any more: it {describe(slots)}"
        raise RolledBack(text, ecu=client.name, step="confirm")
    return slots


def revert(client: EcuClient, image: EcuImage, *, boot_timeout_s: float) -> EcuIdentity:
    """Bring an ECU that runs (or is about to run) the image's version back to the slot before.

    Raises:
        FlashError: it could not be reverted; the message names what it runs.
    """
    await_slots(client, deadline=Deadline(boot_timeout_s))
    carry(client, lambda: _leave(client, image))
    _reset(client, image, unless=_LEFT_BEHIND)
    deadline = Deadline(boot_timeout_s)
    while True:
        slots = await_slots(client, deadline=deadline)
        if standing(slots, image.version) in _LEFT_BEHIND:
            return read_identity(client)
        if deadline.has_passed():
            step = f"31 01 {client.profile.routines.revert:04X} revert"
            raise client.contradiction(step, f"answered done, and {describe(slots)}")
        time.sleep(client.profile.timing.poll_pause_s)


def _leave(client: EcuClient, image: EcuImage) -> None:
    """Revert the image (31 01 0212) where it runs or is about to."""
    slots = read_slots(client)
    if standing(slots, image.version) not in _TO_BE_LEFT:
        return
    _enter_for_slot_routine(client)
    try:
        _slot_routine(client, client.profile.routines.revert, "revert", looked=slots)
    except EcuRefused as error:
        raise EcuRefused.of(error, note=f"it {describe(slots)}") from error


def await_slots(client: EcuClient, *, deadline: Deadline) -> SlotTable:
    """Return the slot table, as soon as the ECU sends it.

    Raises:
        EcuLost: it did not before ``deadline``.
        BusUnavailable: the bus stayed away as long.
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
    if client.profile.security.for_slot_routines:
        client.unlock()


def _slot_routine(client: EcuClient, routine: int, name: str, *, looked: SlotTable) -> None:
    step = f"31 01 {routine:04X} {name}"
    try:
        status = client.routine(routine, name, find_session=True)[0]
    except EcuRefused as error:
        if error.nrc != answers.CONDITIONS_NOT_CORRECT:
            raise
        slots = read_slots(client)
        text = f"it {describe(slots)}"
        if slots != looked:  # it was reset in between, or a request whose answer was lost has been done
            raise EcuLost(f"{answers.nrc_label(error.nrc)}: {text}", ecu=client.name, step=step) from error
        raise client.refusal(step, text, nrc=error.nrc) from error
    if status:
        raise client.refusal(step, f"status {status:02X}: not done")
