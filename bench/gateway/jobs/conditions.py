"""Whether the vehicle meets a job's conditions: read from the ECUs, judged, shown to the driver.

Rules:

* They are judged while the driver is asked, when the driver chooses Install now, before anything is written, and before anything is
  activated. They are read at no other time, because other testers use the bus, too.
* A lost condition pauses the job before the next step. When the manifest's limit has passed, the job ends, and nothing that runs has
  changed.
* Once activation has begun it is never interrupted: half of the ECUs would run the new version.
* A value that cannot be read counts as not met.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.hmi.model import ConditionView
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.gateway.trust.manifest import Plan
from otabench.bench.gateway.vehicle import Vehicle
from otabench.proto.conditions import Condition, ConditionSource, Quantity, describe, unmet
from otabench.proto.trace import TraceWriter

_log = logging.getLogger("gateway.job")


class VehicleConditions:
    """The conditions of the open job.

    Args:
        sources: where the vehicle takes each quantity from.
        vehicle: the ECUs, asked on the worker's thread.
        poll_s: interval between two readings.
    """

    def __init__(
        self,
        sources: Mapping[Quantity, ConditionSource],
        *,
        vehicle: Vehicle,
        worker: Worker,
        dashboard: Dashboard,
        trace: TraceWriter,
        poll_s: float,
    ) -> None:
        self.poll_s = poll_s
        self._sources = dict(sources)
        self._vehicle = vehicle
        self._worker = worker
        self._dashboard = dashboard
        self._trace = trace
        self._last: tuple[ConditionView, ...] = ()

    def problem(self, plan: Plan) -> str:
        """Return why this vehicle can never meet the plan's conditions: it does not measure a quantity. Empty if it can."""
        unknown = sorted({str(each.quantity) for each in conditions_of(plan)} - {str(each) for each in self._sources})
        if not unknown:
            return ""
        return f"the campaign has conditions on {', '.join(unknown)}, which this vehicle does not measure"

    async def unmet(self, job_id: str, plan: Plan) -> list[str]:
        """Read the quantities, show the conditions to the driver, and return those that are not met, in words."""
        conditions = conditions_of(plan)
        if not conditions:
            return []
        wanted = {each.quantity: self._sources[each.quantity] for each in conditions if each.quantity in self._sources}
        values = await self._worker.submit(self._vehicle.read_conditions, wanted, job_id=job_id)
        self._show(job_id, conditions, values)
        return [describe(each, values.get(each.quantity)) for each in unmet(conditions, values)]

    async def wait(self, job_id: str, plan: Plan) -> str:
        """Wait until all conditions are met.

        Returns:
            Empty; or why the job ends: the conditions were not met again within the manifest's limit.
        """
        limit_s = plan.custom.conditions_limit_s
        deadline = Deadline(limit_s)
        try:
            while problems := await self.unmet(job_id, plan):
                if deadline.has_passed():
                    return f"conditions were not met within {limit_s:g} s: {'; '.join(problems)}"
                self._dashboard.show(is_paused=True)
                await asyncio.sleep(min(self.poll_s, max(deadline.remaining_s(), 0.01)))
        finally:
            self._dashboard.show(is_paused=False)
        # Recorded even if nothing has changed since the last time: this is the proof that they held at this moment.
        if plan.custom.conditions:
            self._trace.emit("conditions.judged", job_id=job_id, unmet=[])
        return ""

    def _show(self, job_id: str, conditions: Sequence[Condition], values: Mapping[Quantity, float]) -> None:
        views = tuple(_view(each, values.get(each.quantity)) for each in conditions)
        self._dashboard.show(conditions=views)
        if [each.is_met for each in views] != [each.is_met for each in self._last]:
            # Only changes: the values themselves are in the exchanges with the ECUs already.
            missing = [describe(each, values.get(each.quantity)) for each in unmet(conditions, values)]
            self._trace.emit("conditions.judged", job_id=job_id, unmet=missing)
            _log.info("job %s: %s", job_id, "; ".join(missing) or "all conditions are met")
        self._last = views


def conditions_of(plan: Plan) -> list[Condition]:
    """Return the conditions in a plan's manifest."""
    return [Condition.parse(text) for text in plan.custom.conditions]


def _view(condition: Condition, value: float | None) -> ConditionView:
    return ConditionView(
        quantity=condition.quantity,
        sign=condition.sign,
        limit=condition.limit,
        value=value,
        is_met=condition.is_met(value),
    )
