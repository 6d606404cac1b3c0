"""What a process does with SIGTERM and SIGINT while it still imports its libraries.

    from otabench.proto.early_signals import end_at_signals

    if __name__ == "__main__":
        end_at_signals()

    import typer  # and whatever else takes its time

A process replaces these handlers with its own once it is up. Imports os and signal only, because it comes before the slow imports.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def end_at_signals() -> None:
    """Let SIGTERM and SIGINT end the process with status 0 from now on."""
    signal.signal(signal.SIGTERM, end_at_once)
    signal.signal(signal.SIGINT, end_at_once)


def end_at_once(_signal: int, _frame: FrameType | None) -> None:
    """End the process with status 0; nothing has been started yet that would need to be closed."""
    # Not sys.exit(): Python swallows an exception that a handler raises inside a callback of the import system, and the signal
    # would be lost.
    os._exit(0)
