"""What a bus entry of the bench file leaves to python-can: its environment variables, ``~/.canrc``, its interfaces' own keys.

Decides what is filled in: an entry without ``interface`` or ``channel``, or with a ``config_context``, takes what it omits
from where ``can.Bus`` would: CAN_INTERFACE, CAN_CHANNEL, CAN_BITRATE, CAN_CONFIG (with the context as suffix first), then
``/etc/can.conf``, ``~/.can`` and ``~/.canrc`` (the context's section first). Without any of these the interface is socketcan.

Decides which further keys an entry may have: what ``can.Bus`` takes. That is the bit timing, what the constructor of its interface
names, and whatever else it may read from its ``**kwargs``. A key that looks like one of these misspelt is a mistake, and so is one
that python-can would ignore. Below ``options`` everything is passed on.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import logging
from collections.abc import Iterator
from typing import Any, Final

from bench.topology_entries import FD_BIT_TIMING, BusEntry

_OWN: Final = tuple(BusEntry.model_fields)
_LIKE: Final = 0.8
_NOTHING_FURTHER: Final = frozenset({"socketcan", "udp_multicast", "virtual", "socketcand"})
"""Interfaces whose constructors read nothing that they do not name."""
_BIT_TIMING: Final = FD_BIT_TIMING | {"brp", "tseg1", "tseg2", "sjw", "nof_samples"}
_CAN_BUS: Final = frozenset({"ignore_config"})
"""Of ``can.Bus`` itself, beside those of a bench file's entry."""


def complete(bus: str, entry: dict[str, Any]) -> list[str]:
    """Fills a raw entry in, and moves its interface's own keys to ``options``. Returns what is wrong."""
    problems = []
    if not {"interface", "channel"} <= entry.keys() or "config_context" in entry:
        try:
            _fill(entry)
        except (ValueError, OSError) as error:  # CAN_CONFIG is no JSON, a configuration file is none
            problems.append(
                f"buses.{bus}: python-can's settings cannot be read: {error}; correct CAN_CONFIG or ~/.canrc"
            )
    entry.setdefault("interface", "socketcan")
    return problems + _move_further_keys(bus, entry)


def _move_further_keys(bus: str, entry: dict[str, Any]) -> list[str]:
    """Moves what ``can.Bus`` takes to ``options``, and takes out what it does not: that is wrong."""
    further = [key for key in entry if key not in _OWN]
    if not further or not isinstance(entry.get("options", {}), dict):  # what is no mapping is for the model to refuse
        return []
    options = entry["options"] = dict(entry.get("options", {}))
    interface = str(entry["interface"])
    named = constructor_keys(interface)
    problems = []
    for key in further:
        value = entry.pop(key)
        near = difflib.get_close_matches(str(key), sorted({*_OWN, *named}), n=1, cutoff=_LIKE)
        if key in named or not (near or interface in _NOTHING_FURTHER):
            options[key] = value
            continue
        known = ", ".join(sorted(named - set(_OWN) - _BIT_TIMING - _CAN_BUS))
        remedy = f"did you mean {near[0]!r}? (" if near else f"{interface} has {known}; "
        way_out = f"`options: {{{key}: …}}` passes it on to can.Bus as it is" + (")" if near else "")
        problems.append(f"buses.{bus}.{key}: unknown key; {remedy}{way_out}")
    return problems


def constructor_keys(interface: str) -> frozenset[str]:
    """Keys that ``can.Bus`` and an interface's constructor name; of the constructor none where its library is not installed."""
    with _quiet():
        from can import exceptions
        from can.interface import _get_class_for_interface

        try:
            own = frozenset(inspect.signature(_get_class_for_interface(interface).__init__).parameters)
        except (exceptions.CanError, ImportError, NotImplementedError):
            own = frozenset()
    return (own - {"self", "args", "kwargs"}) | _BIT_TIMING | _CAN_BUS


def _fill(entry: dict[str, Any]) -> None:
    with _quiet():
        from can import util
    context = entry.get("config_context")
    sections = [] if context is None else [str(context)]
    sources = [util.load_environment_config(section) for section in [*sections, None]]
    sources += [util.load_file_config(section=section) for section in [*sections, "default"]]
    for source in sources:
        for key, value in source.items():
            entry.setdefault(key, util.cast_from_string(value) if isinstance(value, str) else value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """python-can's interfaces say at import which libraries they miss; that is the doctor's to say."""
    logger = logging.getLogger("can")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
