"""``otabench attack``: make an attack on the running bench, and show what stops it."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path
from typing import Annotated, Final

import typer

from otabench.bench.attacks import live
from otabench.bench.attacks.ecu_door import SILENCE
from otabench.bench.attacks.parties import Guard
from otabench.bench.attacks.perform import Result, Standing, perform
from otabench.bench.attacks.stories import catalogue
from otabench.bench.attacks.story import Case
from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST, RunDir
from otabench.bench.clients.running_bench import RunningBench
from otabench.bench.errors import BenchError
from otabench.proto.foreign_text import printable

_WIDTH: Final = 100
_ATTEMPTS: Final = 4


def attack(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An attack; `list` lists them.")],
    run: RunDir = LATEST,
) -> None:
    """Make an attack on the running bench, and show what stops it.

    The attacker has the keys that each line names, and takes them from the bench's key folder. The gateway's own verification runs on a
    copy of the metadata that it has accepted; requests to an ECU go over the bench's bus, calls to the bench's cloud. An attack that
    nobody stops is shown as such, and does not fail the command. The exit status is 1 if an attack ends otherwise than the story states.
    """
    if name == "list":
        for story in catalogue.STORIES:
            summary = story.what_happens.split(". ")[0].rstrip(".")
            print(textwrap.fill(f"{story.name:<20} {summary}.", _WIDTH, subsequent_indent=" " * 21))
        return
    story = catalogue.find(name)
    bench = running.find(run)
    print(_paragraph(f"{story.title}: {story.what_happens}"))
    surprises = 0
    for case in story.cases:
        if case.is_for_tests:
            print(f"\n- {_headline(case)}\n  not made on a running bench: {case.is_for_tests}")
            continue
        result = _performed(bench, case)
        print(f"\n- {_headline(case)}\n{_told(case, result)}")
        is_as_stated = (result.outcome.guard, result.outcome.refusal) == (case.guard, case.refusal)
        surprises += not is_as_stated or result.versions_moved
    if surprises:
        raise BenchError(f"{surprises} of {len(story.cases)} attacks ended otherwise than the story states")


def _performed(bench: RunningBench, case: Case) -> Result:
    for attempt in range(1, _ATTEMPTS + 1):
        with (
            tempfile.TemporaryDirectory(prefix="otabench-attack-") as folder,
            live.scene_of(bench, Path(folder)) as scene,
        ):
            result = perform(scene, case)
        # The gateway asks its ECUs now and then, with the same identifiers. Two testers at once break each other's messages.
        if result.outcome.refusal != SILENCE or attempt == _ATTEMPTS:
            break
    return result


def _told(case: Case, result: Result) -> str:
    outcome = result.outcome
    ended = f"stopped by {outcome.guard}: {outcome.refusal}"
    if outcome.guard is None:
        ended = f"succeeds: {case.reaches}"
    elif outcome.guard is Guard.DESIGN:
        ended = "reaches nothing"
    lines = [ended, printable(outcome.text)] if outcome.text else [ended]
    lines.append(f"versions: {_versions(result.after)}; {'MOVED' if result.versions_moved else 'not moved'}")
    moved = "moved (in the copy)" if result.metadata_moved else "not moved"
    lines.append(f"the gateway's accepted metadata: {moved}")
    return "\n".join(textwrap.indent(_paragraph(line), "  ") for line in lines)


def _versions(standing: Standing) -> str:
    return ", ".join(f"{ecu} {version} {state}" for ecu, (version, state, _) in standing.running.items())


def _headline(case: Case) -> str:
    return f"{case.name} (stolen: {', '.join(sorted(case.stolen)) or 'nothing'})"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH)
