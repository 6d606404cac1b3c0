"""Command line of the gateway: ``python -m otabench.bench.gateway --config FILE``.

Decides exit statuses: 0 ended by SIGTERM or SIGINT, 1 could not start or go on (one line on stderr), 2 wrong usage.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated


def _stop_before_start(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)  # an exception would be swallowed where it meets an import's callback, and the signal be lost


if __name__ == "__main__":  # before the slow imports: a signal during them is a clean end too
    signal.signal(signal.SIGTERM, _stop_before_start)
    signal.signal(signal.SIGINT, _stop_before_start)

import typer  # noqa: E402  # after the signal handlers

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def gateway(
    config: Annotated[Path, typer.Option("--config", help="GatewayConfig as JSON (bench/gateway/config.py).")],
) -> None:
    """Runs the gateway of one vehicle until SIGTERM or Ctrl-C."""
    from otabench.bench.gateway.process import run_gateway

    run_gateway(config)


if __name__ == "__main__":
    app(prog_name="python -m otabench.bench.gateway")
