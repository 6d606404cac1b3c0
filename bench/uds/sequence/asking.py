"""Send the requests of a step, and judge the answers: what must be in them, and which of them mean failure."""

from __future__ import annotations

from collections.abc import Callable

from otabench.bench.uds.errors import EcuContradicts, EcuRefused
from otabench.bench.uds.sequence.scope import RunScope
from otabench.bench.uds.sequence.steps import Common, Failure, Request, Target
from otabench.bench.uds.sequence.template import Pattern
from otabench.bench.uds.sequence.tester import Exchange, Tester
from otabench.bench.uds.services import suppressed


class Asker:
    """The sender of steps' requests to one ECU: physically or functionally, suppressed, with the step's own times."""

    def __init__(self, tester: Tester) -> None:
        self._tester = tester

    def ask(
        self,
        step: Common,
        payload: bytes,
        title: str,
        *,
        p2_s: float | None = None,
        example: Callable[[], bytes] | None = None,
    ) -> bytes:
        """Send one request of a step. Return the positive response, or empty bytes if it is suppressed."""
        if step.suppress:
            payload = suppressed(payload)
        return self._tester.exchange(
            Exchange(
                payload,
                step.title or title,
                functional=step.to is Target.ALL,
                expects_answer=not step.suppress,
                p2_s=step.p2_s if p2_s is None else p2_s,
                p2_star_s=step.p2_star_s,
                limit_s=step.limit_s,
                request_id=step.request_id if isinstance(step, Request) else None,
                response_id=step.response_id if isinstance(step, Request) else None,
                example=example,
            )
        )

    def require(self, expected: Pattern | None, answer: bytes, scope: RunScope, title: str) -> None:
        """Check an answer against a pattern; None accepts any.

        Raises:
            EcuContradicts: it differs.
        """
        if expected is not None and (wrong := expected.mismatch(answer, scope)):
            raise self.contradicts(title, f"answered {answer[:16].hex(' ').upper()}: {wrong}")

    def require_no_failure(self, failures: tuple[Failure, ...], answer: bytes, scope: RunScope, title: str) -> None:
        """Check that a positive answer is none of those that mean failure.

        Raises:
            EcuRefused: it is one.
        """
        for each in failures:
            if each.answer.matches(answer, scope):
                text = f"answered {answer[:16].hex(' ').upper()}: {each.means}"
                raise EcuRefused(text, ecu=self._tester.name, step=title)

    def contradicts(self, title: str, text: str) -> EcuContradicts:
        """Return the error for an answer that does not fit."""
        remedy = "the ECU's software or its flash profile is wrong"
        return EcuContradicts(text, ecu=self._tester.name, step=title, remedy=remedy)


def example_of(expected: Pattern | None, scope: RunScope, *, head: bytes = b"") -> Callable[[], bytes] | None:
    """Return a function that makes a fitting answer, behind ``head``; None if any answer will do. See ``tester.Exchange``."""
    return None if expected is None else lambda: head + expected.example(scope)
