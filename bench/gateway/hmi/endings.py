"""How a job ended, as far as it matters to the driver: read from the job's record, so that every restart shows the same. Pure.

A final state alone is not enough: REJECTED is the driver's decision or a refused manifest, FAILED leaves the vehicle as it was or not.
"""

from __future__ import annotations

from otabench.bench.gateway.hmi.model import Ending
from otabench.bench.gateway.store import JobRecord
from otabench.proto.job_states import JobState


def ending(job: JobRecord) -> Ending | None:
    """Return how the job ended; None while it goes on."""
    match job.state:
        case JobState.SUCCEEDED:
            return Ending.INSTALLED
        case JobState.ROLLED_BACK:
            return Ending.UNDONE
        case JobState.FAILED:
            # The way back is recorded when it is begun, and the record is removed where no ECU was left changed.
            return Ending.NOT_BROUGHT_BACK if job.revert_reason else Ending.UNCHANGED
        case JobState.REJECTED:
            # The driver is asked only once a manifest is accepted.
            return Ending.REFUSED if job.manifest is None else Ending.DECLINED
        case JobState.CANCELED:
            return Ending.WITHDRAWN
        case JobState.TIMED_OUT:
            return Ending.OUT_OF_TIME
        case _:
            return None
