"""Error counters of CAN interfaces, before and after a test.

A bus is sick if its controller is not ERROR-ACTIVE, its interface is down, or its error counters rose. ``bus.link_state`` reads them;
interfaces that do not belong to the kernel have no counters here. Pure except for ``read``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.bus import link_state
from otabench.bench.bus.link_state import LinkState
from otabench.bench.errors import BenchError

_HEALTHY_STATES: Final = frozenset({"", "ERROR-ACTIVE"})
_REMEDY: Final = "look at wiring, termination and bit rate of all nodes"


@dataclass(frozen=True)
class Counters:
    """What an interface reports about itself.

    Attributes:
        state: of the controller, as the kernel names it; empty for a virtual interface.
        up: whether the interface is up.
        errors: by name; they only rise.
        tec, rec: transmit and receive error counter, if the controller reports them.
    """

    state: str = ""
    up: bool = True
    errors: Mapping[str, int] = field(default_factory=dict)
    tec: int | None = None
    rec: int | None = None


def of_link(link: LinkState) -> Counters:
    """Return the counters of an interface. ``restarts`` is not an error: a controller that restarts is well again."""
    errors = {}
    if link.received is not None:
        errors = {"rx errors": link.received.errors, "rx over errors": link.received.over_errors}
    if link.sent is not None:
        errors["tx errors"] = link.sent.errors
    errors |= {name.replace("_", " "): value for name, value in link.events.items() if name != "restarts"}
    return Counters(
        state=link.state,
        up=link.is_up,
        errors=errors,
        tec=link.tx_errors if link.has_error_counters else None,
        rec=link.rx_errors if link.has_error_counters else None,
    )


def problems(channel: str, before: Counters, after: Counters) -> list[str]:
    """Return what is wrong with an interface after a test; one line each."""
    found = []
    if not after.up:
        found.append(f"bus {channel}: the interface is down; `ip link set {channel} up`")
    if after.state not in _HEALTHY_STATES:
        counted = f" (TEC {after.tec}, REC {after.rec})" if after.tec is not None else ""
        found.append(f"bus {channel}: the controller is {after.state}{counted}; {_REMEDY}")
    risen = [
        f"{name} +{value - before.errors.get(name, 0)}"
        for name, value in after.errors.items()
        if value > before.errors.get(name, 0)
    ]
    if risen:
        found.append(f"bus {channel}: error counters rose during the test: {', '.join(risen)}; {_REMEDY}")
    return found


def read(channel: str) -> Counters | None:
    """Return the counters of a SocketCAN interface now; None where it cannot be asked."""
    try:
        return of_link(link_state.read(channel))
    except BenchError:
        return None
