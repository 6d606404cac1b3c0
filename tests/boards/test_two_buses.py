"""ECUs on different buses are flashed at the same time, those of one bus one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.topology import bench_file
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceEvent, read
from tests.boards import rig
from tests.e2e.living_bench import QUICK_ECU, quick_options
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.mosquitto,
    needs(not rig.missing(), rig.missing()),
]


def spans(events: list[TraceEvent]) -> dict[str, tuple[int, int]]:
    """First and last answered block of each ECU, on the monotonic clock."""
    found: dict[str, tuple[int, int]] = {}
    for event in events:
        if event.event == "uds.exchange" and event.data["service"] == "36" and event.ecu is not None:
            first, _ = found.get(event.ecu, (event.mono_ns, 0))
            found[event.ecu] = (first, event.mono_ns)
    return found


def test_ecus_on_two_buses_are_flashed_in_parallel(tmp_path: Path) -> None:
    with rig.vcans("vcan1", "vcan2"):
        text = bench_file.default_text().replace("vcan0", "vcan1")
        text = text.replace("buses:", "buses:\n  chassis: {interface: socketcan, channel: vcan2, bitrate: 500000}", 1)
        head, adas, rest = text.partition("adas:")
        two_buses = bench_file.parse(head + adas + rest.replace("bus: powertrain", "bus: chassis", 1), name="two buses")
        slow = QUICK_ECU | {"program_page_s": 0.01}
        options = quick_options(tmp_path, topology=two_buses, image_size_bytes=16 * 1024, ecu_timing=slow)
        with Bench.bring_up(options) as bench:
            job = bench.jobs.update(transfer=TransferPolicy.FULL)
            events = list(read(bench.folder.trace))
    assert job.state is JobState.SUCCEEDED, job.reason
    engine, adas_span = spans(events)["engine"], spans(events)["adas"]
    overlap = min(engine[1], adas_span[1]) - max(engine[0], adas_span[0])
    shorter = min(engine[1] - engine[0], adas_span[1] - adas_span[0])
    assert overlap > shorter / 2
