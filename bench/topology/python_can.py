"""What a bus entry of the bench file leaves to python-can: its environment variables, ``~/.canrc``, its interfaces' own keys.

Decides what is filled in: interface, channel, bit rates and CAN FD that an entry omits come from where ``can.Bus`` would take them:
CAN_INTERFACE, CAN_CHANNEL, CAN_BITRATE, CAN_CONFIG (with the context as suffix first), then ``/etc/can.conf``, ``~/.can`` and
``~/.canrc`` (the context's section first). Their further keys belong to their interface: they come along where the entry omits
``interface`` or ``channel``, or has a ``config_context``. Without any of these the interface is socketcan.

Decides which further keys an entry may have: what ``can.Bus`` takes. That is the bit timing, what the constructor of its interface
names, and whatever else it may read from its ``**kwargs``. A key that looks like one of these misspelt is a mistake, and so is one
that python-can would ignore. Below ``options`` everything is passed on.
"""

from __future__ import annotations

import configparser
import contextlib
import difflib
import inspect
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from otabench.bench.topology.entries import FD_BIT_TIMING, BusEntry

_OWN: Final = tuple(BusEntry.model_fields)
_LIKE: Final = 0.8
_FILL_ORDER: Final = ("interface", "channel", "bitrate", "fd", "data_bitrate")
_FROM_SETTINGS: Final = frozenset(_FILL_ORDER)
_CORRECT: Final = "correct CAN_CONFIG and the like, or ~/.canrc"
_NOTHING_FURTHER: Final = frozenset({"socketcan", "udp_multicast", "virtual", "socketcand"})
"""Interfaces whose constructors read nothing that they do not name."""
_COMPLETE: Final = frozenset({"socketcan", "udp_multicast", "virtual"})
"""Interfaces that need nothing beyond a channel, and no library: python-can need not be asked about them."""
_BIT_TIMING: Final = FD_BIT_TIMING | {"brp", "tseg1", "tseg2", "sjw", "nof_samples"}
_CAN_BUS: Final = frozenset({"ignore_config"})
"""Of ``can.Bus`` itself, beside those of a bench file's entry."""


def complete(bus: str, entry: dict[str, Any]) -> list[str]:
    """Fill a raw entry in, and move its interface's own keys to ``options``. Returns what is wrong."""
    given = frozenset(entry)
    try:
        settings = _settings(entry)
    except (ValueError, TypeError, AttributeError, OSError, configparser.Error) as error:
        words = " ".join(str(error).split())
        settings, problems = [], [f"buses.{bus}: python-can's settings cannot be read: {words}; {_CORRECT}"]
    else:
        problems = [problem for source in settings for problem in _fill(bus, entry, source)]
    entry.setdefault("interface", "socketcan")
    if "interface" in given and (unknown := _unknown_interface(str(entry["interface"]))):
        problems.append(f"buses.{bus}.interface: {unknown}")
    problems += _move_further_keys(bus, entry)
    if not {"interface", "channel"} <= given or "config_context" in given:
        _take_further_keys(entry, settings)
    return problems + _missing_keys(bus, entry)


def _unknown_interface(interface: str) -> str:
    """Return what is wrong with an interface's name, with the remedy; empty where python-can knows it."""
    if interface in _COMPLETE:
        return ""
    with quiet():
        from can.interfaces import VALID_INTERFACES
    if interface in VALID_INTERFACES:
        return ""
    near = difflib.get_close_matches(interface, sorted(VALID_INTERFACES), n=1)
    known = f"it has {', '.join(sorted(VALID_INTERFACES))}; another one comes with its plug-in's package"
    return f"python-can has no {interface!r}; {f'did you mean {near[0]!r}?' if near else known}"


def _move_further_keys(bus: str, entry: dict[str, Any]) -> list[str]:
    """Move what ``can.Bus`` takes to ``options``, and takes out what it does not: that is wrong."""
    further = [key for key in entry if key not in _OWN]
    if not further or not isinstance(entry.get("options", {}), dict):  # what is no mapping is for the model to refuse
        return []
    options = entry["options"] = dict(entry.get("options", {}))
    interface = str(entry["interface"])
    named = _constructor(interface).keys() | _BIT_TIMING | _CAN_BUS
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


def _missing_keys(bus: str, entry: Mapping[str, Any]) -> list[str]:
    """Return what the constructor of an entry's interface cannot do without."""
    interface, options = str(entry["interface"]), entry.get("options", {})
    if interface in _COMPLETE or not isinstance(options, dict):
        return []
    needed = {
        key
        for key, parameter in _constructor(interface).items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    missing = sorted(needed - {"channel"} - entry.keys() - options.keys())
    return [f"buses.{bus}.{key}: this key is missing; interface {interface} needs it: add it" for key in missing]


def _constructor(interface: str) -> dict[str, inspect.Parameter]:
    """Return what an interface's constructor names; nothing where its library is not installed and nobody can tell."""
    with quiet():
        from can import exceptions
        from can.interface import _get_class_for_interface

        try:
            named = inspect.signature(_get_class_for_interface(interface).__init__).parameters
        except (exceptions.CanError, ImportError, NotImplementedError):
            return {}
    return {key: parameter for key, parameter in named.items() if key not in ("self", "args", "kwargs")}


@dataclass(frozen=True)
class _Source:
    """What one of python-can's sources says. ``name`` with its verb."""

    name: str
    values: dict[str, Any]


def _settings(entry: Mapping[str, Any]) -> list[_Source]:
    """Return all sources that say something, in python-can's order; none where the entry omits nothing that they could say."""
    if not _omitted(entry) and "config_context" not in entry:
        return []
    with quiet():
        from can import util
    context = entry.get("config_context")
    found = []
    for section in ([] if context is None else [str(context)]) + [None]:
        suffix = f"_{section}" if section else ""
        name = f"python-can's environment variables (CAN_BITRATE{suffix}, CAN_CONFIG{suffix}, …) say"
        found.append(_Source(name, util.load_environment_config(section)))
    for section in ([] if context is None else [str(context)]) + ["default"]:
        name = f"~/.canrc, ~/.can or /etc/can.conf, section {section}, says"
        found.append(_Source(name, dict(util.load_file_config(section=section))))
    return [_Source(source.name, _plain(source.values, util.cast_from_string)) for source in found if source.values]


def _plain(values: Mapping[str, Any], cast: Callable[[str], Any]) -> dict[str, Any]:
    """Return the settings as python-can takes them: texts that are numbers or truth values as such, and one old name."""
    return {
        "interface" if key == "bustype" else key: cast(value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _omitted(entry: Mapping[str, Any]) -> frozenset[str]:
    """Keys that python-can's settings may fill in; a data bit rate has no meaning without CAN FD."""
    omitted = _FROM_SETTINGS - entry.keys()
    return omitted if entry.get("fd") or "fd" in omitted else omitted - {"data_bitrate"}


def _fill(bus: str, entry: dict[str, Any], source: _Source) -> Iterator[str]:
    """Take from one source what the entry omits, and tell what is wrong with it."""
    for key in sorted(_omitted(entry) & source.values.keys(), key=_FILL_ORDER.index):
        if key == "data_bitrate" and not entry.get("fd"):
            continue
        value = source.values[key]
        problem = _unknown_interface(str(value)) if key == "interface" else ""
        try:
            BusEntry.model_validate({"channel": "", key: value})
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            problem = f"{message[:1].lower()}{message[1:]}"
        if problem:
            yield f"buses.{bus}: {source.name} {key} {value!r}: {problem}; {_CORRECT}"
        else:
            entry[key] = value


def _take_further_keys(entry: dict[str, Any], sources: Sequence[_Source]) -> None:
    """Pass on what the sources say beyond an entry's own keys, whatever it is: they are python-can's, not the bench file's."""
    further = {key: value for source in reversed(sources) for key, value in source.values.items() if key not in _OWN}
    if further and isinstance(entry.get("options", {}), dict):
        entry["options"] = further | entry.get("options", {})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """python-can's interfaces say at import which libraries they miss; that is the doctor's to say."""
    logger = logging.getLogger("can")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
