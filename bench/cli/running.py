"""Find the bench that a command means, and tell the user if it is not the latest run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otabench.bench import run_folder
from otabench.bench.clients import running_bench
from otabench.bench.clients.running_bench import RunningBench
from otabench.bench.errors import NoRunningBench

if TYPE_CHECKING:
    # gRPC takes a while to import, and most commands do not speak with the cloud.
    from otabench.bench.clients.operator import OperatorClient


def find(run: Path) -> RunningBench:
    """Return the bench that is up in that folder. If another run than ``runs/latest`` is taken, its name goes to stderr.

    Raises:
        BenchError: see ``running_bench.find``.
    """
    return running_bench.find(run, say=note)


def note_others(run: Path) -> None:
    """Name the runs that are up on stderr, for a command that shows ``runs/latest`` although that run has ended.

    Raises:
        BenchError: whether one is up cannot be found out.
    """
    if not run_folder.is_link(run):
        return
    up = running_bench.benches_up(run.parent)
    if up and run.resolve().name not in {other.name for other in up}:
        note(f"{run} ({run.resolve().name}) has ended; {', '.join(map(str, up))} is up: name it for that one")


def note(line: str) -> None:
    """Print a line that is not part of a command's output."""
    print(line, file=sys.stderr)


def newest_campaign(operator: OperatorClient) -> str:
    """Return the id of the campaign that was made last.

    Raises:
        NoRunningBench: there is none.
    """
    campaigns = operator.list_campaigns()
    if not campaigns:
        raise NoRunningBench("this bench has no campaign yet; `otabench campaign create` makes one")
    return max(campaigns, key=lambda campaign: campaign.created_at).campaign_id
