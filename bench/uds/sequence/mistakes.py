"""Mistakes in steps that no single step shows: fields that do not exist where they are used, and downloads outside of loops.

``of_steps`` judges steps that are valid by themselves. ``among_valid_steps`` judges the valid steps of a file in which others are not, so
that a user does not correct these and then hear of the rest. Mistakes between the sections of a profile are found in ``profile``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from otabench.bench.uds.sequence.steps import (
    CHALLENGE,
    AnyStep,
    Authenticate,
    Download,
    ForEach,
    ReadDid,
    Repeat,
    Request,
    Routine,
    Session,
    Unlock,
    WriteDid,
)
from otabench.bench.uds.sequence.template import Pattern, Template, TemplateError, TemplateText, check_names
from otabench.bench.yaml_text import Place

_STEP: Final[TypeAdapter[AnyStep]] = TypeAdapter(AnyStep)
_NESTED: Final = ("do", "before_data")
"""Keys of a step that hold further steps."""


def among_valid_steps(content: Any) -> Iterator[tuple[Place, str]]:
    """Return the mistakes of those steps that are valid by themselves.

    Args:
        content: of the file, of any shape.
    """
    if not isinstance(content, dict) or not isinstance(content.get("sequences"), dict):
        return
    values = content.get("values")
    known = {str(name) for name in values} if isinstance(values, dict) else set()
    for act, given in content["sequences"].items():
        if isinstance(given, list):
            steps = tuple(_STEP.validate_python(_valid(each)) for each in given)
            yield from of_steps(steps, ("sequences", str(act)), known, in_loop=False)


def _valid(given: Any) -> Any:
    """Return a step of a file as it is if it is valid. Otherwise return one that does nothing, in its place.

    What a wrong step would save, its replacement saves, too: steps behind it may use that name.
    """
    if isinstance(given, dict):
        nested = {key: [_valid(each) for each in given[key]] for key in _NESTED if isinstance(given.get(key), list)}
        given = {**given, **nested}
    try:
        _STEP.validate_python(given)
    except ValidationError:
        save = given.get("save") if isinstance(given, dict) else None
        is_name = isinstance(save, str) and re.fullmatch("[a-z][a-z0-9_]*", save)
        return {"request": "3E 00", "save": save} if is_name else {"wait": 0}
    return given


def of_steps(
    steps: tuple[AnyStep, ...], place: Place, known: set[str], *, in_loop: bool
) -> Iterator[tuple[Place, str]]:
    """Return the mistakes of steps in order. Each step adds the value that it saves to ``known``, for the steps after it."""
    for number, step in enumerate(steps):
        here = (*place, number)
        if isinstance(step, ForEach | Repeat):
            yield from of_steps(step.do, (*here, "", "do"), known, in_loop=in_loop or isinstance(step, ForEach))
            continue
        if isinstance(step, Authenticate):
            known.add(CHALLENGE)
        if isinstance(step, Unlock) and step.choose_by and step.choose_by not in known:
            names = ", ".join(sorted(known)) or "none"
            yield (*here, "", "choose_by"), f"there is no value {step.choose_by!r} by then; known: {names}"
        for key, template in _templates(step):
            is_transfer = isinstance(step, Download) and key in ("transfer", "accepted", "failures")
            yield from wrong_names(template, (*here, "", key), known, is_transfer=is_transfer)
        if isinstance(step, Download):
            if not in_loop:
                yield here, "download sends the block of a loop: put it into `for_each: block`"
            yield from of_steps(step.before_data, (*here, "", "before_data"), known, in_loop=in_loop)
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
        case Authenticate():
            yield "signed", step.signed
        case WriteDid():
            yield "data", step.data
        case Download():
            yield from (("request", step.request), ("transfer", step.transfer), ("accepted", step.accepted))
            yield from (("failures", each.answer) for each in step.failures)
            yield from (("exit", step.exit),) if step.exit else ()
            yield "exit_answer", step.exit_answer
        case _:
            return


def wrong_names(
    template: TemplateText | Pattern, place: Place, known: set[str], *, is_transfer: bool
) -> Iterator[tuple[Place, str]]:
    """Return the fields of a template that do not exist: they are neither ``known`` nor numbers."""
    try:
        check_names(template, values=known, is_transfer=is_transfer)
    except TemplateError as error:
        yield place, str(error)
