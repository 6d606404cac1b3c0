"""Command line of the gateway: ``python -m otabench.bench.gateway --config FILE``.

Exit status: 0 ended by SIGTERM or SIGINT; 1 could not start or continue (one line on stderr); 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from otabench.proto.early_signals import end_at_signals

if __name__ == "__main__":
    end_at_signals()

# Imported after the signal handlers are set: a signal during the slow imports must end the process, too.
import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def gateway(
    config: Annotated[Path, typer.Option("--config", help="GatewayConfig as JSON (bench/gateway/config.py).")],
) -> None:
    """Run the gateway of one vehicle until SIGTERM or Ctrl-C."""
    from otabench.bench.gateway.process import run_gateway

    run_gateway(config)


if __name__ == "__main__":
    app(prog_name="python -m otabench.bench.gateway")
