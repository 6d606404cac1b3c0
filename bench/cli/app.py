"""The commands of ``otabench``: their names, their summaries, and where each is.

A command is a function in the module that does its work; its options are the function's parameters. To add one, write the function
and a line here. Modules are imported by name, written out, so that the test of imports between rooms sees them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

import typer

from otabench.bench.cli.lazy import Group, Lazy


def _jobs() -> Any:
    return import_module("otabench.bench.cli.jobs")


def _vehicles() -> Any:
    return import_module("otabench.bench.cli.vehicles")


def _rollouts() -> Any:
    return import_module("otabench.bench.cli.rollouts")


def _campaigns() -> Any:
    return import_module("otabench.bench.cli.campaigns")


def _decisions() -> Any:
    return import_module("otabench.bench.cli.decisions")


def _images() -> Any:
    return import_module("otabench.bench.cli.images")


def _keys() -> Any:
    return import_module("otabench.bench.cli.keys")


def _profiles() -> Any:
    return import_module("otabench.bench.cli.profiles")


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


def _runs() -> Any:
    return import_module("otabench.bench.cli.runs")


BENCH = Group(
    "bench",
    "Run a whole update, or check or write a bench file.",
    [
        Lazy("run", "Update all ECUs by a signed campaign, and report.", lambda: _run_bench().run),
        Lazy("check", "Check a bench file, and whether what it names answers.", lambda: _bench_files().check),
        Lazy("init", "Write a commented bench file to start from.", lambda: _bench_files().init),
    ],
)
FIRMWARE = Group(
    "firmware",
    "Make, pack, read and publish firmware.",
    [
        Lazy("build", "Make images whose binaries behave like compiled code.", lambda: _images().build),
        Lazy("pack", "Pack your own program in the form that an ECU takes.", lambda: _images().pack),
        Lazy("info", "Show what an image or a program file contains.", lambda: _images().info),
        Lazy("publish", "Sign images and list them in the bench's Image repository.", lambda: _campaigns().publish),
    ],
)
CAMPAIGN = Group(
    "campaign",
    "Campaigns of the running bench.",
    [
        Lazy("create", "Create a campaign for the running bench's vehicle.", lambda: _campaigns().create),
        Lazy("list", "List all campaigns, one line for each job.", lambda: _campaigns().list_all),
        Lazy("show", "Show one campaign with its jobs and ECUs.", lambda: _campaigns().show),
        Lazy("watch", "Follow a campaign until all its jobs have ended.", lambda: _campaigns().watch),
        Lazy("approve", "Approve an update in the driver's place.", lambda: _decisions().approve),
        Lazy(
            "decline",
            "Decline an update in the driver's place: its job ends as REJECTED.",
            lambda: _decisions().decline,
        ),
        Lazy("schedule", "Approve an update in the driver's place, for a later time.", lambda: _decisions().schedule),
        Lazy("later", "Put an update off in the driver's place: it stays on offer.", lambda: _decisions().later),
        Lazy(
            "withdraw",
            "Cancel an update in the driver's place, while it is downloaded or installed, until activation begins.",
            lambda: _decisions().withdraw,
        ),
        Lazy("release", "Approve a campaign that needs a second person.", lambda: _campaigns().release),
        Lazy("pause", "Offer a campaign to no more vehicles, until it is resumed.", lambda: _rollouts().pause),
        Lazy("resume", "Continue a paused campaign.", lambda: _rollouts().resume),
        Lazy("abort", "Abort a campaign: cancel the jobs that no vehicle has begun.", lambda: _rollouts().abort),
        Lazy("retry", "Create a campaign for the vehicles whose jobs have failed.", lambda: _rollouts().retry),
        Lazy("cancel", "Cancel those jobs of a campaign that can still be canceled.", lambda: _campaigns().cancel),
        Lazy("jobs", "List jobs in the order of their VINs.", lambda: _jobs().list_jobs),
        Lazy("abandon", "End the job of a vehicle that does not come back.", lambda: _jobs().abandon),
    ],
)
VEHICLE = Group(
    "vehicle",
    "The vehicles that the running bench's cloud knows.",
    [
        Lazy(
            "list",
            "List vehicles with their attributes and versions, in the order of their VINs.",
            lambda: _vehicles().list_vehicles,
        ),
        Lazy("set", "Set attributes of a vehicle, by which `--where` finds it.", lambda: _vehicles().set_attributes),
    ],
)
RUNS = Group(
    "runs",
    "The runs that the bench left: list, compare, prune.",
    [
        Lazy("list", "List all runs, oldest first.", lambda: _runs().list_all),
        Lazy("show", "Show one run: its result, its figures, and what is in its folder.", lambda: _runs().show),
        Lazy("compare", "Compare two runs, figure by figure.", lambda: _runs().compare),
        Lazy("prune", "Remove runs: those that are named, or by --keep or --older-than.", lambda: _runs().prune),
        Lazy("index", "Write all runs as one HTML page, with trends.", lambda: _runs().index),
    ],
)
EVIDENCE = Group(
    "evidence",
    "One update as a signed file that another machine can check.",
    [
        Lazy(
            "make",
            "Write the evidence of one update: what was demanded, agreed to, done and reached, signed by the gateway.",
            lambda: import_module("otabench.bench.cli.evidence").make,
        ),
        Lazy(
            "verify",
            "Check an evidence file with the pinned roots alone.",
            lambda: import_module("otabench.bench.cli.evidence").verify,
        ),
    ],
)
AUDIT = Group(
    "audit",
    "The cloud's audit log: who did what.",
    [
        Lazy(
            "verify",
            "Check that no line was changed, removed or cut off.",
            lambda: import_module("otabench.bench.cli.audit").verify,
        ),
        Lazy("show", "Show who did what, one line each.", lambda: import_module("otabench.bench.cli.audit").show),
    ],
)
PROFILE = Group(
    "profile",
    "Flash profiles: check them, show them, try them without a bus.",
    [
        Lazy("check", "Check a flash profile, and print all of its mistakes.", lambda: _profiles().check),
        Lazy("show", "Show the sequences of a flash profile as tables.", lambda: _profiles().show),
        Lazy(
            "dry-run",
            "Print every request that a flash profile would send, without a bus.",
            lambda: _profiles().dry_run_command,
        ),
        Lazy(
            "from-capture",
            "Write a draft profile from a capture of another tool's flash session.",
            lambda: _profiles().from_capture,
        ),
    ],
)
KEYS = Group(
    "keys",
    "Keys of a bench or a fleet.",
    [
        Lazy("init", "Make all keys: repositories, image signing, TLS, ECU secrets.", lambda: _keys().init),
        Lazy("rotate", "Replace all keys of a role, by a new Root.", lambda: _keys().rotate),
        Lazy("revoke", "Replace one key that was lost or stolen.", lambda: _keys().revoke),
        Lazy("status", "Show who signs what, and what ends soon.", lambda: _keys().show_status),
    ],
)
PERF = Group(
    "perf",
    "Sweep faults through updates.",
    [
        Lazy("powercut", "Cut the power at every flash operation of an update.", lambda: _perf().powercut),
        Lazy("message-cut", "Reset the ECU and kill the gateway at every message.", lambda: _perf().message_cut),
        Lazy("frames", "Drop, double and corrupt every frame of an update.", lambda: _perf().frames),
    ],
)
FLEET = Group(
    "fleet",
    "A cloud with thousands of simulated vehicles.",
    [
        Lazy(
            "bench",
            "Run campaigns over a simulated fleet, and kill servers meanwhile.",
            lambda: import_module("otabench.bench.cli.fleet").bench,
        )
    ],
)
CAN = Group(
    "can",
    "Set up, take down, or look at a SocketCAN interface.",
    [
        Lazy("up", "Set up an interface: bit rates, CAN FD, transmit queue.", lambda: _can().up),
        Lazy("down", "Take an interface down.", lambda: _can().down),
        Lazy("status", "Show state, bit rates and error counters.", lambda: _can().status),
    ],
)
CAPTURE = Group(
    "capture",
    "CAN captures of a run, or of candump, Wireshark and CANoe.",
    [Lazy("convert", "Write a capture in another format.", lambda: _captures().convert)],
)
WIRESHARK = Group(
    "wireshark-profile",
    "A Wireshark profile with the bench's names.",
    [Lazy("install", "Install a profile with the bench's identifiers and names.", lambda: _captures().install)],
)

COMMANDS: Final[list[Lazy | Group]] = [
    BENCH,
    Lazy("up", "Keep a bench running, with a campaign on offer.", lambda: _run_bench().up),
    Lazy("status", "Show what the running bench is doing.", lambda: _campaigns().status),
    # -5% is a wrong share, not an option.
    Lazy(
        "fault",
        "Set or clear faults of an ECU or a bus.",
        lambda: import_module("otabench.bench.cli.faults").fault,
        ignore_unknown_options=True,
    ),
    Lazy(
        "attack",
        "Make an attack on the running bench, and show what stops it.",
        lambda: import_module("otabench.bench.cli.attack").attack,
    ),
    CAMPAIGN,
    VEHICLE,
    Lazy("trace", "Print the events of one job in order.", lambda: import_module("otabench.bench.cli.trace").trace),
    Lazy("report", "Write a run as one HTML page.", lambda: import_module("otabench.bench.cli.report").report),
    EVIDENCE,
    AUDIT,
    RUNS,
    FIRMWARE,
    PROFILE,
    KEYS,
    CAPTURE,
    WIRESHARK,
    Lazy("dbc", "Write a DBC of the ECUs' periodic frames.", lambda: _captures().dbc),
    CAN,
    PERF,
    FLEET,
    Lazy(
        "with-can",
        "Run a command on a kernel with CAN: this one if possible, else a guest kernel.",
        lambda: import_module("otabench.bench.cli.with_can").with_can,
        ignore_unknown_options=True,
    ),
    Lazy(
        "doctor",
        "Show what this machine offers a bench, and what is missing.",
        lambda: import_module("otabench.bench.cli.doctor").doctor,
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
        summary = "A hardware-in-the-loop bench for over-the-air updates, from signed campaign to CAN frame."
        super().__init__(name, summary, COMMANDS, **settings)


app = typer.Typer(cls=_Otabench, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Declare the options of `otabench` itself."""
