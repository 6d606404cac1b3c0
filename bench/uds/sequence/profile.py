"""A flash profile whose sequences are data: what is computed, and the steps of every act.

Checked when it is read, without an ECU: every field of every template exists where it is used, and values are saved before they are
used. All mistakes are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from otabench.bench import yaml_text
from otabench.bench.finding import Finding, fail
from otabench.bench.uds.sequence.material import Layout
from otabench.bench.uds.sequence.steps import (
    AnyStep,
    Download,
    ForEach,
    ReadDid,
    Repeat,
    Request,
    Routine,
    Seconds,
    Sequence,
    Session,
    Unlock,
    WriteDid,
)
from otabench.bench.uds.sequence.template import NUMBERS, Pattern, Template, TemplateError, TemplateText, check_names
from otabench.bench.uds.sequence.values import Composed, Value
from otabench.bench.yaml_text import YamlMistake

Place = tuple[str | int, ...]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Times(_Model):
    """Response times until the ECU reports its own in the answer to 10, and limits."""

    p2_s: Seconds = 0.05
    p2_star_s: Seconds = 5.0
    margin_s: Seconds = 1.0
    """Added to both: delays of the bus and of a busy machine."""
    max_pending_s: Seconds = 60.0
    """An ECU that answers NRC 78 for longer is given up."""


class KeepAlive(_Model):
    """TesterPresent (3E) that is sent by itself while a job runs."""

    every_s: float = Field(default=2.0, gt=0, le=60)
    request: TemplateText = Template.parse("3E 80")
    functional: bool = True


class Acts(_Model):
    """The sequence of each act; an act without steps is not carried out."""

    pre_programming: Sequence = Sequence(steps=())
    programming: Sequence
    activate: Sequence = Sequence(steps=())
    verify: Sequence = Sequence(steps=())
    confirm: Sequence = Sequence(steps=())
    revert: Sequence = Sequence(steps=())
    post_programming: Sequence = Sequence(steps=())
    in_bootloader: Sequence = Sequence(steps=())
    """Instead of pre-programming, for an ECU that is found in its bootloader."""


class SequenceProfile(_Model):
    """The sequences of one kind of ECU."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    sequences: Acts
    values: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Value] = Field(default_factory=dict)
    times: Times = Times()
    layout: Layout = Layout()
    keep_alive: KeepAlive | None = KeepAlive()

    @field_validator("values")
    @classmethod
    def _names_are_free(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name in NUMBERS or name == "data":
                raise ValueError(f"{name} is a number of every template; choose another name")
        return given


def shipped() -> list[str]:
    """Return the names of the profiles in the package."""
    folder = resources.files("otabench.bench.uds.sequence.profiles")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def path_of(name: str) -> Path:
    """Return the file of a profile: a shipped one by name, any other by path (a name with ``/`` or ending in ``.yaml``)."""
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    return Path(str(resources.files("otabench.bench.uds.sequence.profiles"))) / f"{name}.yaml"


def load(path: Path) -> SequenceProfile:
    """Read a profile.

    Raises:
        SequenceProfileError: it cannot be read, or has mistakes; with all of them.
    """
    try:
        given = yaml_text.parse(yaml_text.load_text(path)).content
    except OSError as error:
        raise SequenceProfileError([fail(str(path), f"cannot be read ({error.strerror})", "check the path")]) from error
    except YamlMistake as error:
        place = f", line {error.line}, column {error.column}" if error.line else ""
        raise SequenceProfileError([fail(f"{path}{place}", f"not YAML: {error.problem}", error.remedy)]) from error
    try:
        profile = SequenceProfile.model_validate(given)
    except ValidationError as error:
        raise SequenceProfileError(
            [
                fail(f"{path}, {_place(each['loc'])}", each["msg"].removeprefix("Value error, "), "")
                for each in error.errors()
                # pydantic leaves wrong steps out of a loop, and then finds the loop empty
                if not (each["type"] == "too_short" and each["input"])
            ]
        ) from error
    if findings := [fail(f"{path}, {_place(place)}", problem, "") for place, problem in mistakes(profile)]:
        raise SequenceProfileError(findings)
    return profile


class SequenceProfileError(Exception):
    """A profile is wrong. The text has one line for each finding."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(f"{finding.where}: {finding.sentence()}" for finding in findings))
        self.findings = tuple(findings)


def mistakes(profile: SequenceProfile) -> Iterator[tuple[Place, str]]:
    """Return what no single step can see: fields that do not exist where they are used, and loops that are missing."""
    for name, value in profile.values.items():
        if isinstance(value, Composed):
            yield from _wrong_names(value.bytes, ("values", name), set(profile.values) - {name}, is_transfer=False)
    known = set(profile.values)  # what one act saves, the acts after it may use
    for act in Acts.model_fields:
        sequence: Sequence = getattr(profile.sequences, act)
        yield from _of_steps(sequence.steps, ("sequences", act), known, in_loop=False)


def _of_steps(
    steps: tuple[AnyStep, ...], place: Place, known: set[str], *, in_loop: bool
) -> Iterator[tuple[Place, str]]:
    """``known`` grows by what a step saves: a later step may use it."""
    for number, step in enumerate(steps):
        here = (*place, number)
        if isinstance(step, ForEach | Repeat):
            yield from _of_steps(step.do, (*here, "do"), known, in_loop=in_loop or isinstance(step, ForEach))
            continue
        for key, template in _templates(step):
            is_transfer = isinstance(step, Download) and key in ("transfer", "accepted", "failures")
            yield from _wrong_names(template, (*here, "", key), known, is_transfer=is_transfer)
        if isinstance(step, Download):
            if not in_loop:
                yield here, "download sends the block of a loop: put it into `for_each: block`"
            yield from _of_steps(step.before_data, (*here, "before_data"), known, in_loop=in_loop)
        elif isinstance(step, Request | ReadDid) and step.save:
            known.add(step.save)


def _templates(step: AnyStep) -> Iterator[tuple[str, Template | Pattern]]:
    match step:
        case Request():
            yield "request", step.request
            yield from (("expect", step.expect),) if step.expect else ()
            yield from (("failures", each.answer) for each in step.failures)
        case Routine():
            yield "option", step.option
            yield from (("expect", step.expect),) if step.expect else ()
        case Session() | ReadDid():
            yield from (("expect", step.expect),) if step.expect else ()
        case Unlock():
            yield "record", step.record
        case WriteDid():
            yield "data", step.data
        case Download():
            yield from (("request", step.request), ("transfer", step.transfer), ("accepted", step.accepted))
            yield from (("failures", each.answer) for each in step.failures)
            yield from (("exit", step.exit),) if step.exit else ()
            yield "exit_answer", step.exit_answer
        case _:
            return


def _wrong_names(
    template: TemplateText | Pattern, place: Place, known: set[str], *, is_transfer: bool
) -> Iterator[tuple[Place, str]]:
    try:
        check_names(template, values=known, is_transfer=is_transfer)
    except TemplateError as error:
        yield place, str(error)


def _place(location: Place) -> str:
    """Return a place as a reader of the file counts: steps from 1 on.

    pydantic also names the kind that it took a step or value for: behind a step's number, or twice. That is left out.
    """
    words: list[str] = []
    for index, part in enumerate(location):
        if isinstance(part, int):
            words.append(f"step {part + 1}")
        elif part not in ("steps", "sequences", *words[-1:]) and not (index and isinstance(location[index - 1], int)):
            words.append(part)
    return " ".join(words)
