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
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.flashing.activation import Standing, describe_slots, standing
from otabench.bench.gateway.flashing.reentry import with_reentry
from otabench.bench.gateway.flashing.sequence_ecu import SequenceEcu
from otabench.bench.gateway.flashing.sequence_runs import POLL_PAUSE_S
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import BusUnavailable, FlashError, ProfileInvalid, TrialUnsteady
from otabench.bench.uds.flash_profiles import AnyProfile
from otabench.bench.uds.identity import read_slots
from otabench.bench.uds.slot_table import SlotTable

STEP = "soak"
_PATIENCE_S: Final = 10.0
"""How long a bus that is away is waited for, with a sequence profile. Named steps have ``reentry.max_duration_s``."""


def soak_time_s(profiles: Mapping[str, AnyProfile], configured_s: float | None) -> float:
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


class Trial(Protocol):
    """An ECU that runs new software, as the soak watches it."""

    @property
    def name(self) -> str:
        """Name of the ECU."""
        ...

    @property
    def version(self) -> str:
        """The version on trial."""
        ...

    @property
    def poll_s(self) -> float:
        """The longest time between two readings."""
        ...

    def begin(self) -> None:
        """Read what later readings are compared with.

        Raises:
            FlashError: the ECU did not answer.
        """
        ...

    def find_trouble(self) -> str:
        """Return why the trial is unsteady; an empty text if it is steady."""
        ...


class TableTrial:
    """A trial of an ECU with a slot table and named steps."""

    def __init__(self, client: EcuClient, image: EcuImage) -> None:
        self.name, self.version, self.poll_s = client.name, image.version, client.profile.soak.poll_s
        self._client = client
        self._before: SlotTable | None = None

    def begin(self) -> None:
        """See ``Trial``."""
        self._before = with_reentry(self._client, lambda: read_slots(self._client))

    def find_trouble(self) -> str:
        """See ``Trial``."""
        assert self._before is not None
        before, client = self._before, self._client
        return _find_trouble(
            lambda: find_unsteadiness(before, read_slots(client), self.version),
            patience_s=client.profile.reentry.max_duration_s,
            pause_s=client.profile.timing.poll_pause_s,
        )


class SequenceTrial:
    """A trial of an ECU with a sequence profile: it must keep running the version."""

    def __init__(self, ecu: SequenceEcu, image: EcuImage) -> None:
        self.name, self.version, self.poll_s = ecu.name, image.version, ecu.profile.soak.poll_s
        self._ecu = ecu
        self._image = image

    def begin(self) -> None:
        """See ``Trial``."""
        self._ecu.require_running(self._image)

    def find_trouble(self) -> str:
        """See ``Trial``."""
        return _find_trouble(self._require_running, patience_s=_PATIENCE_S, pause_s=POLL_PAUSE_S)

    def _require_running(self) -> str:
        self._ecu.require_running(self._image)
        return ""


def soak(trials: Sequence[Trial], time_s: float) -> None:
    """Watch the ECUs that run a trial for ``time_s``, all together. A time of 0 means no soak.

    Raises:
        TrialUnsteady: a trial was reset, gave way to another image, or its ECU went silent.
        FlashError: an ECU did not answer at the beginning.
    """
    if not trials or time_s <= 0:
        return
    for trial in trials:
        trial.begin()
    started = time.monotonic()
    # At least one poll is at the end of the time, so the last part of the soak is watched, too.
    polls = math.ceil(time_s / min(trial.poll_s for trial in trials))
    for poll in range(1, polls + 1):
        # Points in time are computed from the start, so that slow polls do not lengthen the soak.
        time.sleep(max(0.0, started + time_s * poll / polls - time.monotonic()))
        for trial in trials:
            _require_steady(trial, since=started)


def _require_steady(trial: Trial, *, since: float) -> None:
    # A second reading, because a single lost message does not end an update.
    trouble = trial.find_trouble() and trial.find_trouble()
    if trouble:
        after_s = time.monotonic() - since
        text = f"{trial.version} did not run steadily, found after {after_s:.1f} s: {trouble}"
        raise TrialUnsteady(text, ecu=trial.name, step=STEP)


def _find_trouble(read: Callable[[], str], *, patience_s: float, pause_s: float) -> str:
    """Return what ``read`` finds, or the error that it raises. Wait for a bus that is away."""
    deadline = Deadline(patience_s)
    while True:
        try:
            return read()
        except BusUnavailable as error:
            # The bus is away, so this is not the ECU's silence.
            if deadline.has_passed():
                return str(error)
        except FlashError as error:
            return str(error)
        time.sleep(pause_s)
