"""Error counters of CAN interfaces, before and after a test.

A bus is sick if its controller is not ERROR-ACTIVE, its interface is down, or its error counters rose. Reading is one call of ``ip``;
interfaces that the kernel does not know have no counters here. Pure except for ``read``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_TIMEOUT_S: Final = 5.0
_HEALTHY_STATES: Final = frozenset({"", "ERROR-ACTIVE"})
_REMEDY: Final = "look at wiring, termination and bit rate of all nodes"


@dataclass(frozen=True)
class Counters:
    """What an interface says of itself.

    Attributes:
        state: of the controller, as the kernel names it; empty for a virtual interface.
        up: whether the interface is up.
        errors: by name; they only rise.
        tec, rec: transmit and receive error counter, where the controller tells.
    """

    state: str = ""
    up: bool = True
    errors: Mapping[str, int] = field(default_factory=dict)
    tec: int | None = None
    rec: int | None = None


def parse(link: Mapping[str, Any]) -> Counters:
    """Read one entry of ``ip -json -details -statistics link``."""
    info = link.get("linkinfo", {})
    data = info.get("info_data", {})
    berr = data.get("berr_counter", {})
    stats = link.get("stats64", {})
    rx, tx = stats.get("rx", {}), stats.get("tx", {})
    errors = {
        "rx errors": int(rx.get("errors", 0)),
        "rx over errors": int(rx.get("over_errors", 0)),
        "tx errors": int(tx.get("errors", 0)),
    }
    for name, value in info.get("info_xstats", {}).items():
        if name != "restarts" and isinstance(value, int):
            errors[name.replace("_", " ")] = value
    return Counters(
        state=str(data.get("state", "")),
        up="UP" in link.get("flags", ()),
        errors=errors,
        tec=berr.get("tx"),
        rec=berr.get("rx"),
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
        done = subprocess.run(
            ["ip", "-json", "-details", "-statistics", "link", "show", "dev", channel],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        links = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return parse(links[0]) if links else None
