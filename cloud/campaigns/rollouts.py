"""Roll-outs in the database: open jobs, pause and resume. ``rollout.rules`` decides.

* A job of a roll-out is made held (``JobRow.held``), and is opened once. So its vehicle is taken, and no check-in
  is answered with it before.
* Every control plane opens jobs. The progress is written by compare-and-set, so what two of them decide at once is done once.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.campaigns.rollout_status import count_waves
from otabench.cloud.errors import Conflict, NotAllowed, UnknownThing
from otabench.cloud.rollout import rules
from otabench.cloud.rollout.rules import Progress, Rollout
from otabench.cloud.store.schema import CampaignRow, JobRow
from otabench.proto.job_states import JobState

WAITS_FOR_WAVE: Final = "waits for its wave of the roll-out"
"""The reason of a job that the roll-out has not opened yet."""
MAX_OPENED_TOGETHER: Final = 500
"""So many jobs are opened in one transaction, so that vehicles are answered in between."""
_RATE_WINDOW_S: Final = 60.0


def find_open(session: Session) -> list[str]:
    """Return the campaigns whose roll-outs still have jobs to open, and that do not wait for an approver."""
    wanted = select(CampaignRow.campaign_id).where(
        CampaignRow.rollout_open.is_(True),
        CampaignRow.needs_approval.is_(False) | (CampaignRow.approved_by != ""),
    )
    return list(session.scalars(wanted))


def advance(session: Session, campaign_id: str, *, now: float) -> list[tuple[str, str]]:
    """Do what the rules allow now: open a wave, open jobs, or pause. Return the opened jobs: pairs of job and VIN.

    Raises:
        UnknownThing: the campaign does not exist.
        Conflict: another control plane was faster.
    """
    row = _load(session, campaign_id)
    rollout, progress = Rollout.model_validate_json(row.rollout), Progress.model_validate_json(row.rollout_progress)
    counts = count_waves(session, campaign_id)
    decision = rules.decide(
        rollout,
        progress,
        counts,
        opened_last_minute=_count_opened(session, campaign_id, since=now - _RATE_WINDOW_S),
        now=now,
    )
    chosen = _choose(session, campaign_id, decision)
    after = decision.progress.model_copy(update={"opened_jobs": progress.opened_jobs + len(chosen)})
    held = sum(wave.held for wave in counts)
    if after == progress and held:
        return []
    # Before the campaign's row: approvals lock in this order too.
    jobs.lock_vehicles(session, [vin for _, vin in chosen])
    _write(session, row, after, is_open=held > len(chosen))
    opened = session.execute(
        update(JobRow)
        .where(
            JobRow.job_id.in_([job_id for job_id, _ in chosen]),
            JobRow.held.is_(True),
            JobRow.state == JobState.CREATED,
        )
        .values(held=False, reason="", opened_at=now, updated_at=now)
        .returning(JobRow.job_id, JobRow.vin)
        .execution_options(synchronize_session=False)
    )
    # A job that was canceled meanwhile stays so.
    return [(job_id, vin) for job_id, vin in opened]


def pause(session: Session, campaign_id: str, *, reason: str) -> None:
    """Open no more jobs until the roll-out is resumed. Repeating this changes nothing.

    Raises:
        UnknownThing: the campaign does not exist.
        NotAllowed: it has no roll-out, or all of its jobs are open.
        Conflict: a control plane opens jobs at this moment.
    """
    _change(session, campaign_id, lambda progress: rules.pause(progress, reason or "paused by the operator"))


def resume(session: Session, campaign_id: str, *, now: float) -> None:
    """Continue a paused roll-out. What has paused it is accepted (``rules.resume``). Repeating this changes nothing.

    Raises:
        UnknownThing: the campaign does not exist.
        NotAllowed: it has no roll-out, all of its jobs are open, or its end time has passed.
        Conflict: a control plane opens jobs at this moment.
    """
    row = _load(session, campaign_id)
    end_at = Rollout.model_validate_json(row.rollout).end_at
    if end_at and now >= end_at:
        raise NotAllowed(
            f"campaign {campaign_id}: the end time of its roll-out has passed: create a campaign for the others"
        )

    def change(progress: Progress) -> Progress:
        return rules.resume(progress, count_waves(session, campaign_id)) if progress.paused else progress

    _change(session, campaign_id, change)


def _change(session: Session, campaign_id: str, change: Callable[[Progress], Progress]) -> None:
    row = _load(session, campaign_id)
    if not row.rollout_open:
        raise NotAllowed(f"campaign {campaign_id}: its roll-out has ended, all jobs were opened or canceled")
    progress = Progress.model_validate_json(row.rollout_progress)
    if (after := change(progress)) != progress:
        _write(session, row, after, is_open=True)


def _load(session: Session, campaign_id: str) -> CampaignRow:
    row = session.get(CampaignRow, campaign_id)
    if row is None:
        raise UnknownThing(f"there is no campaign {campaign_id!r}")
    if not row.rollout:
        raise NotAllowed(
            f"campaign {campaign_id} has no roll-out, all vehicles were offered it at once: cancel it to stop it"
        )
    return row


def _write(session: Session, row: CampaignRow, after: Progress, *, is_open: bool) -> None:
    written = session.execute(
        update(CampaignRow)
        .where(CampaignRow.campaign_id == row.campaign_id, CampaignRow.rollout_progress == row.rollout_progress)
        .values(rollout_progress=after.model_dump_json(), rollout_open=is_open)
        .returning(CampaignRow.campaign_id)
        .execution_options(synchronize_session=False)
    )
    if written.scalar_one_or_none() is None:
        raise Conflict(f"the roll-out of campaign {row.campaign_id} has changed meanwhile: try again")


def _choose(session: Session, campaign_id: str, decision: rules.Decision) -> list[tuple[str, str]]:
    """Return the held jobs to open, in the order of the campaign's vehicles."""
    if not decision.open_jobs:
        return []
    held = select(JobRow.job_id, JobRow.vin).where(
        JobRow.campaign_id == campaign_id,
        JobRow.held.is_(True),
        JobRow.state == JobState.CREATED,
        JobRow.wave < decision.progress.open_waves,
    )
    limited = held.order_by(JobRow.position).limit(min(decision.open_jobs, MAX_OPENED_TOGETHER))
    return [(job_id, vin) for job_id, vin in session.execute(limited)]


def _count_opened(session: Session, campaign_id: str, *, since: float) -> int:
    opened = select(func.count()).where(JobRow.campaign_id == campaign_id, JobRow.opened_at > since)
    return session.scalar(opened) or 0
