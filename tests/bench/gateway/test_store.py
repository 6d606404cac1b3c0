"""The gateway's database: transitions are atomic, in order, and limited to the shared table."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.gateway.errors import StartError
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.proto.job_states import JobState


def _move(store: Store, after: JobState, *, message: bytes = b"report", **facts: object) -> JobRecord:
    return store.transition("job-1", after, reason="why", now=2.0, facts=Facts(**facts), report=lambda _: message)  # type: ignore[typeddict-item]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "state" / "gateway.db")
    opened.adopt("job-1", state=JobState.CREATED, seq=0, now=1.0)
    return opened


def test_what_was_written_is_there_for_the_next_process(store: Store, tmp_path: Path) -> None:
    _move(store, JobState.CONFIRMING)
    _move(store, JobState.WAITING_FOR_APPROVAL, manifest=b"signed", from_versions={"engine": "1.0.0"}, asked_at=5.0)
    store.close()
    job = Store(tmp_path / "state" / "gateway.db").open_job()
    assert job is not None
    assert (job.state, job.seq, job.reason) == (JobState.WAITING_FOR_APPROVAL, 2, "why")
    assert (job.manifest, job.from_versions, job.asked_at) == (b"signed", {"engine": "1.0.0"}, 5.0)


def test_a_transition_that_the_table_does_not_have_writes_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match="job job-1: CREATED to VERIFYING is not in the table"):
        _move(store, JobState.VERIFYING)
    assert store.first_report() is None
    job = store.open_job()
    assert job is not None
    assert job.state is JobState.CREATED


def test_a_report_that_cannot_be_made_undoes_its_transition(store: Store) -> None:
    def broken(_: JobRecord) -> bytes:
        raise RuntimeError("no report")

    with pytest.raises(RuntimeError):
        store.transition("job-1", JobState.CONFIRMING, reason="", now=2.0, facts=Facts(), report=broken)
    job = store.open_job()
    assert job is not None
    assert job.state is JobState.CREATED


def test_reports_leave_in_order_and_stay_until_taken(store: Store) -> None:
    _move(store, JobState.CONFIRMING, message=b"1")
    _move(store, JobState.REJECTED, message=b"2")
    taken = []
    while (report := store.first_report()) is not None:
        assert store.first_report() == report
        taken.append(report.message)
        store.remove_report(report.number)
    assert taken == [b"1", b"2"]


def test_one_job_at_a_time_and_only_an_ended_one_is_closed(store: Store) -> None:
    with pytest.raises(ValueError, match="another job is open"):
        store.adopt("job-2", state=JobState.CREATED, seq=0, now=1.0)
    with pytest.raises(ValueError, match="has not ended"):
        store.close_job("job-1")
    _move(store, JobState.CANCELED)
    store.close_job("job-1")
    assert store.open_job() is None
    assert [job.job_id for job in store.ended_jobs()] == ["job-1"]
    store.adopt("job-2", state=JobState.CREATED, seq=0, now=3.0)


def test_a_restart_counter_begins_anew_in_each_state(store: Store) -> None:
    store.note("job-1", Facts(resumes=7))
    assert _move(store, JobState.CONFIRMING).resumes == 0


def test_a_damaged_file_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(StartError, match=r"gateway\.db: file is not a database; if the file is damaged, move it away"):
        Store(path)
