"""A recorded run: a whole update of two ECUs with images of a few KiB over vcan0, as `otabench bench run` left it."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from otabench.bench.captures.convert import convert

_DATA = Path(__file__).parent / "data" / "small_run"


def unpack(folder: Path) -> Path:
    """Return the run's folder, as a bench makes it."""
    for name in ("can", "traces"):
        (folder / name).mkdir(parents=True)
    for packed, plain in (
        ("powertrain.pcap.gz", "can/powertrain.pcap"),
        ("trace.jsonl.gz", "traces/simulation_trace.jsonl"),
    ):
        (folder / plain).write_bytes(gzip.decompress((_DATA / packed).read_bytes()))
    for name in ("report.json", "bench.json"):
        shutil.copy(_DATA / name, folder / name)
    shutil.copy(_DATA / "powertrain.stats.json", folder / "can")
    convert(folder / "can" / "powertrain.pcap", folder / "can" / "powertrain.log")
    return folder
