"""Command line of the cloud: ``python -m otabench.cloud``, with ``control|artifacts|events|all --config FILE`` or ``keys init``.

Exit status: 0 ended by SIGTERM or SIGINT, or keys made; 1 could not start or make keys (one line on stderr); 2 wrong usage.

A plane is imported when it is started, so that a process imports only what its planes need.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from otabench.proto.early_signals import end_at_signals

if __name__ == "__main__":
    # Before the imports below: they are slow, and a signal must end the process during them, too.
    end_at_signals()

import typer

from otabench.cloud.errors import CloudError

app = typer.Typer(
    help="The cloud of the bench.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
keys = typer.Typer(help="Keys of a bench.", no_args_is_help=True)
app.add_typer(keys, name="keys")

_ConfigOption = Annotated[Path, typer.Option("--config", help="CloudConfig as JSON (proto/process_config.py).")]


@app.command()
def control(config: _ConfigOption) -> None:
    """Run the control plane: campaigns and jobs over gRPC, wake-up events to the broker."""
    _run(config, "control")


@app.command()
def artifacts(config: _ConfigOption) -> None:
    """Run the artifact server: images and patches over HTTP."""
    _run(config, "artifacts")


@app.command()
def events(config: _ConfigOption) -> None:
    """Run the embedded broker (amqtt), for machines without mosquitto."""
    _run(config, "events")


@app.command(name="all")
def all_planes(config: _ConfigOption) -> None:
    """Run all planes in one process; the broker only if the configuration has embedded_broker."""
    _run(config, "all")


@keys.command(name="init")
def keys_init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Created if absent; never overwritten.")],
    vin: Annotated[list[str], typer.Option("--vin", help="A vehicle; may be given several times.")],
    ecu: Annotated[list[str] | None, typer.Option("--ecu", help="An ECU's name; may be given several times.")] = None,
    offline: Annotated[
        Path | None,
        typer.Option("--offline", metavar="DIR", help="Another new folder, for what the cloud must not have."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar="FILE", help="Its first line seals the offline keys.")
    ] = None,
) -> None:
    """Make the key folder of a bench: Director, image signing, TLS, ECU secrets."""
    # Imported here: the other commands do not make keys.
    from otabench.cloud.trust.keys import init_keys
    from otabench.proto.sealed_files import SealedFileError, read_passphrase

    try:
        passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)
        init_keys(folder, vins=vin, ecus=ecu or [], offline=offline, passphrase=passphrase)
    except (CloudError, SealedFileError, ValueError) as error:
        _give_up(str(error))
    typer.echo(f"keys: {folder} made")


def _run(config: Path, plane: str) -> None:
    from otabench.cloud.process import run_plane

    try:
        run_plane(config, plane)
    except CloudError as error:
        _give_up(str(error))


def _give_up(message: str) -> None:
    # One line, because the launcher shows the last line of a process that could not start.
    one_line = " ".join(message.split())
    print(f"cloud: {one_line}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m otabench.cloud")
