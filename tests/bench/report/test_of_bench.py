"""A report waits only for what the gateway reads."""

from __future__ import annotations

from otabench.bench.report.of_bench import have_dtcs_read
from otabench.bench.topology import bench_file

TWO_ECUS = """
vehicle: {vin: W0TABENCH00000001}
buses: {powertrain: {channel: vcan0, bitrate: 500000}}
ecus:
  engine: {bus: powertrain, request_id: 0x7E0, response_id: 0x7E8, hardware_id: engine-mcu}
  pump: {bus: powertrain, request_id: 0x7E1, response_id: 0x7E9, hardware_id: pump-mcu, profile: single-bank}
"""


def test_no_trouble_codes_are_awaited_of_an_ecu_with_a_sequence_profile() -> None:
    assert have_dtcs_read(bench_file.parse(TWO_ECUS, name="two.yaml")) == {"engine"}
