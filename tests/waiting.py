"""Wait for a condition in a test: the one helper for it, instead of sleeping and hoping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otabench.bench.deadline import wait_until

PATIENCE_S: Final = 60.0
"""How long to wait for what comes at once on a quiet machine. It costs time only where a test fails: a machine that others use, or
a guest kernel that has a processor now and then, may take twenty times as long."""


def eventually(
    condition: Callable[[], object], what: str = "", *, timeout_s: float = PATIENCE_S, interval_s: float = 0.02
) -> None:
    """Return once ``condition()`` is true; fail the test if it is not within ``timeout_s``.

    Args:
        what: what is waited for, for the failure's text; by default the condition's own name.
    """
    what = what or getattr(condition, "__qualname__", repr(condition))
    assert wait_until(lambda: bool(condition()), timeout_s=timeout_s, interval_s=interval_s), (
        f"not in {timeout_s} s: {what}"
    )
