"""The part of a bus entry that python-can defines: its environment variables, ``~/.canrc``, the keys of its interfaces.

What an entry omits (interface, channel, bit rates, CAN FD) is filled in from where ``can.Bus`` would read it:

* The sources are the environment variables CAN_INTERFACE, CAN_CHANNEL, CAN_BITRATE and CAN_CONFIG, then ``/etc/can.conf``, ``~/.can``
  and ``~/.canrc``. Of each kind, the variant of the entry's ``config_context`` comes first. The first source that has a key wins.
* Other keys in these sources are used only if the entry omits ``interface`` or ``channel``, or names a ``config_context``.
* Without any of these sources the interface is socketcan.

An entry may have the further keys that ``can.Bus`` accepts: the bit timing, the parameters of its interface's constructor, and
what that constructor may read from its ``**kwargs``. A key that looks like a misspelling of a known key, or that python-can
would ignore, is reported. Everything below ``options`` is passed on unchecked.
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

from otabench.bench.finding import Finding, fail
from otabench.bench.model_words import words
from otabench.bench.topology.entries import FD_BIT_TIMING, BusEntry

_OWN: Final = tuple(BusEntry.model_fields)
_LIKE: Final = 0.8
_FILL_ORDER: Final = ("interface", "channel", "bitrate", "fd", "data_bitrate")
_FROM_SETTINGS: Final = frozenset(_FILL_ORDER)
_FIX_SETTINGS: Final = "correct the CAN_* environment variables or python-can's configuration file"
_IGNORES_EXTRA_KEYS: Final = frozenset({"socketcan", "udp_multicast", "virtual", "socketcand"})
"""Interfaces whose constructors ignore ``**kwargs``."""
_CHANNEL_ONLY: Final = frozenset({"socketcan", "udp_multicast", "virtual"})
"""Interfaces that need only a channel. Their entries are filled in without importing python-can, which takes long."""
_BIT_TIMING: Final = FD_BIT_TIMING | {"brp", "tseg1", "tseg2", "sjw", "nof_samples"}
_CAN_BUS: Final = frozenset({"ignore_config"})
"""Keys of ``can.Bus`` itself, beside those of a bench file's entry."""


def fill_in(bus: str, entry: dict[str, Any]) -> list[Finding]:
    """Fill in a raw entry, move its interface's own keys to ``options``, and return what is wrong."""
    given = frozenset(entry)
    try:
        settings = _settings(entry)
    except (ValueError, TypeError, AttributeError, OSError, configparser.Error) as error:
        words = " ".join(str(error).split())
        settings, findings = [], [fail(f"buses.{bus}", f"python-can's settings cannot be read: {words}", _FIX_SETTINGS)]
    else:
        findings = [finding for source in settings for finding in _fill(bus, entry, source)]
    entry.setdefault("interface", "socketcan")
    if "interface" in given and (unknown := _unknown_interface(str(entry["interface"]))):
        findings.append(fail(f"buses.{bus}.interface", *unknown))
    findings += _move_further_keys(bus, entry)
    if not {"interface", "channel"} <= given or "config_context" in given:
        _take_further_keys(entry, settings)
    return findings + _missing_keys(bus, entry)


def _unknown_interface(interface: str) -> tuple[str, str] | None:
    """Return problem and remedy if python-can does not know the interface; None if it does."""
    if interface in _CHANNEL_ONLY:
        return None
    with quiet():
        from can.interfaces import VALID_INTERFACES
    if interface in VALID_INTERFACES:
        return None
    near = difflib.get_close_matches(interface, sorted(VALID_INTERFACES), n=1)
    known = f"it has {', '.join(sorted(VALID_INTERFACES))}; for any other interface, install its python-can plug-in"
    return f"python-can has no {interface!r}", f"did you mean {near[0]!r}?" if near else known


def _move_further_keys(bus: str, entry: dict[str, Any]) -> list[Finding]:
    """Move the keys that ``can.Bus`` accepts to ``options``; remove the others, and return a finding for each."""
    further = [key for key in entry if key not in _OWN]
    if not further or not isinstance(entry.get("options", {}), dict):  # the model refuses what is not a mapping
        return []
    options = entry["options"] = dict(entry.get("options", {}))
    interface = str(entry["interface"])
    named = _constructor(interface).keys() | _BIT_TIMING | _CAN_BUS
    findings = []
    for key in further:
        value = entry.pop(key)
        near = difflib.get_close_matches(str(key), sorted({*_OWN, *named}), n=1, cutoff=_LIKE)
        if key in named or not (near or interface in _IGNORES_EXTRA_KEYS):
            options[key] = value
            continue
        known = ", ".join(sorted(named - set(_OWN) - _BIT_TIMING - _CAN_BUS))
        remedy = f"did you mean {near[0]!r}? (" if near else f"{interface} has {known}; "
        way_out = f"`options: {{{key}: …}}` passes it on to can.Bus as it is" + (")" if near else "")
        findings.append(fail(f"buses.{bus}.{key}", "unknown key", f"{remedy}{way_out}"))
    return findings


def _missing_keys(bus: str, entry: Mapping[str, Any]) -> list[Finding]:
    """Return a finding for each required argument of the interface's constructor that the entry does not have."""
    interface, options = str(entry["interface"]), entry.get("options", {})
    if interface in _CHANNEL_ONLY or not isinstance(options, dict):
        return []
    needed = {
        key
        for key, parameter in _constructor(interface).items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    missing = sorted(needed - {"channel"} - entry.keys() - options.keys())
    return [
        fail(f"buses.{bus}.{key}", "this key is missing", f"interface {interface} needs it: add it") for key in missing
    ]


def _constructor(interface: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of an interface's constructor; none if its library is not installed."""
    with quiet():
        from can import exceptions

        # private, but the only way to an interface's constructor that also finds plug-ins
        from can.interface import _get_class_for_interface

        try:
            named = inspect.signature(_get_class_for_interface(interface).__init__).parameters
        except (exceptions.CanError, ImportError, NotImplementedError):
            return {}
    return {key: parameter for key, parameter in named.items() if key not in ("self", "args", "kwargs")}


@dataclass(frozen=True)
class _Source:
    """The settings in one of python-can's sources.

    Attributes:
        name: the source as messages name it.
        values: as python-can reads them.
        written: the values as strings, before conversion.
    """

    name: str
    values: dict[str, Any]
    written: dict[str, Any]


def _settings(entry: Mapping[str, Any]) -> list[_Source]:
    """Return the sources that have settings, in python-can's order. None if the entry is complete and names no ``config_context``."""
    if not _omitted(entry) and "config_context" not in entry:
        return []
    with quiet():
        from can import util
    context = entry.get("config_context")
    found = []
    for section in ([] if context is None else [str(context)]) + [None]:
        suffix = f"_{section}" if section else ""
        name = f"python-can's environment variables (CAN_BITRATE{suffix}, CAN_CONFIG{suffix}, …)"
        found.append((name, util.load_environment_config(section)))
    for section in ([] if context is None else [str(context)]) + ["default"]:
        name = f"~/.canrc, ~/.can or /etc/can.conf, section {section}"
        found.append((name, dict(util.load_file_config(section=section))))
    return [
        _Source(name, _plain(written, util.cast_from_string), _plain(written, str))
        for name, written in found
        if written
    ]


def _plain(values: Mapping[str, Any], cast: Callable[[str], Any]) -> dict[str, Any]:
    """Apply ``cast`` to every string, and rename the old key ``bustype`` to ``interface``."""
    return {
        "interface" if key == "bustype" else key: cast(value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _omitted(entry: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys that python-can's settings may fill in; a data bit rate has no meaning without CAN FD."""
    omitted = _FROM_SETTINGS - entry.keys()
    return omitted if entry.get("fd") or "fd" in omitted else omitted - {"data_bitrate"}


def _fill(bus: str, entry: dict[str, Any], source: _Source) -> Iterator[Finding]:
    """Take from one source what the entry omits; yield what is wrong with it."""
    for key in sorted(_omitted(entry) & source.values.keys(), key=_FILL_ORDER.index):
        if key == "data_bitrate" and not entry.get("fd"):
            continue
        value = source.values[key]
        unknown = _unknown_interface(str(value)) if key == "interface" else None
        problem = "; ".join(unknown) if unknown else ""
        try:
            # checked one by one, so that the message names the source and not a key of the bench file
            BusEntry.model_validate({"channel": "", key: value})
        except ValidationError as error:
            problem, _ = words(dict(error.errors()[0]), written=source.written[key])
        if problem:
            yield fail(f"buses.{bus}", f"{key} from {source.name}: {problem}", _FIX_SETTINGS)
        else:
            entry[key] = value


def _take_further_keys(entry: dict[str, Any], sources: Sequence[_Source]) -> None:
    """Pass on all further settings of the sources unchecked: these files are python-can's, not the bench's."""
    # reversed: the first source wins, as in python-can
    further = {key: value for source in reversed(sources) for key, value in source.values.items() if key not in _OWN}
    if further and isinstance(entry.get("options", {}), dict):
        entry["options"] = further | entry.get("options", {})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep python-can's interfaces from printing at import which libraries are missing; the doctor reports that."""
    logger = logging.getLogger("can")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
