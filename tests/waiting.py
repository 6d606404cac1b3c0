"""Wait for a condition in a test: the one helper for it, instead of sleeping and hoping."""

from __future__ import annotations

from collections.abc import Callable

from otabench.bench.deadline import wait_until


def eventually(
    condition: Callable[[], object], what: str = "", *, timeout_s: float = 10.0, interval_s: float = 0.02
) -> None:
    """Return once ``condition()`` is true; fail the test if it is not within ``timeout_s``.

    Args:
        what: what is waited for, for the failure's text; by default the condition's own name.
    """
    what = what or getattr(condition, "__qualname__", repr(condition))
    assert wait_until(lambda: bool(condition()), timeout_s=timeout_s, interval_s=interval_s), (
        f"not in {timeout_s} s: {what}"
    )
