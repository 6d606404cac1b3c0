"""What a bus entry of the bench file leaves to python-can: its environment variables, ``~/.canrc``, its interfaces' own keys.

Decides what is filled in: an entry without ``interface`` or ``channel``, or with a ``config_context``, takes what it omits
from where ``can.Bus`` would: CAN_INTERFACE, CAN_CHANNEL, CAN_BITRATE, CAN_CONFIG (with the context as suffix first), then
``/etc/can.conf``, ``~/.can`` and ``~/.canrc`` (the context's section first). Without any of these the interface is socketcan.

Decides which further keys an entry may have: those of the constructor of its interface. A key that nobody knows stays where
it is, for the model to refuse; so does one that looks like a known key misspelt.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import logging
from collections.abc import Iterator
from typing import Any, Final

from bench.topology_entries import BusEntry

_OWN: Final = tuple(BusEntry.model_fields)
_LIKE: Final = 0.8


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
    if "channel" not in entry:
        problems.append(
            f"buses.{bus}.channel: this key is missing; add it, or set CAN_CHANNEL, or a section of ~/.canrc"
        )
    extra = [key for key in entry if key not in _OWN]
    options = entry.setdefault("options", {}) if extra else {}
    if extra and isinstance(options, dict):
        accepted = constructor_keys(str(entry["interface"]))
        for key in extra:
            if key in accepted or (not accepted and not difflib.get_close_matches(str(key), _OWN, n=1, cutoff=_LIKE)):
                options[key] = entry.pop(key)
        if not options:
            del entry["options"]
    return problems


def constructor_keys(interface: str) -> frozenset[str]:
    """Keys of an interface's ``can.Bus``; empty where its driver's library is not installed and nobody can tell."""
    with _quiet():
        from can import exceptions
        from can.interface import _get_class_for_interface

        try:
            found = _get_class_for_interface(interface)
        except (exceptions.CanError, ImportError, NotImplementedError):
            return frozenset()
    own = inspect.signature(found.__init__).parameters
    return frozenset(own) - {"self", "args", "kwargs"}


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
