"""Handle SIGTERM and SIGINT while a process still imports its libraries.

    from otabench.proto.early_signals import end_at_signals

    if __name__ == "__main__":
        end_at_signals()

    import typer  # and other slow imports

A process replaces these handlers with its own as soon as it runs. This module imports only os and signal, because it must be imported
before the slow imports.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def end_at_signals() -> None:
    """From now on, let SIGTERM and SIGINT end the process with status 0."""
    signal.signal(signal.SIGTERM, end_at_once)
    signal.signal(signal.SIGINT, end_at_once)


def end_at_once(_signal: int, _frame: FrameType | None) -> None:
    """End the process with status 0. It has not opened anything yet that must be closed."""
    # sys.exit() raises an exception. Inside a callback of the import system Python swallows it, and the signal would be lost.
    os._exit(0)
