"""Read roll-outs from the database: what was asked for, the progress, and the counts of each wave.

Every function works inside the caller's transaction. ``rollouts`` changes them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from otabench.cloud.rollout.messages import status_message
from otabench.cloud.rollout.rules import Progress, Rollout, WaveCounts
from otabench.cloud.store.schema import CampaignRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

FAILURES: Final = frozenset({JobState.FAILED, JobState.ROLLED_BACK, JobState.TIMED_OUT})
"""The states that count as failures."""
_LEFT_OUT: Final = frozenset({JobState.CANCELED, JobState.REJECTED})


def count_waves(session: Session, campaign_id: str) -> list[WaveCounts]:
    """Return the counts of each wave of a campaign's roll-out."""
    columns = (JobRow.wave, JobRow.state, JobRow.held)
    grouped = select(*columns, func.count()).where(JobRow.campaign_id == campaign_id).group_by(*columns)
    found: dict[int, dict[str, int]] = {}
    for wave, name, held, number in session.execute(grouped):
        counts = found.setdefault(wave, dict.fromkeys(("jobs", "held", "succeeded", "failed", "left_out"), 0))
        state = JobState(name)
        counts["jobs"] += number
        counts["held"] += number if held and state is JobState.CREATED else 0
        counts["succeeded"] += number if state is JobState.SUCCEEDED else 0
        counts["failed"] += number if state in FAILURES else 0
        counts["left_out"] += number if state in _LEFT_OUT else 0
    return [WaveCounts(**found[wave]) for wave in sorted(found)]


def read_status(session: Session, campaign: CampaignRow) -> ota_pb2.RolloutStatus | None:
    """Return the message that shows how far a campaign's roll-out has come. None: it has none."""
    if not campaign.rollout:
        return None
    return status_message(
        Rollout.model_validate_json(campaign.rollout),
        Progress.model_validate_json(campaign.rollout_progress),
        count_waves(session, campaign.campaign_id),
    )
