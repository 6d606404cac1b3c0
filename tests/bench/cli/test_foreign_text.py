"""Lines about jobs and ECUs hold texts of the vehicle, which must not steer the terminal."""

from __future__ import annotations

from otabench.bench.cli import campaigns, job_reports
from otabench.proto import ota_pb2

_EVIL = "\x1b]0;owned\x07\x1b[2J\njob-9  SUCCEEDED"


def test_what_a_vehicle_sends_stays_in_its_line() -> None:
    lines = [
        campaigns._job_line(ota_pb2.Job(job_id="job-1", vin="V", state="JOB_STATE_FAILED", reason=_EVIL)),
        campaigns._progress_line(ota_pb2.EcuProgress(ecu=_EVIL, phase=_EVIL)),
        job_reports._slot(ota_pb2.Slot(state="SLOT_STATE_TRIAL", version=_EVIL)),
        job_reports._slot(ota_pb2.Slot.FromString(b"\x08\x4d\x12\x051.0.0")),
    ]

    assert all(line.isprintable() for line in lines)
    assert lines[3] == "state 77 1.0.0"
