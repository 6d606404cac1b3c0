"""Mistakes of a flash profile that no single step or section shows: fields that do not exist where they are used, missing loops, acts
without steps.

``of_profile`` judges a profile whose parts are valid by themselves. ``among_valid_steps`` judges the valid steps of a file in which others
are not, so that a user does not correct these and then hear of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from otabench.bench.uds.sequence.sections import Confirming, Reverting, SlotsKind
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
    Sequence,
    Session,
    Unlock,
    WriteDid,
)
from otabench.bench.uds.sequence.template import Pattern, Template, TemplateError, TemplateText, check_names
from otabench.bench.uds.sequence.values import Composed
from otabench.bench.yaml_text import Place

if TYPE_CHECKING:
    from otabench.bench.uds.sequence.profile import SequenceProfile

_STEP: Final[TypeAdapter[AnyStep]] = TypeAdapter(AnyStep)
_NESTED: Final = ("do", "before_data")
"""Keys of a step that hold further steps."""


def of_profile(profile: SequenceProfile) -> Iterator[tuple[Place, str]]:
    """Return mistakes across steps and sections: fields that do not exist where they are used, missing loops, acts without steps."""
    yield from _of_sections(profile)
    for name, value in profile.values.items():
        if isinstance(value, Composed):
            yield from _wrong_names(value.bytes, ("values", name), set(profile.values) - {name}, is_transfer=False)
    # A later act may use what an earlier act has saved.
    known = set(profile.values)
    for act in type(profile.sequences).model_fields:
        sequence: Sequence = getattr(profile.sequences, act)
        yield from _of_steps(sequence.steps, ("sequences", act), known, in_loop=False)


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
            yield from _of_steps(steps, ("sequences", str(act)), known, in_loop=False)


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


def _of_sections(profile: SequenceProfile) -> Iterator[tuple[Place, str]]:
    """Return the mistakes between the sections, and between them and the sequences."""
    acts, kind = profile.sequences, profile.slots.kind
    if not acts.programming.steps:
        yield ("sequences", "programming"), "it has no steps: write how the ECU is programmed"
    by = profile.proves_success_by
    if by == "version" and profile.identity.version is None:
        yield ("success",), "the ECU reports no version: add identity.version, or take by: sequence"
    if by == "slot" and kind is not SlotsKind.TABLE:
        yield ("success",), "the ECU has no slot table: take by: version or by: sequence"
    layout = profile.slots.layout
    if layout is not None and profile.identity.version is None and any(each.version is None for each in layout.each):
        yield ("slots",), "nothing reports the version that runs: add identity.version, or version to each slot"
    if by == "sequence" and not acts.verify.steps:
        yield ("success",), "sequences.verify has no steps: add them, or identity.version"
    if profile.confirm is Confirming.SEQUENCE and not acts.confirm.steps:
        yield ("confirm",), "sequences.confirm has no steps: add them, or take confirm: none"
    if profile.revert is Reverting.SEQUENCE and not acts.revert.steps:
        yield ("revert",), "sequences.revert has no steps: add them, or take another revert"
    if profile.revert is Reverting.RESET_UNCONFIRMED and kind is SlotsKind.SINGLE:
        yield ("revert",), "an ECU with a single bank has no software to fall back to: take flash_former or none"
    if profile.confirm is Confirming.ITSELF and kind is not SlotsKind.TABLE:
        yield ("confirm",), "whether the ECU has confirmed it shows in a slot table only: take confirm: none"
    if profile.takes_deltas and profile.payload.patch_data_format is None:
        yield ("takes_deltas",), "a patch needs a data format: add payload.patch_data_format, or take it away"


def _of_steps(
    steps: tuple[AnyStep, ...], place: Place, known: set[str], *, in_loop: bool
) -> Iterator[tuple[Place, str]]:
    """Return the mistakes of steps in order. Each step adds the value that it saves to ``known``, for the steps after it."""
    for number, step in enumerate(steps):
        here = (*place, number)
        if isinstance(step, ForEach | Repeat):
            yield from _of_steps(step.do, (*here, "", "do"), known, in_loop=in_loop or isinstance(step, ForEach))
            continue
        if isinstance(step, Authenticate):
            known.add(CHALLENGE)
        if isinstance(step, Unlock) and step.choose_by and step.choose_by not in known:
            names = ", ".join(sorted(known)) or "none"
            yield (*here, "", "choose_by"), f"there is no value {step.choose_by!r} by then; known: {names}"
        for key, template in _templates(step):
            is_transfer = isinstance(step, Download) and key in ("transfer", "accepted", "failures")
            yield from _wrong_names(template, (*here, "", key), known, is_transfer=is_transfer)
        if isinstance(step, Download):
            if not in_loop:
                yield here, "download sends the block of a loop: put it into `for_each: block`"
            yield from _of_steps(step.before_data, (*here, "", "before_data"), known, in_loop=in_loop)
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


def _wrong_names(
    template: TemplateText | Pattern, place: Place, known: set[str], *, is_transfer: bool
) -> Iterator[tuple[Place, str]]:
    try:
        check_names(template, values=known, is_transfer=is_transfer)
    except TemplateError as error:
        yield place, str(error)
