"""Commands about what a run leaves behind: trace, report, captures, Wireshark profile; and ``doctor``.

Decides their options. Each hands over to a module that is imported when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LATEST = Path("runs/latest")
_BenchFile = Annotated[Path | None, typer.Option("--bench", help="Bench file; the default has two simulated ECUs.")]
_RunDir = Annotated[Path, typer.Option("--run", metavar="DIR", help="The run's folder.")]


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


capture_group = _group("CAN captures of a run, or of candump, Wireshark and CANoe.")
wireshark_group = _group("A Wireshark profile that knows the bench.")


def add_to(app: typer.Typer) -> None:
    """Adds the commands to ``otabench``."""
    app.add_typer(capture_group, name="capture")
    app.add_typer(wireshark_group, name="wireshark-profile")
    app.command("trace")(trace)
    app.command("report")(report)
    app.command("dbc")(dbc)
    app.command("doctor")(doctor)


def trace(
    job: Annotated[str | None, typer.Argument(help="The last one where not given.")] = None,
    run: _RunDir = LATEST,
    exchanges: Annotated[bool, typer.Option("--uds", help="Every UDS exchange too.")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="Every UDS exchange and the CAN frames too, from the run's captures.")
    ] = False,
) -> None:
    """One job's story in order: cloud, gateway, ECUs, UDS exchanges and CAN frames joined by time."""
    from otabench.bench.report.story import tell

    tell(run, job, exchanges=exchanges or frames, frames=frames)


def report(
    run: Annotated[Path, typer.Argument(metavar="[RUN]", help="The run's folder.")] = LATEST,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="RUN/report.html where not given.")] = None,
) -> None:
    """Renders a run as one HTML page that needs nothing else, and prints where it is."""
    from otabench.bench.report.build import show

    show(run, out=out)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    bench: _BenchFile = None,
) -> None:
    """Looks at this machine: one line each, what is there, what is missing and what to do. Exit status 1 where one says fail."""
    from otabench.bench.cli.doctor import examine

    raise typer.Exit(examine(bench, as_json=as_json))


def dbc(
    bench: _BenchFile = None,
    bus: Annotated[
        str | None, typer.Option("--bus", help="The bench file's name of the bus, if it has several.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Standard output where not given.")] = None,
) -> None:
    """A DBC of the ECUs' periodic frames, made of the bench file: for `cantools decode`, CANoe, SavvyCAN."""
    from otabench.bench.captures import dbc as maker
    from otabench.bench.errors import BenchError
    from otabench.bench.topology import bench_file

    text = maker.text(bench_file.load(bench), bus=bus)
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise BenchError(f"{out}: cannot be written: {error.strerror}; choose another place by --out") from error
    print(f"{out}: written; use it by `cantools decode {out} < CANDUMP-LOG`")


@capture_group.command("convert")
def capture_convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A capture: .log (candump), .pcap, .blf, .asc, …")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Written; its suffix is the format.")],
) -> None:
    """Writes a capture in another format, by suffix."""
    from otabench.bench.captures.convert import convert

    count = convert(source, target)
    print(f"{target}: {count} frames")


@wireshark_group.command("install")
def wireshark_install(
    bench: _BenchFile = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Wireshark's configuration; yours where not given.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The profile's name.")] = "otabench",
) -> None:
    """Makes a profile with the bench file's identifiers and names: Edit, Configuration Profiles, or `tshark -C otabench`."""
    from otabench.bench.captures import wireshark
    from otabench.bench.topology import bench_file

    profile = wireshark.install(bench_file.load(bench), folder=folder, name=name)
    print(f"{profile}: written; use it by `wireshark -C {name} FILE` or `tshark -C {name} -r FILE -Y uds`")
