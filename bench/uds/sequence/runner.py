"""Carry out a sequence on one ECU.

    Runner(tester, scope, times=profile.times, on_bytes=count).run(profile.sequences.programming)

Rules:

* A sequence ends at a refusal, at silence after the step's ``attempts``, at a response that does not fit, or at a status that means
  failure. A failing step that is ``optional`` does not end it. A refused request is repeated only if the step contains ``then: repeat``.
* A step's ``limit_s`` covers all of its attempts and polls.
* If the response to a TransferData (36) is lost, the request is sent again with the same counter. A server acknowledges such a repeat
  without writing it again (ISO 14229-1, service 36). A refusal ends the transfer, because the ECU has lost or rejected it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otabench.bench.uds import authentication
from otabench.bench.uds.authentication import AuthenticationError
from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused, FlashError, ProfileInvalid
from otabench.bench.uds.sequence.asking import Asker, example_of
from otabench.bench.uds.sequence.did_text import text_of
from otabench.bench.uds.sequence.downloads import Downloader, Totals
from otabench.bench.uds.sequence.material import Block, EraseArea
from otabench.bench.uds.sequence.profile import Times
from otabench.bench.uds.sequence.scope import RunScope
from otabench.bench.uds.sequence.steps import (
    CHALLENGE,
    AnyStep,
    Authenticate,
    AwaitAnswer,
    Burst,
    Common,
    Download,
    ForEach,
    OnRefusal,
    ReadDid,
    Repeat,
    Request,
    Reset,
    Routine,
    Sequence,
    Session,
    TesterPresent,
    Unlock,
    Wait,
    WriteDid,
    kind_of,
)
from otabench.bench.uds.sequence.template import TemplateError
from otabench.bench.uds.sequence.tester import Exchange, Tester

_ROUTINE_ACTS: Final = {"start": 1, "stop": 2, "results": 3}
_POLL_P2_S: Final = 0.3
"""P2 while waiting for an ECU that starts: the profile's own may be too long to notice the moment when it answers."""
_WITHOUT_RECORD: Final = 2
"""Length of a response to 10 without P2 and P2*, as in ISO 14229-1:2006 and from some bootloaders."""


class Runner:
    """The execution of sequences on one ECU.

    Args:
        tester: the ECU.
        scope: the values that templates may name.
        times: response times and limits of the profile.
        on_bytes: called with the number of data bytes that the ECU has accepted in this download.
    """

    def __init__(
        self, tester: Tester, scope: RunScope, *, times: Times, on_bytes: Callable[[int], None] = lambda _: None
    ) -> None:
        self._tester = tester
        self._scope = scope
        self._times = times
        self._asker = Asker(tester)
        self._downloader = Downloader(tester, self._asker, run_steps=self._run_all, on_bytes=on_bytes)

    @property
    def totals(self) -> Totals:
        """What was transferred so far."""
        return self._downloader.totals

    def run(self, sequence: Sequence) -> None:
        """Carry out all steps.

        Raises:
            FlashError: a step failed; the error contains its name.
            ProfileInvalid: a template cannot be filled with this material.
            FlashCanceled: the job was canceled.
        """
        self._run_all(sequence.steps, self._scope)

    def _run_all(self, steps: tuple[AnyStep, ...], scope: RunScope) -> None:
        for step in steps:
            try:
                self._step(step, scope)
            except TemplateError as error:
                raise ProfileInvalid(
                    str(error),
                    ecu=self._tester.name,
                    step=_title_of(step),
                    remedy="correct the flash profile, or give a program that fits it",
                ) from error

    def _step(self, step: AnyStep, scope: RunScope) -> None:
        match step:
            case ForEach():
                loop = self._loop(step)
                for index in range(len(loop)):
                    self._run_all(step.do, scope.turn(loop, index))
            case Repeat():
                for _ in range(step.repeat):
                    self._run_all(step.do, scope)
            case Wait():
                self._tester.pause(step.wait)
            case Burst():
                self._burst(step, scope)
            case AwaitAnswer():
                self._await_answer(step, scope)
            case Common():
                self._attempt(step, scope)

    def _loop(self, step: ForEach) -> tuple[Block | EraseArea, ...]:
        material = self._scope.material
        return material.areas() if step.for_each == "erase_area" else material.of_kind(step.kind)

    def _attempt(self, step: Common, scope: RunScope) -> None:
        """Carry out a step, repeated as often as it allows."""
        limit_s = step.limit_s if step.limit_s is not None else self._times.max_pending_s
        until_s = self._tester.now_s() + limit_s
        left = step.attempts
        while True:
            left -= 1
            try:
                self._do(step, scope, until_s)
                return
            except EcuRefused as error:
                rule = step.nrc.get(error.nrc) if error.nrc is not None else None
                if rule is not None and rule.then is OnRefusal.SKIP:
                    self._tester.emit("flash.step_skipped", step=error.step, nrc=error.nrc, reason=rule.means)
                    return
                may_repeat = rule is not None and rule.then is OnRefusal.REPEAT and left > 0
                failed: FlashError = error if rule is None else EcuRefused.of(error, note=rule.means)
            except EcuLost as error:
                failed, may_repeat = error, left > 0
            except EcuContradicts as error:
                failed, may_repeat = error, False
            if may_repeat and self._tester.now_s() < until_s:
                self._tester.pause(step.pause_s)
                continue
            if step.optional:
                self._tester.emit("flash.step_skipped", step=failed.step, nrc=failed.nrc, reason=str(failed))
                return
            raise failed

    def _do(self, step: Common, scope: RunScope, until_s: float) -> None:
        """Carry out a step once. ``until_s`` is the end of its time."""
        match step:
            case Request():
                self._request(step, scope)
            case Session():
                self._session(step, scope)
            case Unlock():
                self._unlock(step, scope)
            case Authenticate():
                self._authenticate(step, scope)
            case Routine():
                self._routine(step, scope, until_s)
            case WriteDid():
                request = b"\x2e" + step.write_did.to_bytes(2, "big") + step.data.render(scope)
                self._asker.ask(step, request, f"2E {step.write_did:04X} write")
            case ReadDid():
                self._read(step, scope)
            case TesterPresent():
                self._asker.ask(step, b"\x3e\x00", "3E 00 tester present")
            case Reset():
                self._reset(step)
            case Download():
                self._downloader.send(step, scope)

    def _request(self, step: Request, scope: RunScope) -> None:
        payload = step.request.render(scope)
        title = step.title or payload[:4].hex(" ").upper()
        answer = self._asker.ask(step, payload, title, example=example_of(step.expect, scope))
        if step.suppress:
            return
        self._asker.require_no_failure(step.failures, answer, scope, title)
        self._asker.require(step.expect, answer, scope, title)
        if step.save:
            scope.saved[step.save] = answer[step.save_from :]

    def _session(self, step: Session, scope: RunScope) -> None:
        title = step.title or f"10 {step.session:02X} session"
        try:
            answer = self._asker.ask(step, bytes((0x10, step.session)), title, example=example_of(step.expect, scope))
        except EcuLost:
            if not step.answers_after_reset:
                raise
            answer = b""
        if step.answers_after_reset:
            # The bootloader has times of its own, whatever the application has announced.
            self._tester.forget_session()
            self._tester.pause(step.deaf_s)
        if not answer:
            return
        self._asker.require(step.expect, answer, scope, title)
        if step.timing and len(answer) >= _WITHOUT_RECORD + 4:
            # ISO 14229-1, service 10: P2 in units of 1 ms, P2* in units of 10 ms.
            margin_s = self._times.margin_s
            p2_s, p2_star_s = int.from_bytes(answer[2:4], "big") / 1000, int.from_bytes(answer[4:6], "big") / 100
            self._tester.use_times(p2_s + margin_s, p2_star_s + margin_s)

    def _unlock(self, step: Unlock, scope: RunScope) -> None:
        # ISO 14229-1, service 27: sendKey is requestSeed + 1. Some ECUs do otherwise.
        key_level = step.send_key if step.send_key is not None else step.unlock + 1
        request = bytes((0x27, step.unlock)) + step.record.render(scope)
        # Before the seed: an ECU may count seeds without a key as wrong attempts.
        choice = text_of(scope.value(step.choose_by, b"")) if step.choose_by else ""
        seed = self._asker.ask(step, request, f"27 {step.unlock:02X} request seed")[2:]
        if not any(seed):
            # A seed of zeros means that the ECU is unlocked already (ISO 14229-1, service 27).
            return
        key = self._tester.key_for(seed, level=step.unlock, choice=choice)
        self._asker.ask(step, bytes((0x27, key_level)) + key, f"27 {key_level:02X} send key")

    def _authenticate(self, step: Authenticate, scope: RunScope) -> None:
        title = "29 01 verify certificate"
        request = authentication.verify_certificate(self._tester.certificate(), communication=step.communication)
        answer = self._asker.ask(step, request, title)
        try:
            # Templates behind this step may use the challenge, too.
            scope.saved[CHALLENGE] = authentication.challenge_of(answer)
            proof = self._tester.sign(step.signed.render(scope))
            title = "29 03 proof of ownership"
            authentication.require_complete(self._asker.ask(step, authentication.proof_of_ownership(proof), title))
        except AuthenticationError as error:
            raise self._asker.contradicts(title, str(error)) from error

    def _read(self, step: ReadDid, scope: RunScope) -> None:
        title = step.title or f"22 {step.read_did:04X} read"
        identifier = step.read_did.to_bytes(2, "big")
        example = example_of(step.expect, scope, head=b"\x62" + identifier)
        record = self._asker.ask(step, b"\x22" + identifier, title, example=example)[3:]
        self._asker.require(step.expect, record, scope, title)
        if step.save:
            scope.saved[step.save] = record

    def _routine(self, step: Routine, scope: RunScope, until_s: float) -> None:
        identifier = step.routine.to_bytes(2, "big")
        first = bytes((0x31, _ROUTINE_ACTS[step.act])) + identifier + step.option.render(scope)
        again = first if step.poll.ask == "start" else b"\x31\x03" + identifier
        title = step.title or f"31 {_ROUTINE_ACTS[step.act]:02X} {step.routine:04X} routine"
        # The poll's own limit, but never longer than the step as a whole.
        until_s = min(until_s, self._tester.now_s() + step.poll.limit_s)
        request = first
        while True:
            answer = self._asker.ask(step, request, title, example=lambda: _routine_example(step, scope))
            if step.suppress:
                return
            if step.status is None or self._is_done(step, answer, title):
                self._asker.require(step.expect, answer, scope, title)
                return
            if self._tester.now_s() >= until_s:
                text = f"still in progress after {step.poll.limit_s:g} s"
                raise EcuRefused(text, ecu=self._tester.name, step=title)
            self._tester.pause(step.poll.every_s)
            request = again

    def _is_done(self, step: Routine, answer: bytes, title: str) -> bool:
        """Judge a routine's status byte. Return False while the routine is in progress."""
        assert step.status is not None
        at = 4 + step.status.at  # behind 71, the sub-function and the identifier
        if len(answer) <= at:
            raise self._asker.contradicts(title, f"answered {answer.hex(' ').upper()}, without a status")
        status = answer[at]
        if status in step.status.done_values:
            return True
        if status in step.status.in_progress_values:
            return False
        means = step.status.failed.get(status, "neither done nor in progress")
        raise EcuRefused(f"status {status:02X}: {means}", ecu=self._tester.name, step=title)

    def _reset(self, step: Reset) -> None:
        title = f"11 {step.reset:02X} reset"
        try:
            # Some ECUs answer only after the reset, from the software that starts. That may take as long as the step allows.
            wait_s = step.limit_s if step.answer == "late" else None
            self._asker.ask(step, bytes((0x11, step.reset)), title, p2_s=wait_s)
        except (EcuLost, EcuContradicts):
            # An ECU that resets at once may break its response off, which arrives as a fragment.
            if step.answer != "may_be_lost":
                raise
        self._tester.forget_session()
        self._tester.pause(step.deaf_s)

    def _burst(self, step: Burst, scope: RunScope) -> None:
        payload = step.burst.render(scope)
        title = f"{payload[:2].hex(' ').upper()} burst"
        request = Exchange(payload, title, functional=True, expects_answer=False)
        self._tester.burst(request, every_s=step.every_s, for_s=step.for_s)

    def _await_answer(self, step: AwaitAnswer, scope: RunScope) -> None:
        until_s = self._tester.now_s() + step.await_answer
        request = Exchange(step.request.render(scope), "3E 00 tester present", p2_s=_POLL_P2_S)
        while True:
            try:
                self._tester.exchange(request)
                return
            except (EcuRefused, EcuContradicts):
                # Any response proves that the ECU is running.
                return
            except EcuLost:
                if self._tester.now_s() >= until_s:
                    raise
            self._tester.pause(step.every_s)


def _routine_example(step: Routine, scope: RunScope) -> bytes:
    """Return an answer to a routine with a status that means done."""
    head = bytes((0x71, _ROUTINE_ACTS[step.act])) + step.routine.to_bytes(2, "big")
    answer = bytearray(head if step.expect is None else step.expect.example(scope))
    if step.status is not None:
        at = 4 + step.status.at
        answer.extend(bytes(max(0, at + 1 - len(answer))))
        answer[at] = step.status.done_values[0]
    return bytes(answer)


def _title_of(step: AnyStep) -> str:
    return step.title if isinstance(step, Common) and step.title else kind_of(step)
