"""An HmiModel in memory, for tests: it shows the state that a test sets, and accepts decisions by the rule of the job states.

It is the seam's second implementation, not a fake gateway: nothing moves by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from otabench.bench.gateway.hmi.model import Choice, Decision, DecisionRefused, EcuView, Ending, HmiState
from otabench.proto.consent import Question
from otabench.proto.job_states import JobState

VIN = "W0TABENCH00000001"

IDLE_ECUS = (
    EcuView(ecu="engine", hardware_id="engine-mcu-a", version="1.0.0", from_version="1.0.0", slot_state="CONFIRMED"),
    EcuView(ecu="adas", hardware_id="adas-soc-b", version="1.0.0", from_version="1.0.0", slot_state="CONFIRMED"),
)

OFFER: dict[str, Any] = {
    "job_id": "job-1",
    "job_state": JobState.WAITING_FOR_APPROVAL,
    "question": Question.BOTH,
    "offer": "0f" * 32,
    "campaign_name": "Autumn release",
    "release_notes": "Smoother cold start.\nLane keeping holds the middle of narrow lanes better.",
    "download_bytes": 194_560,
    "expected_duration_s": 96.0,
    "duration_min_s": 96,
    "duration_max_s": 220,
    "progress_percent": 0,
    "is_reverting": False,
    "ending": None,
    "reason": "",
    "ecus": tuple(ecu.model_copy(update={"to_version": "2.0.0"}) for ecu in IDLE_ECUS),
}


class MemoryModel:
    """May be used from any thread; ``changes`` wakes its readers in their own loops."""

    def __init__(self, **first: Any) -> None:
        self._lock = threading.Lock()
        self._state = HmiState.model_validate(
            {"seq": 1, "vin": VIN, "cloud_reachable": True, "ecus": IDLE_ECUS, **first}
        )
        self._readers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.decisions: list[tuple[str, Decision]] = []
        self.choices: list[Choice] = []
        self.refuse_with = ""
        self.refuse_detail = ""

    @property
    def readers(self) -> int:
        """How many iterations over ``changes`` are open."""
        return len(self._readers)

    def show(self, **changes: Any) -> HmiState:
        """Change the state: the fields given, and ``seq`` by one unless it is given."""
        with self._lock:
            self._state = self._state.model_copy(update={"seq": self._state.seq + 1, **changes})
            for fresh, loop in self._readers.items():
                loop.call_soon_threadsafe(fresh.set)
            return self._state

    def reset(self) -> None:
        """No job, no decisions: as new, but for ``seq``, which goes on."""
        self.decisions.clear()
        self.choices.clear()
        self.refuse_with = self.refuse_detail = ""
        nothing = MemoryModel().snapshot()
        self.show(**{name: getattr(nothing, name) for name in HmiState.model_fields if name != "seq"})

    def ecu(self, name: str, **changes: Any) -> HmiState:
        """Change one ECU's row."""
        ecus = self.snapshot().ecus
        return self.show(ecus=tuple(ecu.model_copy(update=changes) if ecu.ecu == name else ecu for ecu in ecus))

    def snapshot(self) -> HmiState:
        with self._lock:
            return self._state

    async def changes(self) -> AsyncIterator[HmiState]:
        fresh = asyncio.Event()
        self._readers[fresh] = asyncio.get_running_loop()
        try:
            while True:
                fresh.clear()
                yield self.snapshot()
                await fresh.wait()
        finally:
            del self._readers[fresh]

    async def decide(self, job_id: str, choice: Choice) -> None:
        decision = choice.decision
        self.choices.append(choice)
        state = self.snapshot()
        if self.refuse_with:
            raise DecisionRefused(self.refuse_with, detail=self.refuse_detail)
        waits = state.question is not None and state.job_state in (JobState.WAITING_FOR_APPROVAL, JobState.DOWNLOADING)
        if state.job_id != job_id or (not waits and decision is not Decision.CANCEL):
            raise DecisionRefused("This update does not wait for a decision any more.")
        self.decisions.append((job_id, decision))
        match decision:
            case Decision.INSTALL:
                self.show(job_state=JobState.DOWNLOADING, question=None, deferred_until=None, can_be_canceled=True)
            case Decision.DECLINE:
                self.show(
                    job_state=JobState.REJECTED, question=None, ending=Ending.DECLINED, reason="the driver declined"
                )
            case Decision.LATER:
                self.show(deferred_until=4_102_444_800.0)
            case Decision.SCHEDULE:
                self.show(start_from=4_102_444_800.0, start_by=4_102_452_000.0)
            case Decision.CANCEL:
                self.show(job_state=JobState.CANCELED, ending=Ending.WITHDRAWN, reason="the driver canceled")
