"""The soak: how long all trial images must run and answer, together, before the first of them is confirmed.

Unsteady means: a trial with fewer boots left than before (it was reset), another image, or silence that outlasts a repeated request.
One such answer is requested again before it counts; a bus that is away is waited for. What an ECU did before the soak does not count.
The gateway's configuration sets the duration, otherwise the longest of the flash profiles. ``activation`` confirms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.flashing.activation import Standing, describe, standing
from otabench.bench.gateway.flashing.reentry import carry
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import BusUnavailable, FlashError, ProfileInvalid, TrialUnsteady
from otabench.bench.uds.identity import read_slots
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.slot_table import SlotTable

STEP = "soak"


def soak_time_s(profiles: Mapping[str, Profile], configured_s: float | None) -> float:
    """Return how long the ECUs of these profiles (by the ECU's name) soak. Pure.

    Raises:
        ProfileInvalid: longer than one of them lets a trial run unconfirmed.
    """
    longest_s = max((profile.soak.time_s for profile in profiles.values()), default=0.0)
    time_s = longest_s if configured_s is None else configured_s
    for ecu, profile in profiles.items():
        try:
            profile.soak.require_fits(time_s)
        except ValueError as error:
            raise ProfileInvalid(str(error), ecu=ecu, step=STEP) from error
    return time_s


def unsteady(before: SlotTable, now: SlotTable, version: str) -> str:
    """Return what has happened to a trial between two polls, in words; empty where it ran on. Pure."""
    if standing(now, version) is not Standing.TRIAL:
        return f"it {describe(now)}"
    if now.boots_left != before.boots_left:
        return f"it was reset: it had {before.boots_left} boots left, and has {now.boots_left}"
    return ""


def soak(trials: Sequence[tuple[EcuClient, EcuImage]], time_s: float) -> None:
    """Watch ECUs that run their images on trial for ``time_s``, all together; 0: do not watch at all.

    Raises:
        TrialUnsteady: one of them did not run on.
        FlashError: one did not answer at the beginning.
    """
    if not trials or time_s <= 0:
        return
    before = {client.name: _first_look(client) for client, _ in trials}
    started = time.monotonic()
    polls = math.ceil(time_s / min(client.profile.soak.poll_s for client, _ in trials))
    for poll in range(1, polls + 1):
        time.sleep(max(0.0, started + time_s * poll / polls - time.monotonic()))
        for client, image in trials:
            _require_steady(client, image, before[client.name], since=started)


def _first_look(client: EcuClient) -> SlotTable:
    return carry(client, lambda: read_slots(client))


def _require_steady(client: EcuClient, image: EcuImage, before: SlotTable, *, since: float) -> None:
    trouble = _look(client, image, before) and _look(client, image, before)
    if trouble:
        after_s = time.monotonic() - since
        text = f"{image.version} did not run on, seen after {after_s:.1f} s: {trouble}"
        raise TrialUnsteady(text, ecu=client.name, step=STEP)


def _look(client: EcuClient, image: EcuImage, before: SlotTable) -> str:
    deadline = Deadline(client.profile.reentry.max_duration_s)
    while True:
        try:
            return unsteady(before, read_slots(client), image.version)
        except BusUnavailable as error:  # the bus is away, so this is not the ECU's silence
            if deadline.has_passed():
                return str(error)
        except FlashError as error:
            return str(error)
        time.sleep(client.profile.timing.poll_pause_s)
