"""The commands of ``otabench``: their names, their summaries, and where each is.

A command is a function in the module that does its work; its options are the function's parameters. To add one, write the function
and a line here.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from otabench.bench.cli.lazy import Group, Lazy, command


def _campaigns() -> Any:
    return import_module("otabench.bench.cli.campaigns")


def _images() -> Any:
    return import_module("otabench.bench.cli.images")


def _can() -> Any:
    return import_module("otabench.bench.cli.can")


def _perf() -> Any:
    return import_module("otabench.bench.cli.perf")


def _bench_files() -> Any:
    return import_module("otabench.bench.cli.bench_files")


def _run_bench() -> Any:
    return import_module("otabench.bench.cli.run_bench")


def _captures() -> Any:
    return import_module("otabench.bench.cli.captures")


BENCH = Group(
    "bench",
    "Run a whole update, or look at a bench file.",
    [
        Lazy("run", "Update all ECUs by a signed campaign, and report.", lambda: command(_run_bench().run)),
        Lazy("check", "Check a bench file, and whether what it names answers.", lambda: command(_bench_files().check)),
        Lazy("init", "Write a commented bench file to start from.", lambda: command(_bench_files().init)),
    ],
)
FIRMWARE = Group(
    "firmware",
    "Make, wrap and read firmware images.",
    [
        Lazy("build", "Make images whose binaries behave like compiled code.", lambda: command(_images().build)),
        Lazy("pack", "Make a signed MCUboot image of your own binary.", lambda: command(_images().pack)),
        Lazy("info", "Show what an image contains.", lambda: command(_images().info)),
    ],
)
CAMPAIGN = Group(
    "campaign",
    "Campaigns of the running bench.",
    [
        Lazy("create", "Create a campaign for the running bench's vehicle.", lambda: command(_campaigns().create)),
        Lazy("list", "List all campaigns, one line for each job.", lambda: command(_campaigns().list_all)),
        Lazy("show", "Show one campaign with its jobs and ECUs.", lambda: command(_campaigns().show)),
        Lazy("watch", "Follow a campaign until all its jobs have ended.", lambda: command(_campaigns().watch)),
        Lazy("cancel", "Cancel a campaign where that is still possible.", lambda: command(_campaigns().cancel)),
    ],
)
KEYS = Group(
    "keys",
    "Keys of a bench.",
    [Lazy("init", "Make all keys: Director, image signing, TLS, ECU secrets.", lambda: command(_images().make_keys))],
)
PERF = Group(
    "perf",
    "Sweep faults through updates, and measure the flash path.",
    [
        Lazy("powercut", "Cut the power at every flash operation of an update.", lambda: command(_perf().powercut)),
        Lazy(
            "message-cut", "Reset the ECU and kill the gateway at every message.", lambda: command(_perf().message_cut)
        ),
        Lazy("frames", "Drop, double and corrupt every frame of an update.", lambda: command(_perf().frames)),
        Lazy("flash", "Measure the flash path beside the line, the kernel and a peer.", lambda: command(_perf().flash)),
    ],
)
CAN = Group(
    "can",
    "Set up, take down, or look at a SocketCAN interface.",
    [
        Lazy("up", "Set up an interface: bit rates, CAN FD, transmit queue.", lambda: command(_can().up)),
        Lazy("down", "Take an interface down.", lambda: command(_can().down)),
        Lazy("status", "Show state, bit rates and error counters.", lambda: command(_can().status)),
    ],
)
CAPTURE = Group(
    "capture",
    "CAN captures of a run, or of candump, Wireshark and CANoe.",
    [Lazy("convert", "Write a capture in another format.", lambda: command(_captures().convert))],
)
WIRESHARK = Group(
    "wireshark-profile",
    "A Wireshark profile with the bench's names.",
    [
        Lazy(
            "install", "Install a profile with the bench's identifiers and names.", lambda: command(_captures().install)
        )
    ],
)

COMMANDS = [
    Lazy("bench", "Run a whole update, or look at a bench file.", lambda: BENCH),
    Lazy("up", "Keep a bench running, with a campaign on offer.", lambda: command(_run_bench().up)),
    Lazy("status", "Show what the running bench is doing.", lambda: command(_campaigns().status)),
    Lazy(
        "fault",
        "Set or clear faults of an ECU or a bus.",
        # -5% is a wrong share, not an option
        lambda: command(import_module("otabench.bench.cli.faults").fault, ignore_unknown_options=True),
    ),
    Lazy("campaign", "Campaigns of the running bench.", lambda: CAMPAIGN),
    Lazy("trace", "Tell one job's story in order.", lambda: command(import_module("otabench.bench.cli.trace").trace)),
    Lazy("report", "Write a run as one HTML page.", lambda: command(import_module("otabench.bench.cli.report").report)),
    Lazy("firmware", "Make, wrap and read firmware images.", lambda: FIRMWARE),
    Lazy("keys", "Keys of a bench.", lambda: KEYS),
    Lazy("capture", "CAN captures of a run, or of candump, Wireshark and CANoe.", lambda: CAPTURE),
    Lazy("wireshark-profile", "A Wireshark profile with the bench's names.", lambda: WIRESHARK),
    Lazy("dbc", "Write a DBC of the ECUs' periodic frames.", lambda: command(_captures().dbc)),
    Lazy("can", "Set up, take down, or look at a SocketCAN interface.", lambda: CAN),
    Lazy("perf", "Sweep faults through updates, and measure the flash path.", lambda: PERF),
    Lazy(
        "doctor",
        "Show what this machine offers a bench, and what is missing.",
        lambda: command(import_module("otabench.bench.cli.doctor").doctor),
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"otabench {version('otabench')}")
        except PackageNotFoundError:  # run from a checkout that was never installed
            print("otabench, not installed")
        raise typer.Exit


class _Otabench(Group):
    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        help_text = "A hardware-in-the-loop bench for over-the-air updates, from signed campaign to CAN frame."
        super().__init__(name, help_text, COMMANDS, **settings)


app = typer.Typer(cls=_Otabench, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Declare the options of `otabench` itself."""
