"""The soak: all trial images must run and answer together for a while before the first of them is confirmed.

Rules:

* A trial is unsteady if it has fewer boots left than before (it was reset), if another image runs, or if the ECU is silent.
* An unsteady reading counts only if a second reading is unsteady too. A single lost message does not end an update.
* While the bus is away, wait: that is not the ECU's silence.
* Only the time of the soak counts. Resets before it do not.
* The gateway's configuration sets the duration. By default it is the longest duration of the ECUs' flash profiles.

``activation`` confirms the images afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.flashing.activation import Standing, describe_slots, standing
from otabench.bench.gateway.flashing.reentry import with_reentry
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import BusUnavailable, FlashError, ProfileInvalid, TrialUnsteady
from otabench.bench.uds.identity import read_slots
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.slot_table import SlotTable

STEP = "soak"


def soak_time_s(profiles: Mapping[str, Profile], configured_s: float | None) -> float:
    """Return how long ECUs with these profiles soak together.

    Args:
        profiles: each ECU's flash profile, by the ECU's name.
        configured_s: the gateway's own duration, if it has one.

    Raises:
        ProfileInvalid: one of the ECUs would give up its unconfirmed trial before the end.
    """
    longest_s = max((profile.soak.time_s for profile in profiles.values()), default=0.0)
    time_s = longest_s if configured_s is None else configured_s
    for ecu, profile in profiles.items():
        try:
            profile.soak.require_fits(time_s)
        except ValueError as error:
            raise ProfileInvalid(str(error), ecu=ecu, step=STEP) from error
    return time_s


def find_unsteadiness(before: SlotTable, now: SlotTable, version: str) -> str:
    """Return why a trial is unsteady, from two readings of its slot table; an empty text if it is steady."""
    if standing(now, version) is not Standing.TRIAL:
        return f"it {describe_slots(now)}"
    if now.boots_left != before.boots_left:
        return f"it was reset: it had {before.boots_left} boots left, and has {now.boots_left}"
    return ""


def soak(trials: Sequence[tuple[EcuClient, EcuImage]], time_s: float) -> None:
    """Watch the ECUs that run a trial for ``time_s``, all together. A time of 0 means no soak.

    Raises:
        TrialUnsteady: a trial was reset, gave way to another image, or its ECU went silent.
        FlashError: an ECU did not answer at the beginning.
    """
    if not trials or time_s <= 0:
        return
    before = {client.name: _read_baseline(client) for client, _ in trials}
    started = time.monotonic()
    # At least one poll is at the end of the time, so the last part of the soak is watched, too.
    polls = math.ceil(time_s / min(client.profile.soak.poll_s for client, _ in trials))
    for poll in range(1, polls + 1):
        # Points in time are computed from the start, so that slow polls do not lengthen the soak.
        time.sleep(max(0.0, started + time_s * poll / polls - time.monotonic()))
        for client, image in trials:
            _require_steady(client, image, before[client.name], since=started)


def _read_baseline(client: EcuClient) -> SlotTable:
    return with_reentry(client, lambda: read_slots(client))


def _require_steady(client: EcuClient, image: EcuImage, before: SlotTable, *, since: float) -> None:
    trouble = _poll_trial(client, image, before) and _poll_trial(client, image, before)
    if trouble:
        after_s = time.monotonic() - since
        text = f"{image.version} did not run steadily, found after {after_s:.1f} s: {trouble}"
        raise TrialUnsteady(text, ecu=client.name, step=STEP)


def _poll_trial(client: EcuClient, image: EcuImage, before: SlotTable) -> str:
    deadline = Deadline(client.profile.reentry.max_duration_s)
    while True:
        try:
            return find_unsteadiness(before, read_slots(client), image.version)
        except BusUnavailable as error:
            # The bus is away, so this is not the ECU's silence.
            if deadline.has_passed():
                return str(error)
        except FlashError as error:
            return str(error)
        time.sleep(client.profile.timing.poll_pause_s)
