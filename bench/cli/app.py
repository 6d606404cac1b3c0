"""All commands of ``otabench`` with their options. Each hands over to a module that is imported when it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.cli import evidence
from otabench.bench.cli.can import can_group
from otabench.bench.cli.perf import perf_group
from otabench.bench.launcher.options import Transfer


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


app = typer.Typer(
    help="A hardware-in-the-loop bench for over-the-air updates, from signed campaign to CAN frame.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
bench_group = _group("Bring up a bench, or look at a bench file.")
firmware_group = _group("Make, wrap and read firmware images.")
campaign_group = _group("Campaigns of the running bench.")
keys_group = _group("Keys of a bench.")
app.add_typer(bench_group, name="bench")
app.add_typer(firmware_group, name="firmware")
app.add_typer(campaign_group, name="campaign")
app.add_typer(keys_group, name="keys")
app.add_typer(perf_group, name="perf")
app.add_typer(can_group, name="can")

_BenchFile = Annotated[Path | None, typer.Option("--bench", help="Bench file; the default has two simulated ECUs.")]
_Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--chaos", metavar="ECU:KIND", help="A fault from the start, as engine:boot-fail or bus:load:share=60."
    ),
]
_TransferOption = Annotated[Transfer, typer.Option("--transfer", help="What the campaign sends.")]
_Encrypt = Annotated[bool, typer.Option("--encrypt", help="Encrypt every file for the ECU it is for.")]
_BenchWait = Annotated[
    float, typer.Option("--bench-wait", metavar="SECONDS", min=0, help="Wait for a bench that another run uses.")
]
_NoPace = Annotated[bool, typer.Option("--no-pace", help="Let a virtual bus run as fast as this machine can.")]
_HmiPort = Annotated[int, typer.Option("--hmi-port", min=1, max=65535, envvar="HMI_PORT", help="Port of the HMI.")]
_RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where the run's folder is made.")]
_RunDir = Annotated[Path, typer.Option("--run", metavar="DIR", help="The run's folder.")]
_KeysDir = Annotated[Path, typer.Option("--keys", metavar="DIR", help="Keys, as `otabench keys init` makes them.")]
_Requires = Annotated[
    list[str] | None,
    typer.Option("--requires", metavar="ECU>=VERSION", help="What it depends on, as 'adas>=2.0.0'; repeatable."),
]
_LATEST = Path("runs/latest")


@bench_group.command("run")
def bench_run(
    bench: _BenchFile = None,
    chaos: _Faults = None,
    transfer: _TransferOption = Transfer.AUTO,
    encrypt: _Encrypt = False,
    no_pace: _NoPace = False,
    hmi_port: _HmiPort = 8080,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=1, help="For the whole job.")] = 600.0,
    runs_dir: _RunsDir = Path("runs"),
    bench_wait: _BenchWait = 0.0,
) -> None:
    """The main job: a signed campaign updates all ECUs, with consent given by the bench, and a report.

    Exit status: 0 every ECU runs the confirmed new version; 3 rolled back; 4 failed; 5 rejected; 6 canceled or timed out;
    1 the bench could not run; 2 wrong usage or bench file.
    """
    from otabench.bench.cli.run_bench import options_from, run

    options = options_from(
        bench, chaos, transfer, encrypt=encrypt, no_pace=no_pace, hmi_port=hmi_port, runs_dir=runs_dir
    )
    raise typer.Exit(run(options, timeout_s=timeout, wait_s=bench_wait))


@app.command("up")
def up(
    bench: _BenchFile = None,
    chaos: _Faults = None,
    transfer: _TransferOption = Transfer.AUTO,
    encrypt: _Encrypt = False,
    no_pace: _NoPace = False,
    hmi_port: _HmiPort = 8080,
    runs_dir: _RunsDir = Path("runs"),
    frame_gate: Annotated[
        bool, typer.Option("--frame-gate", help="ECUs behind a gate: `otabench fault bus drop every=50`.")
    ] = False,
    bench_wait: _BenchWait = 0.0,
) -> None:
    """The same bench left running with a campaign offered: the HMI asks for consent. Ctrl-C stops everything."""
    from otabench.bench.cli.run_bench import keep_up, options_from

    options = options_from(
        bench, chaos, transfer, encrypt=encrypt, no_pace=no_pace, hmi_port=hmi_port, runs_dir=runs_dir
    )
    raise typer.Exit(keep_up(replace(options, frame_gate=frame_gate), wait_s=bench_wait))


@bench_group.command("check")
def bench_check(
    file: Annotated[Path | None, typer.Argument(help="Bench file; the default where not given.")] = None,
) -> None:
    """Tells whether a bench file is right, and whether what it names is there and answers: a line each."""
    from otabench.bench.cli.bench_files import check

    raise typer.Exit(check(file))


@bench_group.command("init")
def bench_init(file: Annotated[Path, typer.Argument(help="Written; never overwritten.")]) -> None:
    """Writes a commented bench file to start from."""
    from otabench.bench.cli.bench_files import init

    init(file)


@keys_group.command("init")
def keys_init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if absent; never overwritten.")],
    bench: _BenchFile = None,
) -> None:
    """Makes all keys of a bench: Director, image signing, TLS, ECU secrets."""
    from otabench.bench.cli.images import make_keys

    make_keys(folder, bench_file=bench)


@firmware_group.command("build")
def firmware_build(
    keys: _KeysDir = Path("keys"),
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where images are written.")] = Path("firmware"),
    ecu: Annotated[list[str] | None, typer.Option("--ecu", help="Only this ECU; repeatable.")] = None,
    version: Annotated[list[str] | None, typer.Option("--version", help="1.0.0 and 2.0.0 where not given.")] = None,
    requires: _Requires = None,
    bench: _BenchFile = None,
) -> None:
    """Makes images whose contents behave like compiled code, for the ECUs of a bench."""
    from otabench.bench.cli.images import build

    build(
        keys_dir=keys,
        out_dir=out,
        ecus=tuple(ecu or ()),
        versions=tuple(version or ()),
        requires=tuple(requires or ()),
        bench_file=bench,
    )


@firmware_group.command("pack")
def firmware_pack(
    file: Annotated[Path, typer.Argument(metavar="FILE.bin", help="A raw binary.")],
    ecu: Annotated[str, typer.Option("--ecu", help="The bench file's name of the ECU it is for.")],
    version: Annotated[str, typer.Option("--version", help="As 2.0.0 or 2.0.0+5.")],
    keys: _KeysDir = Path("keys"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="<hardware id>-<version>.bin if not given.")
    ] = None,
    security_counter: Annotated[int | None, typer.Option(min=0, help="The major version where not given.")] = None,
    requires: _Requires = None,
    bench: _BenchFile = None,
) -> None:
    """Wraps a raw binary into a signed MCUboot image for one ECU."""
    from otabench.bench.cli.images import pack

    pack(
        file,
        ecu=ecu,
        version=version,
        keys_dir=keys,
        out=out,
        security_counter=security_counter,
        requires=tuple(requires or ()),
        bench_file=bench,
    )


@firmware_group.command("info")
def firmware_info(file: Annotated[Path, typer.Argument(metavar="IMAGE")], bench: _BenchFile = None) -> None:
    """What an image says of itself."""
    from otabench.bench.cli.images import info

    info(file, bench_file=bench)


@campaign_group.command("create")
def campaign_create(
    name: Annotated[str, typer.Option("--name", help="Shown to the driver.")] = "Bench campaign",
    notes: Annotated[str, typer.Option("--notes", help="Release notes, shown to the driver.")] = "",
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="ECU=FILE", help="Repeatable; the bench's newest firmware where not given."),
    ] = None,
    transfer: _TransferOption = Transfer.AUTO,
    encrypt: _Encrypt = False,
    run: _RunDir = _LATEST,
) -> None:
    """Makes a campaign for the running bench's vehicle."""
    from otabench.bench.cli.campaigns import create

    create(run, name=name, notes=notes, images=image or [], transfer=transfer, encrypt=encrypt)


@campaign_group.command("list")
def campaign_list(run: _RunDir = _LATEST) -> None:
    """All campaigns, one line a job."""
    from otabench.bench.cli.campaigns import list_all

    list_all(run)


@campaign_group.command("show")
def campaign_show(
    campaign: Annotated[str | None, typer.Argument(help="The newest where not given.")] = None, run: _RunDir = _LATEST
) -> None:
    """One campaign with its jobs and ECUs."""
    from otabench.bench.cli.campaigns import show

    show(run, campaign)


@campaign_group.command("watch")
def campaign_watch(
    campaign: Annotated[str | None, typer.Argument(help="The newest where not given.")] = None, run: _RunDir = _LATEST
) -> None:
    """Follows a campaign until all its jobs have ended."""
    from otabench.bench.cli.campaigns import watch

    watch(run, campaign)


@campaign_group.command("cancel")
def campaign_cancel(
    campaign: Annotated[str | None, typer.Argument(help="The newest where not given.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Told to the vehicle.")] = "canceled by the operator",
    run: _RunDir = _LATEST,
) -> None:
    """Cancels what has not gone too far."""
    from otabench.bench.cli.campaigns import cancel

    cancel(run, campaign, reason=reason)


@app.command("status")
def status(run: _RunDir = _LATEST) -> None:
    """What the running bench is doing: processes, ECUs, job."""
    from otabench.bench.cli.campaigns import status as show_status

    show_status(run)


@app.command("fault", context_settings={"ignore_unknown_options": True})  # -5% is a wrong share, no option
def fault(
    ecu: Annotated[str, typer.Argument(help="Name of a simulated ECU or of a bus; `bus` where there is but one.")],
    kind: Annotated[
        str, typer.Argument(help="A fault kind, `clear`, `on`, `off` or `cycle` (power); `list` lists the kinds.")
    ],
    parameters: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    run: _RunDir = _LATEST,
) -> None:
    """Sets a fault of a simulated ECU or a bus of the running bench, or clears all: `otabench fault bus load 60%`."""
    from otabench.bench.cli.campaigns import fault as set_fault

    set_fault(run, ecu, kind, parameters or [])


evidence.add_to(app)
