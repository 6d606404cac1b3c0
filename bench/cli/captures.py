"""``otabench capture convert``, ``otabench wireshark-profile install``, ``otabench dbc``: files for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.captures import convert as converter
from otabench.bench.captures import dbc as dbc_maker
from otabench.bench.captures import wireshark
from otabench.bench.cli.options import BenchFile
from otabench.bench.errors import BenchError
from otabench.bench.topology import bench_file


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A capture: .log (candump), .pcap, .blf, .asc, …")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The new file; its suffix is its format.")],
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Leave out the frames that the new format cannot hold, and count them.")
    ] = False,
) -> None:
    """Write a capture in another format.

    Read and written: .log (candump), .pcap, .pcapng, .blf, .asc, .trc, .csv. What OUT cannot hold is refused or named: .trc has only
    classic data frames, .csv no CAN FD, .asc no error frames.
    """
    said: list[str] = []
    count = converter.convert(source, target, lossy=lossy, say=said.append)
    print(f"{target}: {count} frame{'' if count == 1 else 's'}")
    for sentence in said:
        print(f"{target}: {sentence}")


def install(
    bench: BenchFile = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Wireshark's configuration folder. Default: your own.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The profile's name.")] = "otabench",
) -> None:
    """Install a profile with the bench's identifiers and names.

    Select it in Wireshark under Edit, Configuration Profiles, or with `tshark -C otabench`.
    """
    topology = bench_file.load(bench)
    made = wireshark.install(topology, folder=folder, name=name)
    for place, profile in made.items():
        ecus = f" for {', '.join(profile.ecus)} only" if len(made) > 1 else ""
        print(
            f"{place}: written{ecus}; use it by `wireshark -C {profile.name} FILE` or `tshark -C {profile.name} -r FILE -Y uds`"
        )
    if len(made) > 1:
        print("One profile decodes frames with an address in front, or frames without: the others stay CAN data in it.")
    for finding in wireshark.findings(topology):
        print(finding.as_line())


def dbc(
    bench: BenchFile = None,
    bus: Annotated[str | None, typer.Option("--bus", help="Name of the bus, if the bench file has several.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="By default standard output.")] = None,
) -> None:
    """Write a DBC of the ECUs' periodic frames.

    It is made from the bench file, for `cantools decode`, CANoe and SavvyCAN.
    """
    text = dbc_maker.text(bench_file.load(bench), bus=bus)
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise BenchError(f"cannot write {out}: {error.strerror}; choose another file with --out") from error
    print(f"{out}: written; use it by `cantools decode {out} < CANDUMP-LOG`")
