"""Repeat an act on one ECU after a lost session or message. Transfers have their own repeats (``transfer``).

A reset or a lost message shows in a response, or in silence. The profile limits attempts and time. An act starts again as soon as the ECU
answers. It reads the slot table (F1A1) first and does only what is still to be done. Which requests may be sent twice:

    85, 28, 3E, 10     yes: they set a state
    22                 yes: it changes nothing
    27                 yes, from the seed on: a seed serves one key, and a seed of zeros means that the key was accepted
    31 FF01, 0203      yes: they only judge
    31 0210, 0211      after reading F1A1: done already, they are refused with 22 conditionsNotCorrect
    31 0212            after reading F1A1: a second one could leave another slot
    11 01              after reading F1A1: a second one would use up a boot of the trial

A refused request is not repeated, and neither is one that the ECU answers with 78 without end.
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
    """Return whether the same act may succeed as soon as the ECU answers and its session is entered again."""
    if isinstance(error, EcuRefused):
        return error.nrc in answers.SESSION_LOST
    return isinstance(error, BusUnavailable) or (isinstance(error, EcuLost) and error.nrc is None)


def with_reentry(client: EcuClient, act: Callable[[], _T], *, restore: Callable[[], None] = lambda: None) -> _T:
    """Call ``act``, and call it again if the ECU was reset or away, or a message was lost.

    For example, confirm an image even if the ECU is reset in the middle::

        identity = with_reentry(client, lambda: _confirm(client, image))

    Args:
        client: the ECU.
        act: the function to call. It must be safe to start again at any point.
        restore: enters the session that the act needs; called before each repetition.

    Returns:
        the result of ``act``.

    Raises:
        FlashError: the last error of ``act``.
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
            # ``attempts`` counts repetitions, so the first call is not one of them.
            if not means_lost(error) or attempt > limits.attempts or deadline.has_passed():
                raise
            client.emit("flash.reentry", step=error.step, attempt=attempt, of=limits.attempts, reason=str(error))
            _await(client, deadline, lost=error)
        attempt += 1


def enter_pre_programming(client: EcuClient) -> None:
    """Run the pre-programming steps again on one ECU that was reset, except the preconditions: they have been checked before.

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
