"""Repeats one act on one ECU after a lost session or message, outside transfers.

A reset or a lost message is recognized by the answer, or by silence. Attempts and time are limited by the profile. An act begins again
from its start once the ECU answers; it first reads what the ECU has done (slot table F1A1) and does only the rest. These requests may
simply be sent again:

    85, 28, 3E, 10     may: they set a state
    22                 may: it changes nothing
    27                 from the seed on: a seed serves one key, and a seed of zeros means that the key was accepted
    31 FF01, 0203      may: they only judge
    31 0210, 0211      after a look: 22 conditionsNotCorrect where they were done already
    31 0212            after a look: a second one could leave another slot
    11 01              after a look: a second one would use up a boot of the trial

What is said no to is not asked again, nor is an ECU that answers 78 without end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.flashing.steps import simple_step
from otabench.bench.uds import answers
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import BusUnavailable, EcuLost, EcuRefused, FlashError
from otabench.bench.uds.identity import await_answer
from otabench.bench.uds.profile import Step

_T = TypeVar("_T")


def means_lost(error: FlashError) -> bool:
    """Return whether the same act may succeed once the ECU answers and its session is entered again. Pure."""
    if isinstance(error, EcuRefused):
        return error.nrc in answers.SESSION_LOST
    return isinstance(error, BusUnavailable) or (isinstance(error, EcuLost) and error.nrc is None)


def carry(client: EcuClient, act: Callable[[], _T], *, restore: Callable[[], None] = lambda: None) -> _T:
    """Do ``act``, and do it again where the ECU was reset, was away, or a message was lost.

    Args:
        client: the ECU.
        act: what is done; it must be safe to begin it again.
        restore: enters the session that the act needs, before the act begins again.

    Raises:
        FlashError: what the act raised last.
    """
    limits = client.profile.reentry
    deadline = Deadline(limits.max_duration_s)
    attempt = 1
    while True:
        try:
            if attempt > 1:
                restore()
            return act()
        except FlashError as error:
            if not means_lost(error) or attempt > limits.attempts or deadline.has_passed():
                raise
            client.emit("flash.reentry", step=error.step, attempt=attempt, of=limits.attempts, reason=str(error))
            _await(client, deadline, lost=error)
        attempt += 1


def enter_pre_programming(client: EcuClient) -> None:
    """Run the pre-programming steps on one ECU that was reset. Its preconditions were checked before.

    Raises:
        FlashError: see ``EcuClient.request``.
    """
    for step in client.profile.sequence.pre_programming:
        if step is not Step.CHECK_PRECONDITIONS:
            simple_step(client, step)


def enter_extended(client: EcuClient) -> None:
    """Enter the extended session (10 03) of one ECU.

    Raises:
        FlashError: see ``EcuClient.request``.
    """
    session = client.profile.sessions.extended
    client.enter_session(session, step=f"10 {session:02X} extended session")


def _await(client: EcuClient, deadline: Deadline, *, lost: FlashError) -> None:
    try:
        await_answer(client, deadline=deadline)
    except FlashError as error:
        raise EcuLost.of(lost, note="it does not come back") from error
