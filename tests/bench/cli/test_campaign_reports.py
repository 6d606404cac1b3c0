"""`otabench campaign show`: who says what an ECU runs, and which reports were not believed."""

from __future__ import annotations

from otabench.bench.cli.job_reports import report_lines
from otabench.proto import ota_pb2


def test_each_ecu_is_shown_with_who_vouches_for_it() -> None:
    job = ota_pb2.Job(
        ecus=[
            ota_pb2.EcuReport(
                ecu="engine", hardware_id="mcu", software_version="2.0.0", evidence=ota_pb2.EVIDENCE_SIGNED_BY_ECU
            ),
            ota_pb2.EcuReport(
                ecu="board", hardware_id="b", software_version="7", evidence=ota_pb2.EVIDENCE_REPORTED_BY_GATEWAY
            ),
        ]
    )
    engine, board = report_lines(job)
    assert "engine (mcu): 2.0.0 (signed by the ECU)" in engine
    assert "board (b): 7 (reported by the gateway)" in board


def test_dropped_reports_are_counted_and_foreign_text_is_escaped() -> None:
    job = ota_pb2.Job(dropped_reports=3, dropped_reason="COUNTER: \x1b[2J", two_reporters=True)
    (line,) = report_lines(job)
    assert line.startswith("3 version reports dropped; two gateways report for this vehicle; the last: COUNTER: ")
    assert "\x1b" not in line
