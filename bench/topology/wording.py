"""Findings from the mistakes that pydantic reports in a bench file: key, problem and remedy in plain words. Pure.

``model_words`` has what holds for any file. This module adds the bench file's keys, and how to write the value of each. No finding names a
Python type or shows a regular expression. A secret is never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from otabench.bench.finding import Finding, fail, unknown_key_remedy
from otabench.bench.model_words import KINDS, quoted, shortened, words
from otabench.bench.topology.entries import (
    BusEntry,
    EcuEntry,
    FormerImageEntry,
    LabEntry,
    PowerEntry,
    SecurityEntry,
    VehicleEntry,
)
from otabench.bench.yaml_text import Place
from otabench.proto.periodic import PeriodicFrame, PeriodicSignal
from otabench.proto.process_config import EcuTiming, IsoTpConfig

_TOP_KEYS: Final = ("vehicle", "buses", "ecus", "keys", "lab")
_SUBMODELS: Final[dict[str, type[BaseModel]]] = {
    "vehicle": VehicleEntry,
    "buses": BusEntry,
    "ecus": EcuEntry,
    "isotp": IsoTpConfig,
    "timing": EcuTiming,
    "power": PowerEntry,
    "lab": LabEntry,
    "security": SecurityEntry,
    "periodic": PeriodicFrame,
    "signals": PeriodicSignal,
    "former_image": FormerImageEntry,
}
_FORMS: Final = {
    "vin": "17 capital letters and digits without I, O, Q",
    "hardware_id": "1 to 32 letters, digits, ., _ and -, a letter or digit first",
    "serial": "1 to 32 ASCII characters, none of them a blank",
    "part_number": "1 to 32 ASCII characters, none of them a blank",
    "algorithm": "hmac-sha256, or a plug-in of yours as module:function",
    "secret": "pairs of hexadecimal digits",
    "personality": "the name of a shipped sequence profile, such as single-bank",
    "name": "1 to 32 letters, digits and _, a letter first",
    "place": "1 to 64 letters, digits, ., _ and -",
    "coordinator": "HOST or HOST:PORT",
    "resource": "at most 64 letters, digits, ., _ and -",
    "unit": "no quotation mark, backslash or line break",
}
_SECRET_KEYS: Final = ("secret", "security")
"""The second one too: a secret may stand in the place of the section."""


def field_finding(detail: Mapping[str, Any], written: Mapping[Place, str] | None = None) -> Finding:
    """Return one of pydantic's error details as a finding.

    Args:
        detail: as pydantic reports it.
        written: the file's unquoted values as they are written (``yaml_text.Document``); None: not known.
    """
    location, kind, value = tuple(detail["loc"]), str(detail["type"]), detail.get("input")
    if location[-2:-1] == ("channel",):  # a union: pydantic reports one error for each member
        location = location[:-1]
        kind = "channel_number" if isinstance(value, int) and not isinstance(value, bool) else "name_or_number"
    text = (written or {}).get(location)
    is_key = location[-1] == "[key]"
    location = location[:-1] if is_key else location
    where, key = ".".join(shortened(str(part)) for part in location), str(location[-1])
    if is_key:
        return fail(where, "the name is not text", f"quote it: '{text}'" if text else "quote it")
    if kind == "extra_forbidden":
        return fail(where, "unknown key", unknown_key_remedy(key, _known_keys(location)))
    if kind == "missing":
        otherwise = ", or set CAN_CHANNEL, or a section of ~/.canrc" if location[0] == "buses" else ""
        return fail(where, "this key is missing", f"add it{otherwise}")
    found = _found(key, value, text)
    if kind == "channel_number":
        return fail(where, f"{found} does not fit", "expected a name, or a number from 0 to 2147483647")
    if kind == "string_pattern_mismatch":
        return fail(where, f"{found} does not fit", f"expected {_FORMS.get(key, 'another form')}")
    if kind in KINDS:
        return _wrong_kind(where, key, KINDS[kind], value, found)
    if kind == "value_error":
        return fail(where, str(detail["msg"]).removeprefix("Value error, "), "correct it")
    problem, remedy = words(detail, written=text, found=found)  # ``found`` never quotes a secret
    return fail(where, problem, remedy or "correct the value")


def octal_findings(written: Mapping[Place, str]) -> list[Finding]:
    """Return a finding for each number with a leading zero, which YAML 1.1 reads to the base 8 and other readers to the base 10."""
    return [
        fail(
            ".".join(map(str, place)),
            f"{text} is the number {int(text.replace('_', ''), 8)} for YAML 1.1, which reads it as octal",
            f"write {int(text.replace('_', ''), 8)}, or {int(text.replace('_', ''))} if that is meant",
        )
        for place, text in written.items()
        if re.fullmatch(r"[-+]?0[0-7_]*[0-7][0-7_]*", text)
    ]


def _found(key: str, value: Any, text: str | None) -> str:
    """Return a value as messages quote it: as it is written, never a secret, never long."""
    # never the secret itself: error messages end up in logs and bug reports
    if key in _SECRET_KEYS and isinstance(value, str | int | float):
        return f"a secret of {len(text or str(value))} characters"
    if value is None or value == {}:
        return "nothing"
    return shortened(re.sub(r"[0-9a-fA-F]{64}", "…", quoted(value, text)))


def _wrong_kind(where: str, key: str, expected: str, value: Any, found: str) -> Finding:
    if expected == "a number" and isinstance(value, str) and re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{1,40}", value):
        # an identifier in quotes, as "7E0": show the number that was meant (decimal digits in quotes are accepted as they are)
        digits = value[2:] if value[:2] in ("0x", "0X") else value
        return fail(where, f"{found} is text", f"write the number 0x{digits.upper()}, unquoted")
    if expected == "a list" and isinstance(value, str):
        return fail(where, "expected a list", f"write [{shortened(value)}]")
    remedy = {
        "a number": "write it as 500000 or 0x7E0, unquoted",
        "a whole number": "write it without a fraction",
        "text": "write one word"
        if not isinstance(value, int | float)
        else "quote it"
        if key in _SECRET_KEYS
        else f"quote it: '{found}'",
        "a list": "write [ … ]",
        "keys and values": f"write `{key}: {{{'NAME' if key in ('buses', 'ecus') else 'key'}: …}}`",
        "true or false": "write true or false, unquoted",
        "a name or a number": "write it without brackets, as can0 or 0",
    }[expected]
    return fail(where, f"expected {expected}, found {found}", remedy)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section that contains ``location``'s last part."""
    parts = [part for part in location[:-1] if not isinstance(part, int)]
    if not parts:
        return list(_TOP_KEYS)
    model: type[BaseModel] | None = _SUBMODELS.get(parts[0])
    # below buses and ecus the second part is a name that the user chose, not a key
    for key in parts[2:] if parts[0] in ("buses", "ecus") else parts[1:]:
        model = _SUBMODELS.get(key)
    return list(model.model_fields) if model is not None else []
