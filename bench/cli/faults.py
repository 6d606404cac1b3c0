"""``otabench fault``: faults of the running bench's ECUs and buses, and the power of its ECUs."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Final

import typer

from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST, RunDir
from otabench.bench.errors import UnknownName, WrongUsage
from otabench.bench.faults import control_port
from otabench.bench.faults.load_plan import LOAD_KIND
from otabench.bench.launcher.bus_faults import BusPorts

_POWER: Final = ("on", "off", "cycle")


def fault(
    target: Annotated[
        str, typer.Argument(metavar="ECU|BUS", help="A simulated ECU or a bus; `bus` if there is only one.")
    ],
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="A fault kind, `clear`, `on`, `off` or `cycle` (power); `list` lists the kinds."
        ),
    ] = "",
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Parameters of the fault, as `list` shows them.")
    ] = None,
    run: RunDir = LATEST,
) -> None:
    """Set or clear faults of an ECU or a bus.

    `otabench fault engine silent count=3`, `otabench fault bus load 60%`, `otabench fault engine clear`. Each part is a word of its own;
    only --fault of `bench run` and `up` takes them in one: `bus:load:60%`.
    """
    given = parameters or []
    _require_words([target, kind, *given])
    if kind == "list":
        for name, text in (control_port.FAULT_KINDS | control_port.NO_FAULTS).items():
            print(f"{name:<19} {text}")
        return
    if kind not in control_port.NO_FAULTS:
        control_port.checked_kind(kind)
    bench = running.find(run)
    buses = BusPorts.of(bench.content)
    if buses.concerns(target, kind):
        _bus_fault(buses, target, kind, given)
        return
    if target not in bench.content["control_ports"]:
        raise UnknownName("simulated ECU or bus", target, buses.targets(bench.content["control_ports"]))
    port = bench.ecu(target)
    if kind == "clear":
        port.clear()
    elif kind in _POWER:
        port.power(kind)
    else:
        port.fault(kind, **control_port.parse_parameters(given))
    faults = ", ".join(control_port.shown(found) for found in port.state()["faults"]) or "none"
    print(f"{target}: power {port.state()['power']}, faults: {faults}")


def _require_words(words: list[str]) -> None:
    """Refuse what is written as for --fault, with the line that was meant.

    Raises:
        WrongUsage: a word has several parts, or there is no kind.
    """
    parts = [part for word in words for part in re.split(r"[:\s]+", word) if part]
    if len(parts) > len([word for word in words if word]):
        raise WrongUsage(f"did you mean `otabench fault {shlex.join(parts)}`? Each part is a word of its own")
    if len(parts) < 2:
        raise WrongUsage("which fault? `otabench fault engine list` lists the kinds")


def _bus_fault(buses: BusPorts, target: str, kind: str, parameters: list[str]) -> None:
    if kind == "clear":
        ports = [buses.load_of(target)]
        ports += [buses.gate_of(target)] if ports[0].ecu in buses.gates else []
        for port in ports:
            port.clear()
            print(bus_line(port.what, port.ecu, port.state()))
        return
    given = control_port.parse_parameters(parameters, kind=control_port.checked_kind(kind))
    state = buses.set_fault(target, kind, given)
    if kind == LOAD_KIND:
        port = buses.load_of(target)
        print(bus_line(port.what, port.ecu, port.state()))
    else:
        print(bus_line("frame gate", target, state))


def bus_line(what: str, name: str, state: dict[str, Any]) -> str:
    if "frames" in state:
        faults = ", ".join(f"{found['kind']} (acted {found['acted']})" for found in state["faults"]) or "none"
        return f"{name}: frames seen {sum(state['frames'].values())}, faults: {faults}, seed {state['seed']}"
    if not state["faults"]:
        return f"{what} {name}: none"
    measured, whole = state["measured_percent"], state["bus_percent"]
    return (
        f"{what} {name}: asked {state['asked_percent']:g} %, measured {_percent(measured)}, all traffic {_percent(whole)}; "
        f"{state['frames_per_s']} frames/s of {state['identifiers']} identifiers, {state['faults'][0]['ids']}, "
        f"seed {state['seed']}"
    )


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f} %"
