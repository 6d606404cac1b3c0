"""Options that several commands share. Each is written once, with its help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_type_hints

import typer

from otabench.bench.errors import WrongUsage
from otabench.bench.finding import nearest
from otabench.bench.launcher.options import TransferPolicy
from otabench.proto.conditions import Condition

_OTHER_WORDS: Final = {
    "patch": TransferPolicy.DELTA,
    "patches": TransferPolicy.DELTA,
    "diff": TransferPolicy.DELTA,
    "image": TransferPolicy.FULL,
}
"""What people type for a transfer, and what they mean."""


def parse_transfer(text: str) -> TransferPolicy:
    """Return the transfer of that name.

    Raises:
        WrongUsage: there is none; the message contains the one that was probably meant.
    """
    try:
        return TransferPolicy(text)
    except ValueError:
        known = f"known: {', '.join(TransferPolicy)}"
        meant = _OTHER_WORDS.get(text.lower()) or nearest(text, TransferPolicy)
        raise WrongUsage(
            f"--transfer: there is no transfer {text!r}; {f'did you mean {str(meant)!r}? ' if meant else ''}{known}"
        ) from None


LATEST: Final = Path("runs/latest")
MAX_WAIT_S: Final = 604_800
"""A week. Every number of a command has an upper bound; clocks and ``poll`` of the system overflow soon after this one."""
MAX_RUNS: Final = 1_000_000
MAX_SEED: Final = 2**32 - 1

BenchFile = Annotated[Path | None, typer.Option("--bench", help="Bench file; by default two simulated ECUs.")]
RunDir = Annotated[Path, typer.Option("--run", metavar="DIR", help="The run's folder.")]
KeysDir = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        help="Keys of `otabench keys init`. Default: the running bench's, else the folder `keys`.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
BenchWait = Annotated[
    float,
    typer.Option(
        "--bench-wait", metavar="SECONDS", min=0, max=MAX_WAIT_S, help="Wait for a bench that another run uses."
    ),
]
TransferOption = Annotated[
    TransferPolicy,
    typer.Option(
        "--transfer",
        parser=parse_transfer,
        metavar="|".join(TransferPolicy),
        autocompletion=lambda: list(TransferPolicy),
        help="What the campaign sends: patches where they pay, full images, or patches.",
    ),
]
Encrypt = Annotated[bool, typer.Option("--encrypt", help="Encrypt every file for the one ECU that receives it.")]
Campaign = Annotated[str | None, typer.Argument(help="By default the newest.")]


Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        metavar="TEXT",
        help="What the vehicle must meet, e.g. 'supply_v>=12'; can be repeated; `none` for nothing.",
    ),
]


def parse_conditions(texts: list[str] | None) -> tuple[str, ...] | None:
    """Return the conditions of a campaign; None if none were given.

    Raises:
        WrongUsage: a text states no condition.
    """
    if texts is None:
        return None
    try:
        return tuple(str(Condition.parse(text)) for text in texts if text != "none")
    except ValueError as error:
        raise WrongUsage(f"--condition: {error}") from None


@dataclass(frozen=True)
class BenchArguments:
    """The options that `otabench bench run` and `otabench up` share."""

    bench: BenchFile = None
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="ECU:KIND", help="A fault from the start: engine:boot-fail, bus:load:60%."),
    ] = None
    transfer: TransferOption = TransferPolicy.AUTO
    encrypt: Encrypt = False
    no_pace: Annotated[bool, typer.Option("--no-pace", help="Let a virtual bus run as fast as it can.")] = False
    hmi_port: Annotated[
        int,
        typer.Option(
            "--hmi-port", metavar="PORT", min=1, max=65535, envvar="HMI_PORT", help="Port of the driver's page."
        ),
    ] = 8080
    runs_dir: Annotated[Path, typer.Option("--runs-dir", help="Where the run's folder is made.")] = Path("runs")
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", metavar="N", min=1, max=MAX_RUNS, help="Remove all but the newest N runs, once this one is over."
        ),
    ] = None
    keep_keys: Annotated[
        bool, typer.Option("--keep-keys", help="Leave the private keys that the run makes in its folder when it ends.")
    ] = False
    bench_wait: BenchWait = 0.0
    ready_timeout: Annotated[
        float | None,
        typer.Option(
            "--ready-timeout",
            metavar="SECONDS",
            min=1,
            max=86_400,
            help="Give up if no process of the bench becomes ready for this long. Default: by the number of processes.",
        ),
    ] = None
    condition: Conditions = None
    chaos: Annotated[list[str] | None, typer.Option("--chaos", hidden=True)] = None

    def __post_init__(self) -> None:
        if self.chaos:
            raise WrongUsage("there is no option --chaos; did you mean --fault?")


_Command = TypeVar("_Command", bound=Callable[..., Any])


def with_options(command: _Command) -> _Command:
    """Declare the fields of a command's first parameter, a dataclass, as its options, and pass them as that one object.

    typer reads a command's options from its signature, so that is what this decorator writes.
    """
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    group: type[Any] = first.annotation
    hints = get_type_hints(group, include_extras=True)
    grouped = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
    names = {parameter.name for parameter in grouped}

    def called(**given: Any) -> Any:
        options = group(**{name: given[name] for name in names})
        return command(options, **{name: value for name, value in given.items() if name not in names})

    called.__doc__, called.__name__ = command.__doc__, command.__name__
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in (*grouped, *own)}
    parameters = [*grouped, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own)]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called  # type: ignore[return-value]
