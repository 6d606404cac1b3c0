"""``python -m otabench.ecu_firmware_sim.sweep --folder DIR``: the power-cut sweep as a process, for `otabench perf powercut`.

DIR contains ``ecu.json`` (the ECU's configuration, as for its process), ``new.bin``, ``targets.json`` and, for the other kinds of transfer,
``update.bsdiff``, ``new.enc`` and ``update.enc`` (image and patch, encrypted for the ECU).
Progress and results are JSON objects on stdout, one per line: ``progress``, ``finding`` (a violation), ``done``.

Exit status: 0: no violation. 1: a violation, or it could not run (one line on stderr). 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from otabench.ecu_firmware_sim.errors import ConfigError, EcuSimError
from otabench.ecu_firmware_sim.factory import provision
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.sweep.bare_ecu import Kind, Update
from otabench.ecu_firmware_sim.sweep.powercut import CUTS, Scenario, SecondCuts, Sequence, Sweep, Tally, possible
from otabench.proto.process_config import EcuConfig

# A line for each operation would be thousands a second, more than the reader shows.
PROGRESS_INTERVAL_S: Final = 0.5
_FILES: Final = {
    Kind.DELTA: "update.bsdiff",
    Kind.ENCRYPTED: "new.enc",
    Kind.ENCRYPTED_DELTA: "update.enc",
}


def load(folder: Path) -> Update:
    """Return the update that the folder describes. Raises ConfigError."""
    try:
        config = EcuConfig.model_validate_json((folder / "ecu.json").read_bytes())
        new = (folder / "new.bin").read_bytes()
        transfers = {Kind.FULL: new}
        # The other kinds are optional: ``possible`` leaves out the scenarios of those that are missing.
        for kind, name in _FILES.items():
            if (folder / name).exists():
                transfers[kind] = (folder / name).read_bytes()
        return Update(
            config=config,
            given=provision(config),
            layout=FlashLayout(slot_bytes=config.slot_size_bytes),
            old=config.factory_image.read_bytes(),
            new=new,
            transfers=transfers,
            targets=(folder / "targets.json").read_bytes(),
        )
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    # Only the first mistake: the file is written by `otabench perf`, and a user who edits it needs one at a time.
    except ValidationError as error:
        raise ConfigError(f"{folder / 'ecu.json'}: {error.errors()[0]['msg']}") from error


def sweep(update: Update, *, second: SecondCuts, noise_seed: int) -> Tally:
    """Run all scenarios, report progress and violations, and return the sum."""
    total = Tally()
    for scenario in possible(update):
        one = Sweep(update, scenario, second=second, noise_seed=noise_seed)
        reported_s = 0.0

        # As defaults, because a closure would see the loop's variables change.
        def progress(done: int, tally: Tally, one: Sweep = one, scenario: Scenario = scenario) -> None:
            nonlocal reported_s
            now_s = time.monotonic()
            if now_s - reported_s < PROGRESS_INTERVAL_S and done != one.operations:
                return
            reported_s = now_s
            report(
                "progress",
                scenario=scenario,
                operation=done,
                operations=one.operations,
                cut_points=tally.cut_points,
                second_cut_points=tally.second_cut_points,
                findings=len(tally.violations),
            )

        tally = one.run(CUTS, on_progress=progress)
        for violation in tally.violations:
            report("finding", sequence=str(violation.sequence), reason=violation.reason)
        total.cut_points += tally.cut_points
        total.second_cut_points += tally.second_cut_points
        total.memories += tally.memories
        total.violations += tally.violations
    report(
        "done",
        cut_points=total.cut_points,
        second_cut_points=total.second_cut_points,
        memories=total.memories,
        findings=len(total.violations),
    )
    return total


def replay(update: Update, sequence: Sequence, *, noise_seed: int) -> str:
    """Run one sequence, report its violation, if there is one, and return what does not hold ("": all holds). Raises ValueError."""
    one = Sweep(update, sequence.scenario, second=SecondCuts(0), noise_seed=noise_seed)
    _, reason = one.replay(sequence)
    if reason:
        report("finding", sequence=str(sequence), reason=reason)
    report("done", cut_points=len(sequence.cuts), second_cut_points=0, memories=1, findings=int(bool(reason)))
    return reason


def report(event: str, **data: object) -> None:
    """Print one JSON object. It is flushed, because the reader shows progress while the sweep runs."""
    print(json.dumps({"event": event, **data}), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m otabench.ecu_firmware_sim.sweep", description="Power-cut sweep of one ECU."
    )
    parser.add_argument("--folder", type=Path, required=True, help="ecu.json, new.bin, targets.json, …")
    parser.add_argument("--second", type=int, default=None, help="second cuts after each first one; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="of garbage writes and of the choice of second cuts")
    parser.add_argument("--replay", metavar="SEQUENCE", help="only this one, as update-full:torn@37,garbage@4")
    given = parser.parse_args(arguments)
    try:
        update = load(given.folder)
        if given.replay:
            return 1 if replay(update, Sequence.parse(given.replay), noise_seed=given.seed) else 0
        tally = sweep(update, second=SecondCuts(given.second, given.seed), noise_seed=given.seed)
    except (EcuSimError, ValueError) as error:
        print(f"otabench.ecu_firmware_sim.sweep: {error}", file=sys.stderr)
        return 1
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
