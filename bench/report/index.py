"""The index of all runs as one HTML page, ``runs/index.html``: a table of the runs, and how their figures changed.

Like a run's own page (``report.page``) it needs nothing else. It links to the runs' pages by relative paths, so the folder of runs can
be moved or published as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from otabench.bench import run_folder
from otabench.bench.errors import BenchError
from otabench.bench.report import figures, strokes, templates, trends
from otabench.bench.report.plots import KIB, phase_class
from otabench.bench.runs import summary
from otabench.bench.runs.compare import percent
from otabench.bench.runs.summary import EcuFigures, RunSummary

TEMPLATE: Final = "index.html.j2"
NAME: Final = "index.html"
MAX_DRAWN: Final = 60
"""The trends show that many of the newest runs; the table shows all."""
_NEUTRAL: Final = frozenset({summary.UP, summary.NO_REPORT, figures.NO_CAMPAIGN})


def write(runs_dir: Path, *, out: Path | None = None) -> Path:
    """Write the index of a folder of runs to ``out``, or as index.html into the folder, and return its path.

    Raises:
        BenchError: the folder cannot be read, or the page cannot be written.
    """
    runs = [summary.of_run(run) for run in run_folder.runs_in(runs_dir)]
    path = out or runs_dir / NAME
    try:
        path.write_text(render(runs), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: cannot be written: {error.strerror}; choose another place by --out") from error
    return path


def render(runs: Sequence[RunSummary]) -> str:
    """Return the page. Pure, but for the look whether a run has a page to link to.

    Args:
        runs: oldest first.
    """
    drawn = list(runs)[-MAX_DRAWN:]
    # In the order of their first run, so that an ECU keeps its color as runs are added.
    ecus = list(dict.fromkeys(ecu for run in drawn for ecu in run.ecus))
    return templates.render(
        TEMPLATE,
        rows=[_row(run) for run in reversed(runs)],
        drawn=[{"name": run.name, "result": run.result, "tone": tone(run)} for run in drawn],
        trends=_trends(drawn, ecus) if ecus else [],
        ecus=[(ecu, Markup(strokes.swatch(number))) for number, ecu in enumerate(ecus)],
        states=[(state, phase_class(state)) for state in dict.fromkeys(state for run in drawn for state in run.states)],
        states_svg=_both(
            lambda width: trends.states_svg(drawn, title="Time in each state of the job, run by run", width=width)
        )
        if any(run.states for run in drawn)
        else None,
    )


def tone(run: RunSummary) -> str:
    """Return how a run's result is colored: good, warn, bad or neutral."""
    if run.result in _NEUTRAL:
        return "neutral"
    return figures.tone(run.result, run.exit_status)


def _row(run: RunSummary) -> dict[str, Any]:
    return {
        "name": run.name,
        "page": f"{run.name}/report.html" if (run.folder / "report.html").is_file() else None,
        "started_at": run.started_at.strftime("%Y-%m-%d %H:%M UTC"),
        "result": run.result,
        "tone": tone(run),
        "reason": run.reason,
        "version": run.target_version,
        "duration": "" if run.duration_s is None else f"{run.duration_s:.1f} s",
        "transfers": ", ".join(
            f"{ecu} {figures_.kind} {figures_.bytes_per_s / KIB:.1f} KiB/s" for ecu, figures_ in run.ecus.items()
        ),
        "faults": ", ".join(run.faults),
        "size": f"{run.size_bytes / KIB**2:.1f} MiB",
        "has_keys": run.has_keys,
    }


def _both(draw: Callable[[int], str]) -> tuple[Markup, Markup]:
    """Return a drawing for wide pages, and for narrow ones."""
    return Markup(draw(trends.WIDTH)), Markup(draw(trends.NARROW))


def _trends(runs: Sequence[RunSummary], ecus: Sequence[str]) -> list[tuple[str, tuple[Markup, Markup]]]:
    """Return title and drawings of each trend with a line for each ECU."""
    drawings = []
    for title, unit, value_of in (
        ("Flash rate", "KiB/s", lambda each: each.bytes_per_s / KIB),
        ("Rate over the line's limit", "%", lambda each: percent(each.share_of_limit)),
        ("Bus load during the transfer", "%", lambda each: percent(each.bus_load)),
    ):
        values = {ecu: [_value(run.ecus.get(ecu), value_of) for run in runs] for ecu in ecus}
        draw = partial(trends.lines_svg, runs, values, unit=unit, title=f"{title}, run by run", kinds=ecus)
        drawings.append((title, _both(lambda width, draw=draw: draw(width=width))))  # type: ignore[misc]
    return drawings


def _value(ecu: EcuFigures | None, value_of: Any) -> float | None:
    return None if ecu is None else value_of(ecu)
