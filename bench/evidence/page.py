"""The page in an evidence file: the facts of ``document``, to be read by people. It needs nothing else, and it is derived, so that
``verify`` makes it again and compares."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined

from otabench.bench.evidence.facts import Evidence
from otabench.proto.job_states import JobState

_TEMPLATE: Final = "evidence.html.j2"
_TONES: Final = {JobState.SUCCEEDED: "good", JobState.FAILED: "bad"}


def render(evidence: Evidence, parts: Sequence[str]) -> str:
    """Return the page.

    Args:
        evidence: the facts.
        parts: the names of the parts that the facts were taken from.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    tone = _TONES.get(JobState(evidence.result), "warn") if evidence.result else "warn"
    return template.render(evidence=evidence, parts=list(parts), tone=tone)
