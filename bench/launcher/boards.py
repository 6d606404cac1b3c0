"""Real boards: their state, read over UDS, as a simulator reports it through its control port.

A board is probed once before the gateway starts, because a bus has one tester at a time. From then on its state comes from the
gateway's own readings, the ``ecu.identity`` events in the trace. A board that does not answer, or that is not the one of the bench
file, keeps the bench from coming up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from otabench.bench.clients.job_watch import TraceTail
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BoardError, BoardSilent, BoardUnfit, WrongBoard
from otabench.bench.finding import fail
from otabench.bench.uds import answers
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuRefused, FlashError, ProfileInvalid

_PROBE_INTERVAL_S: Final = 0.2
NO_KEYS: Final = fail(
    "keys",
    "a board trusts the keys it was given, and this file names none",
    "add `keys: DIR` (`otabench keys init DIR --bench FILE` makes them; DIR/image/signing.pub.pem and DIR/director/root.json "
    "go into the board)",
)


class BoardFacts:
    """The last reading of every board.

    Args:
        trace: the run's trace.
        boards: names.
    """

    def __init__(self, trace: Path, boards: Sequence[str]) -> None:
        self._tail = TraceTail(trace)
        self._boards = frozenset(boards)
        self._states: dict[str, dict[str, Any]] = {}
        self._read_ns: dict[str, int] = {}

    def learn(self, ecu: str, identity: Mapping[str, Any]) -> None:
        """Store a reading: ``active_slot`` and ``slots`` as in an ``ecu.identity`` event."""
        self._states[ecu] = _state(ecu, identity)
        self._read_ns[ecu] = time.monotonic_ns()

    def states(self, *, since_ns: int = 0) -> dict[str, dict[str, Any]]:
        """Return the last reading of each board, in the form of a control port's ``state``; power is unknown.

        Args:
            since_ns: readings before that moment of the monotonic clock are left out.
        """
        for event in self._tail.new_events():
            if event.event == "ecu.identity" and event.component == "gateway" and event.ecu in self._boards:
                self._states[event.ecu] = _state(event.ecu, event.data)
                # The time of the event, not of this call: the gateway may have read the board long before.
                self._read_ns[event.ecu] = event.mono_ns
        return {ecu: state for ecu, state in self._states.items() if self._read_ns[ecu] >= since_ns}


def _state(ecu: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    slots = [{"state": str(slot["state"]), "version": str(slot["version"])} for slot in identity["slots"]]
    return {
        "name": ecu,
        "mode": "application",
        "active_slot": int(identity["active_slot"]),
        "slots": slots,
        "faults": [],
    }


def _unusable(endpoint: EcuEndpoint, error: FlashError) -> BoardError:
    """Return an error with advice for what happened: nothing is wrong with the wires if the board has answered."""
    name = endpoint.name
    if isinstance(error, BusUnavailable | ProfileInvalid):
        return BoardError(f"board {name}: {str(error).removeprefix(f'{name}: ')}", ecu=name)
    if isinstance(error, EcuRefused | EcuContradicts) or error.nrc is not None:
        if error.nrc in answers.NOT_SUPPORTED and error.step.startswith("22 "):
            remedy = (
                f"correct the identifier in the flash profile of ecus.{name}, or describe an ECU that does not have it by sequences: "
                "docs/boards.md"
            )
        else:
            remedy = f"correct the flash profile of ecus.{name}, or the board"
        return BoardUnfit(name, str(error), remedy=remedy)
    return BoardSilent(name, str(error))


def ask(endpoint: EcuEndpoint, *, within_s: float) -> dict[str, Any]:
    """Ask one board for its identity, until it answers.

    Args:
        endpoint: as the gateway will reach it.
        within_s: how long to wait for a board that was switched on a moment ago and still boots.

    Returns:
        The data of an ``ecu.identity`` event.

    Raises:
        BoardSilent: no answer.
        BoardUnfit: its answers are not what its flash profile requires.
        BoardError: the bus or the flash profile cannot be used.
        WrongBoard: another board than the bench file's answers.
    """
    # Here, because udsoncan is slow to import and not every bench has a board.
    from otabench.bench.gateway.flashing import probe

    deadline = Deadline(within_s)
    while True:
        try:
            found = probe(endpoint)
            break
        except FlashError as error:
            # Silence may be a board that boots, so ask again. A negative response would stay the same.
            if deadline.has_passed() or not error.retryable:
                raise _unusable(endpoint, error) from error
        deadline.pause(_PROBE_INTERVAL_S)
    for key, read, expected in (
        ("serial", found.serial, endpoint.serial),
        ("hardware_id", found.hardware_id, endpoint.hardware_id),
    ):
        if read != expected:
            raise WrongBoard(endpoint.name, key, read=read, expected=expected)
    return {
        "active_slot": found.active_slot,
        "software_version": found.software_version,
        "slots": [{"state": str(slot.state), "version": slot.version} for slot in found.slots],
    }


def try_session(endpoint: EcuEndpoint) -> None:
    """Enter the session in which an update begins, and leave it.

    Raises:
        BoardError: the board refuses it, or does not answer.
    """
    from otabench.bench.gateway.flashing import session_check

    try:
        session_check.try_session(endpoint)
    except FlashError as error:
        raise _unusable(endpoint, error) from error
