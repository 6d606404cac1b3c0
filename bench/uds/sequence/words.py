"""A sequence in words: one row for each step, for people who compare a profile with their bootloader's document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from otabench.bench.uds.sequence.steps import (
    AnyStep,
    Authenticate,
    AwaitAnswer,
    Burst,
    Common,
    Download,
    ForEach,
    ReadDid,
    Repeat,
    Request,
    Reset,
    Routine,
    Session,
    Target,
    TesterPresent,
    Unlock,
    Wait,
    WriteDid,
)


@dataclass(frozen=True)
class Row:
    """One line of the table. ``depth``: in how many loops."""

    depth: int
    step: str
    request: str = ""
    answer: str = ""
    notes: str = ""


def rows(steps: tuple[AnyStep, ...], depth: int = 0) -> Iterator[Row]:
    """Return the steps of a sequence, those in loops too."""
    for step in steps:
        match step:
            case ForEach():
                what = step.for_each.replace("_", " ")
                yield Row(depth, f"for each {step.kind.value + ' ' if step.kind else ''}{what}:")
                yield from rows(step.do, depth + 1)
            case Repeat():
                yield Row(depth, f"{step.repeat} times:")
                yield from rows(step.do, depth + 1)
            case Wait():
                yield Row(depth, f"wait {step.wait:g} s")
            case Burst():
                times = f"every {step.every_s * 1000:g} ms for {step.for_s:g} s"
                yield Row(depth, "burst", step.burst.text, "", f"to all, {times}")
            case AwaitAnswer():
                yield Row(depth, "await an answer", step.request.text, "any", f"for at most {step.await_answer:g} s")
            case Download():
                yield from _download(step, depth)
            # Last: all steps that send one request are of this class, Download among them.
            case Common():
                yield _row(step, depth)


def _row(step: Common, depth: int) -> Row:
    name, request, answer, more = _parts(step)
    notes = [
        *(["to all"] if step.to is Target.ALL else []),
        *(["no answer"] if step.suppress else []),
        *(["optional"] if step.optional else []),
        *([f"{step.attempts} attempts"] if step.attempts > 1 else []),
        *([f"within {step.limit_s:g} s"] if step.limit_s is not None else []),
        *([f"NRC {nrc:02X}: {rule.means or rule.then.value}" for nrc, rule in step.nrc.items()]),
        *more,
    ]
    return Row(depth, step.title or name, request, "" if step.suppress else answer, ", ".join(notes))


def _parts(step: Common) -> tuple[str, str, str, list[str]]:
    """Return name, request, expected answer and further notes."""
    match step:
        case Request():
            failures = [f"{each.answer} means: {each.means}" for each in step.failures]
            return "request", step.request.text, str(step.expect or "positive"), [*_identifiers(step), *failures]
        case Session():
            notes = ["the ECU resets"] if step.answers_after_reset else []
            return "session", f"10 {step.session:02X}", str(step.expect or f"50 {step.session:02X} *"), notes
        case Unlock():
            key_level = step.send_key if step.send_key is not None else step.unlock + 1
            request = f"27 {step.unlock:02X} {step.record}".strip()
            chosen = [f"the secret is chosen by {step.choose_by}"] if step.choose_by else []
            return "unlock", f"{request}, then 27 {key_level:02X} key", f"67 {step.unlock:02X} seed", chosen
        case Authenticate():
            requests = f"29 01 {step.communication:02X} certificate, then 29 03 signature over {step.signed}"
            return "authenticate", requests, "69 01 11 challenge, 69 03 12", []
        case Routine():
            return _routine(step)
        case WriteDid():
            return "write identifier", f"2E {step.write_did:04X} {step.data}", f"6E {step.write_did:04X}", []
        case ReadDid():
            saved = [f"kept as {step.save}"] if step.save else []
            return "read identifier", f"22 {step.read_did:04X}", f"62 {step.read_did:04X} {step.expect or '*'}", saved
        case TesterPresent():
            return "tester present", "3E 00", "7E 00", []
        case Reset():
            waits = [f"deaf for {step.deaf_s:g} s"] if step.deaf_s else []
            return "reset", f"11 {step.reset:02X}", f"51 {step.reset:02X}", [step.answer.replace("_", " "), *waits]
    raise AssertionError(f"no words for {step!r}")


def _identifiers(step: Request) -> list[str]:
    if step.request_id is None:
        return []
    answer = "" if step.response_id is None else f", its answer with 0x{step.response_id:03X}"
    return [f"with identifier 0x{step.request_id:03X}{answer}"]


def _routine(step: Routine) -> tuple[str, str, str, list[str]]:
    act = {"start": "01", "stop": "02", "results": "03"}[step.act]
    request = f"31 {act} {step.routine:04X} {step.option}".strip()
    answer = str(step.expect or f"71 {act} {step.routine:04X} *")
    status = step.status
    if status is None:
        return "routine", request, answer, []
    notes = ["done at " + _bytes(status.done_values)]
    if status.in_progress_values:
        notes.append(f"in progress at {_bytes(status.in_progress_values)}: ask again ({step.poll.ask})")
    notes += [f"{value:02X} means: {means}" for value, means in status.failed.items()]
    return "routine", request, answer, notes


def _download(step: Download, depth: int) -> Iterator[Row]:
    length = "its block length" if step.length.source == "answer" else f"{step.length.max_bytes} bytes a message"
    yield Row(depth, step.title or "request download", step.request.text, "74 *", length)
    yield from rows(step.before_data, depth + 1)
    failures = [f"{each.answer} means: {each.means}" for each in step.failures]
    pieces = "one for each record of the file" if step.records else f"counter from {step.first_counter:02X} on"
    yield Row(
        depth,
        "transfer data, until all is sent",
        step.transfer.text,
        str(step.accepted),
        ", ".join([pieces, *failures]),
    )
    if step.exit is not None:
        yield Row(depth, "transfer exit", step.exit.text, str(step.exit_answer))


def _bytes(values: tuple[int, ...]) -> str:
    return " or ".join(f"{value:02X}" for value in values)
