"""Generated firmware that behaves like compiled code: a delta between two versions is as large as a real one.

A binary consists of functions of Thumb-like instructions with calls and literal pools, strings, pointer tables and calibration maps.
Pure and deterministic: the same name, size and version give the same bytes on every machine.

Why deltas and compression behave as with real firmware:

* A release replaces a part of a few functions by code of another length, adds functions, and changes strings. Everything behind
  them shifts.
* Calls are relative and literals are absolute addresses, so functions that did not change differ in a few bytes too.
* Instructions come in idioms of uneven frequency, so the binary compresses about as well as real code.

Releases build on each other: 2.1.0 is 2.0.0 with the changes of a minor release. A major release changes more than a minor one, a
minor one more than a revision.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import Final

from otabench.proto.image_format import ImageVersion

_BASE_ADDRESS: Final = 0x0800_0200
_RAM_ADDRESS: Final = 0x2000_0000
_CODE_SHARE: Final = 0.72
_MEAN_FUNCTION_BYTES: Final = 234
_CHANGED_SHARE: Final = {"major": 0.08, "minor": 0.03, "revision": 0.006}
_ADDED_SHARE: Final = {"major": 0.008, "minor": 0.003, "revision": 0.0}
_MAX_RELEASES: Final = 64
"""Only the changes of the newest releases of a level are applied: a version number may be large, and time would grow with it."""

_WORDS: Final = [
    "sensor timeout",
    "value out of range",
    "init done",
    "crc error",
    "retry",
    "calibration loaded",
    "watchdog",
    "bus off",
    "torque request",
    "lambda control",
    "lane offset",
    "object list",
    "radar frame",
    "brake pressure",
    "wheel speed",
    "state machine",
    "overcurrent",
    "limp home",
    "self test",
    "nvm write",
    "signal invalid",
    "plausibility",
    "supply voltage",
    "temperature high",
]


def _idioms() -> list[bytes]:
    """Return short runs of instructions, such as a compiler repeats, from a fixed seed."""
    source = random.Random("idioms")
    common = [source.getrandbits(16) for _ in range(160)]
    weights = [1.0 / (rank + 2) for rank in range(len(common))]
    return [
        struct.pack(f"<{length}H", *source.choices(common, weights, k=length))
        for length in source.choices((1, 2, 3, 4, 6), (3, 4, 4, 3, 2), k=420)
    ]


_IDIOMS: Final = _idioms()
_IDIOM_WEIGHTS: Final = [sum(1.0 / (rank + 4) for rank in range(index + 1)) for index in range(len(_IDIOMS))]
"""Cumulative: ``random.choices`` would otherwise add up the weights at every call."""


@dataclass
class _Function:
    """A function before it has an address: chunks of instructions, and references to others between them."""

    chunks: list[bytes]
    calls: list[int]
    """The function called after chunk n, by an identity that stays the same in all releases; -1: no call."""
    literals: list[int]
    """Identities whose addresses are in the literal pool: functions from 0 up, strings from -1 down."""


@dataclass
class _Program:
    """All parts of one version, in the linker's order."""

    order: list[int]
    functions: dict[int, _Function]
    strings: list[bytes]
    rewritten: set[int] = field(default_factory=set)


def rxswin(version: ImageVersion) -> str:
    """Return the RXSWIN of generated images, which changes with the major version. It is not one of a regulation (R79 …)."""
    return f"OTABENCH {version.major}"


def build(name: str, *, size_bytes: int, version: ImageVersion) -> bytes:
    """Return a binary of exactly ``size_bytes``; the same for the same arguments.

    Args:
        name: the seed; another name gives another program.
        size_bytes: 2048 or more.
        version: all releases up to it are applied, one after the other.

    Raises:
        ValueError: ``size_bytes`` is too small.
    """
    if size_bytes < 2048:
        raise ValueError(f"{size_bytes} bytes are too few for a program; give 2048 or more")
    program = _first_release(name, size_bytes)
    for level, numbers in (
        ("major", range(2, version.major + 1)),
        ("minor", range(1, version.minor + 1)),
        ("revision", range(1, version.revision + version.build + 1)),
    ):
        for number in list(numbers)[-_MAX_RELEASES:]:
            at = f"{version.major}.{version.minor}" if level == "revision" else f"{version.major}"
            _release(program, random.Random(f"{name}/{level}/{at if level != 'major' else ''}/{number}"), level)
    return _link(program, name, size_bytes, version)


def _first_release(name: str, size_bytes: int) -> _Program:
    source = random.Random(f"{name}/1")
    count = max(4, int(size_bytes * _CODE_SHARE / _MEAN_FUNCTION_BYTES))
    functions = {identity: _new_function(source, count) for identity in range(count)}
    strings = [_new_string(source) for _ in range(max(4, size_bytes // 900))]
    return _Program(order=list(range(count)), functions=functions, strings=strings)


def _new_function(source: random.Random, count: int) -> _Function:
    chunks = max(1, min(18, int(source.expovariate(1 / 5)) + 1))
    return _Function(
        chunks=[_instructions(source, source.randint(3, 16)) for _ in range(chunks)],
        calls=[source.randrange(count) if source.random() < 0.55 else -1 for _ in range(chunks)],
        literals=[
            source.randrange(count) if source.random() < 0.3 else -1 - source.randrange(max(4, count // 4))
            for _ in range(source.choice((0, 0, 1, 1, 2, 3)))
        ],
    )


def _instructions(source: random.Random, count: int) -> bytes:
    """Return a run of code: idioms, and between them operands that do not repeat."""
    pieces = source.choices(_IDIOMS, cum_weights=_IDIOM_WEIGHTS, k=count)
    operands = source.randbytes(2 * count)
    pieces[1::2] = [operands[2 * index : 2 * index + 2] for index in range(len(pieces) // 2)]
    return b"".join(pieces)


def _new_string(source: random.Random) -> bytes:
    text = f"{source.choice(_WORDS)}: {source.choice(_WORDS)} (%{source.choice('dxus')}) E{source.randrange(1000):03d}"
    return text.encode() + b"\0"


def _release(program: _Program, source: random.Random, level: str) -> None:
    """Apply the changes of one release."""
    count = len(program.order)
    for identity in source.sample(program.order, max(1, int(count * _CHANGED_SHARE[level]))):
        _rewrite(program.functions[identity], source, count)
    for _ in range(int(count * _ADDED_SHARE[level])):
        identity = len(program.functions)
        program.functions[identity] = _new_function(source, count)
        program.order.insert(source.randrange(len(program.order)), identity)
    for _ in range(max(1, int(len(program.strings) * _CHANGED_SHARE[level] / 2))):
        program.strings[source.randrange(len(program.strings))] = _new_string(source)


def _rewrite(function: _Function, source: random.Random, count: int) -> None:
    """Replace a part of a function by a part of another length."""
    first = source.randrange(len(function.chunks))
    last = min(len(function.chunks), first + source.randint(1, 2))
    fresh = source.randint(1, 3)
    function.chunks[first:last] = [_instructions(source, source.randint(3, 16)) for _ in range(fresh)]
    function.calls[first:last] = [source.randrange(count) if source.random() < 0.55 else -1 for _ in range(fresh)]


def _link(program: _Program, name: str, size_bytes: int, version: ImageVersion) -> bytes:
    """Place all parts, resolve calls and literals, and fill up to the size with calibration maps."""
    body = bytearray(struct.pack("<II", _RAM_ADDRESS + 0x8000, _BASE_ADDRESS + 0x101))
    body += _banner(name, version)
    address: dict[int, int] = {}
    calls: list[tuple[int, int]] = []
    literals: list[tuple[int, int]] = []
    for identity in program.order:
        function = program.functions[identity]
        address[identity] = len(body)
        # push and pop of many registers or of few, as compilers begin and end functions
        body += b"\x2d\xe9\xf0\x41" if len(function.chunks) > 3 else b"\x10\xb5"
        for chunk, callee in zip(function.chunks, function.calls, strict=True):
            body += chunk
            if callee >= 0:
                calls.append((len(body), callee))
                body += b"\0\0\0\0"
        body += b"\xbd\xe8\xf0\x81" if len(function.chunks) > 3 else b"\x10\xbd"
        body += b"\0\xbf" * (len(body) // 2 % 2)  # NOP: literals are aligned to four bytes
        for target in function.literals:
            literals.append((len(body), target))
            body += b"\0\0\0\0"
    for index, text in enumerate(program.strings):
        address[-1 - index] = len(body)
        body += text + b"\0" * (-len(text) % 4)
    # calls may refer to functions behind them, so addresses are filled in only when all parts are placed
    for place, callee in calls:
        struct.pack_into("<HH", body, place, *_branch_with_link(address.get(callee, 0) - (place + 4)))
    for place, target in literals:
        known = address.get(target)
        # Bit 0 of a function's address is set: Thumb.
        value = _RAM_ADDRESS + (-target % 4096) * 4 if known is None else _BASE_ADDRESS + known + (target >= 0)
        struct.pack_into("<I", body, place, value)
    pointers = [
        _BASE_ADDRESS + address[identity] + 1 for identity in program.order[:: max(1, len(program.order) // 200)]
    ]
    body += struct.pack(f"<{len(pointers)}I", *pointers)
    if len(body) < size_bytes:
        body += _calibration_maps(name, size_bytes - len(body))
    return bytes(body[:size_bytes])


def _banner(name: str, version: ImageVersion) -> bytes:
    return f"{name} {version} otabench".encode().ljust(56, b"\0")[:56]


def _branch_with_link(offset: int) -> tuple[int, int]:
    """Return a 32-bit Thumb BL in its first form: two half words with eleven bits of the offset each."""
    return 0xF000 | offset >> 12 & 0x7FF, 0xF800 | offset >> 1 & 0x7FF


def _calibration_maps(name: str, size_bytes: int) -> bytes:
    """Return smooth tables of 16-bit values, which are the same in every release."""
    source = random.Random(f"{name}/maps")
    # What randrange(13) does, without its checks: they would take most of the time in which firmware is built.
    noise = (drawn for drawn in iter(lambda: source.getrandbits(4), None) if drawn < 13)
    values = bytearray()
    while len(values) < size_bytes:
        value, slope = source.randrange(200, 20_000), source.randrange(-40, 90)
        row = [max(0, value + slope * step + next(noise) - 6) & 0xFFFF for step in range(64)]
        values += struct.pack("<64H", *row)
    return bytes(values[:size_bytes])
