"""`otabench perf powercut`: make an update, let the ECU's own process sweep it, and show the results.

Here are the sizes and the extent of the sweep; what must hold after a cut is in ``ecu_firmware_sim.sweep.powercut``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.launcher.process import PYTHON
from otabench.bench.perf import sealing
from otabench.bench.perf.material import MIN_BODY_BYTES, Material, whole_sectors
from otabench.proto import metadata_window, private_files
from otabench.proto.image_format import Dependency, ImageVersion
from otabench.proto.uptane import VehicleEcuCustom

FULL_SIZE_BODY_BYTES: Final = 256 * 1024
# A full-size update has thousands of operations, and the recovery after each has hundreds of its own: one second cut, not all.
FULL_SIZE_SECOND_CUTS: Final = 1
SMALL_BODY_BYTES: Final = 6000
_IMAGE_OVERHEAD_BYTES: Final = 0x400
"""MCUboot's header and trailer, rounded up."""
_OTHER_ECU: Final = VehicleEcuCustom(image_number=2, ecu="adas", ecu_serial="ADAS-0001", version="2.0.0")
"""The ECU that the new image depends on. Its promised version is kept with the slot, and no cut may lose it."""


@dataclass(frozen=True)
class PowercutOptions:
    """The extent of a sweep.

    Attributes:
        body_bytes: of the firmware.
        second_cuts: after each first cut; None: at every operation of the recovery.
        seed: of garbage writes and of the choice of second cuts.
        replay: one sequence instead of all.
    """

    body_bytes: int = SMALL_BODY_BYTES
    second_cuts: int | None = None
    seed: int = 0
    replay: str = ""

    def __post_init__(self) -> None:
        if not MIN_BODY_BYTES <= self.body_bytes <= 1_000_000:
            raise WrongUsage(f"--image-size {self.body_bytes}: expected {MIN_BODY_BYTES} to 1000000 bytes")


@dataclass
class Counts:
    """The counts of a sweep."""

    cut_points: int = 0
    second_cut_points: int = 0
    memories: int = 0
    """Different memories that the cuts left; each was judged once."""
    findings: int = 0


def run(options: PowercutOptions, console: Console) -> Counts:
    """Run the sweep, with progress on the console.

    Raises:
        BenchError: the sweep could not run.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="otabench-powercut-") as folder:
        _make(Path(folder), options)
        argv = [*PYTHON, "otabench.ecu_firmware_sim.sweep", "--folder", folder, "--seed", str(options.seed)]
        argv += [] if options.second_cuts is None else ["--second", str(options.second_cuts)]
        argv += ["--replay", options.replay] if options.replay else []
        counts = _follow(argv, options, console)
    second = f" and {counts.second_cut_points} second ones" if counts.second_cut_points else ""
    console.print(
        f"{counts.cut_points + counts.second_cut_points} cut points ({counts.cut_points} first{second}; "
        f"{counts.memories} different memories judged), "
        f"{counts.findings} bricked   (seed {options.seed}, {time.monotonic() - started:.0f} s)"
    )
    return counts


def _make(folder: Path, options: PowercutOptions) -> None:
    slot = whole_sectors(options.body_bytes + _IMAGE_OVERHEAD_BYTES)
    material = Material(folder, slot_size_bytes=slot)
    old = material.image("1.0.0", body_bytes=options.body_bytes)
    needed = Dependency(_OTHER_ECU.image_number, ImageVersion.parse(_OTHER_ECU.version))
    new = material.image("2.0.0", body_bytes=options.body_bytes, dependencies=[needed])
    new.rename(folder / "new.bin")
    new = folder / "new.bin"
    patch = material.patch(old, new).rename(folder / "update.bsdiff")
    targets = material.targets(new, "2.0.0", number=1, base=old, patch=patch, promised=[_OTHER_ECU])
    # With a new Root, which the ECU stores on the way.
    (folder / "targets.json").write_bytes(metadata_window.pack([material.director_root(2)], targets))
    pair = sealing.make_key_pair()
    (folder / "new.enc").write_bytes(sealing.seal(new.read_bytes(), public_key=pair.public_key))
    (folder / "update.enc").write_bytes(sealing.seal(patch.read_bytes(), public_key=pair.public_key))
    key = folder / "ecu.x25519"
    private_files.write(key, pair.private_key)
    config = material.ecu_config(old, bus={}, control_port=1).model_copy(update={"decryption_key": key})
    (folder / "ecu.json").write_text(config.model_dump_json(), encoding="utf-8")


def _follow(argv: list[str], options: PowercutOptions, console: Console) -> Counts:
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[cuts]}"),
            TimeElapsedColumn(),
            console=console,
        ) as progress,
    ):
        assert process.stdout is not None and process.stderr is not None
        try:
            counts = _read(process.stdout, options, progress)
        except BaseException:
            process.terminate()
            raise
        trouble = process.stderr.read().strip()
    if counts is None or process.returncode not in (0, 1):
        raise BenchError(f"the sweep ended early: {trouble or f'status {process.returncode}'}")
    return counts


def _read(lines: Any, options: PowercutOptions, progress: Progress) -> Counts | None:
    tasks: dict[str, TaskID] = {}
    for line in lines:
        event = json.loads(line)
        if event["event"] == "done":
            return Counts(event["cut_points"], event["second_cut_points"], event["memories"], event["findings"])
        if event["event"] == "finding":
            progress.console.print(f"[bold red]{event['sequence']}[/]: {event['reason']}")
            progress.console.print(f"   replay: {_replay_command(event['sequence'], options)}", soft_wrap=True)
            continue
        cuts = f"{event['cut_points'] + event['second_cut_points']} cuts"
        if event["scenario"] not in tasks:
            tasks[event["scenario"]] = progress.add_task(event["scenario"], total=event["operations"], cuts=cuts)
        progress.update(tasks[event["scenario"]], completed=event["operation"], cuts=cuts)
    return None


def _replay_command(sequence: str, options: PowercutOptions) -> str:
    return f"otabench perf powercut --image-size {options.body_bytes} --seed {options.seed} --replay {sequence}"
