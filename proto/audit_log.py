"""The audit log: who did what, in lines of JSON that are chained by hash, signed one by one, and counted.

    log = AuditLog(folder)  # audit.jsonl, audit.head, audit.key, audit.pub
    log.append(who="CN=operator, OU=operator", what="CreateCampaign", vins=["VIN1"], hashes=["…"], outcome="OK")
    for problem in verify(folder): …

Rules:

* Every line has the hash of the line before, and a signature over its own hash. Whoever changes, removes or inserts a line cannot sign it.
* ``audit.head`` is the number and hash of the last line, signed. A log whose end was cut has fewer lines than its head.
* The line is written before the head. After a crash in between, the log has more lines than the head counts, each of them signed.
* A line that was torn by a crash stays, and the next line states its hash.

Nothing here helps against whoever has ``audit.key``: copy the head to another machine from time to time. Lines are not synced to the disk
one by one, so a power cut may cost the last ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from otabench.proto import private_files

_LINES: Final = "audit.jsonl"
_HEAD: Final = "audit.head"
_KEY: Final = "audit.key"
_PUBLIC: Final = "audit.pub"
_FIRST: Final = "0" * 64
_TORN: Final = "audit.torn"
_MAX_LINE_BYTES: Final = 1024 * 1024


class AuditError(Exception):
    """The log cannot be opened or written. The message names the file and the reason."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a log. ``line`` counts from 1; 0: the log as a whole."""

    line: int
    text: str


@dataclass(frozen=True)
class _Last:
    """The last valid line."""

    number: int
    digest: str


class AuditLog:
    """A log that this process appends to. Several processes may share it.

    Args:
        folder: made if it does not exist, with a key of its own.

    Raises:
        AuditError: a file cannot be read or written, or others may use the key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = _open_key(folder)
        try:
            self._file = (folder / _LINES).open("a+b")
            (folder / _LINES).chmod(private_files.FILE_MODE)
        except OSError as error:
            raise AuditError(f"{folder / _LINES}: {error.strerror or error}") from error

    def append(
        self,
        *,
        who: str,
        what: str,
        outcome: str,
        vins: Sequence[str] = (),
        hashes: Sequence[str] = (),
        **facts: str,
    ) -> None:
        """Append one line, and count it in the head.

        Raises:
            AuditError: the log cannot be written.
        """
        self.append_all([new_line(who=who, what=what, outcome=outcome, vins=vins, hashes=hashes, **facts)])

    def append_all(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append lines (``new_line``), and count them in the head. For many lines this takes a fraction of the time of ``append``.

        Raises:
            AuditError: the log cannot be written. The first lines may have been.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._append(entries)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except (OSError, private_files.PrivateFileError) as error:
            raise AuditError(f"{self._folder / _LINES}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        last, torn = _find_last(self._file)
        whole = _parse(torn)
        if torn:
            self._file.write(b"\n")
        if whole is not None:  # torn just before its line feed
            last = _Last(int(whole["line"]), str(whole["hash"]))
        elif torn:
            last = self._write({"what": _TORN, "hashes": [hashlib.sha256(torn).hexdigest()]}, last)
        for each in entries:
            last = self._write(each, last)
        self._file.flush()
        head = json.dumps({"lines": last.number, "hash": last.digest, "signature": _sign(self._key, _head_of(last))})
        private_files.write(self._folder / _HEAD, head)

    def _write(self, entry: Mapping[str, Any], last: _Last) -> _Last:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        content = {"line": last.number + 1, "at": at, **entry, "previous": last.digest}
        digest = _digest(content)
        line = json.dumps({**content, "hash": digest, "signature": _sign(self._key, digest)}, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")
        return _Last(last.number + 1, digest)


def new_line(
    *, who: str, what: str, outcome: str, vins: Sequence[str] = (), hashes: Sequence[str] = (), **facts: str
) -> dict[str, Any]:
    """Return the contents of a line for ``AuditLog.append_all``."""
    return {"who": who, "what": what, "outcome": outcome, "vins": list(vins), "hashes": list(hashes), **facts}


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Return the lines that can be read, oldest first, whether they are valid or not.

    Raises:
        AuditError: the file cannot be read.
    """
    for raw in _raw_lines(folder):
        entry = _parse(raw)
        if entry is not None:
            yield entry


def excerpt(folder: Path, **wanted: str) -> bytes:
    """Return the lines, as they were written, in which one of the named facts has the wanted value.

    Raises:
        AuditError: the file cannot be read.
    """
    lines = [(raw, _parse(raw)) for raw in _raw_lines(folder)]
    return b"".join(
        raw + b"\n"
        for raw, entry in lines
        if entry is not None and any(entry.get(name) == value for name, value in wanted.items())
    )


def public_key(folder: Path) -> bytes:
    """Return the contents of ``audit.pub``.

    Raises:
        AuditError: the file cannot be read.
    """
    return _read_public(folder).public_bytes_raw().hex().encode()


def read_excerpt(content: bytes, *, public_key: bytes) -> list[dict[str, Any]]:
    """Return the lines of an excerpt. Lines between them may be missing, so that each is judged by its own hash and signature.

    Args:
        content: what ``excerpt`` returned.
        public_key: the contents of ``audit.pub``.

    Raises:
        ValueError: a line was changed, is not a line of a log with that key, or does not follow the one before it. The text names it.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key.decode("ascii")))
    except ValueError as error:
        raise ValueError(f"the public key cannot be read: {error}") from error
    found: list[dict[str, Any]] = []
    for position, raw in enumerate(content.splitlines(), 1):
        entry = _parse(raw)
        if entry is None:
            raise ValueError(f"line {position} is not a line of an audit log")
        if not _is_unchanged(entry, key):
            raise ValueError(f"line {position} was changed: hash or signature do not fit")
        if found and entry["line"] <= found[-1]["line"]:
            raise ValueError(f"line {position} has the number {entry['line']}, after {found[-1]['line']}")
        found.append(entry)
    return found


def verify(folder: Path) -> list[Problem]:
    """Return what is wrong with a log; an empty list if nothing is.

    Raises:
        AuditError: a file cannot be read.
    """
    key = _read_public(folder)
    problems: list[Problem] = []
    last = _Last(0, _FIRST)
    torn: list[tuple[int, bytes]] = []
    digests = {0: _FIRST}
    lines = 0
    for position, raw in enumerate(_raw_lines(folder), start=1):
        lines, entry = position, _parse(raw)
        if entry is None:
            torn.append((position, raw))
            continue
        if torn and entry.get("what") == _TORN and entry.get("hashes") == [hashlib.sha256(torn[-1][1]).hexdigest()]:
            torn.pop()
        problems += [Problem(position, text) for text in _faults(entry, last, key)]
        last = _Last(int(entry["line"]), str(entry["hash"]))
        digests[last.number] = last.digest
    for position, _ in torn:
        text = "is torn; the next start closes it" if position == lines else "is not a line of this log"
        problems.append(Problem(position, text))
    return problems + _head_faults(folder, digests, last, key)


def _faults(entry: Mapping[str, Any], last: _Last, key: Ed25519PublicKey) -> Iterator[str]:
    if entry["line"] != last.number + 1:
        yield f"has the number {entry['line']} instead of {last.number + 1}: lines are missing or were moved"
    elif entry.get("previous") != last.digest:
        yield "does not follow the line before it: one of the two was changed"
    if not _is_unchanged(entry, key):
        yield "was changed: hash or signature do not fit"


def _is_unchanged(entry: Mapping[str, Any], key: Ed25519PublicKey) -> bool:
    content = {name: value for name, value in entry.items() if name not in ("hash", "signature")}
    return _digest(content) == entry["hash"] and _is_signed(key, str(entry["hash"]), str(entry.get("signature", "")))


def _head_faults(folder: Path, digests: Mapping[int, str], last: _Last, key: Ed25519PublicKey) -> list[Problem]:
    path = folder / _HEAD
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        counted = _Last(int(head["lines"]), str(head["hash"]))
        signature = str(head["signature"])
    except FileNotFoundError:
        return [Problem(0, f"{_HEAD} is missing")] if last.number else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Problem(0, f"{_HEAD} cannot be read: {error}")]
    if not _is_signed(key, _head_of(counted), signature):
        return [Problem(0, f"{_HEAD} was changed: its signature does not fit")]
    if counted.number > last.number:
        return [Problem(0, f"the end is cut off: {last.number} lines, and {_HEAD} counts {counted.number}")]
    if digests.get(counted.number) != counted.digest:
        return [Problem(counted.number, f"is not the line that {_HEAD} counts")]
    return []


def _find_last(file: BinaryIO) -> tuple[_Last, bytes]:
    """Return the last line that can be read, and the bytes of a torn one behind it."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    start = max(0, size - _MAX_LINE_BYTES)
    file.seek(start)
    lines = file.read().split(b"\n")
    torn = lines.pop()
    for raw in reversed(lines):
        entry = _parse(raw)
        if entry is not None:
            return _Last(int(entry["line"]), str(entry["hash"])), torn
    return _Last(0, _FIRST), torn


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(raw)
    # RecursionError: the text may be nested as deeply as its writer likes.
    except (ValueError, RecursionError):
        return None
    fits = isinstance(entry, dict) and type(entry.get("line")) is int and isinstance(entry.get("hash"), str)
    return entry if fits else None


def _raw_lines(folder: Path) -> Iterator[bytes]:
    try:
        with (folder / _LINES).open("rb") as file:
            for raw in file:
                # A torn line has no line feed when its hash is taken.
                yield raw.removesuffix(b"\n")
    except OSError as error:
        raise AuditError(f"{folder / _LINES}: cannot be read: {error.strerror or error}") from error


def _open_key(folder: Path) -> Ed25519PrivateKey:
    path = folder / _KEY
    try:
        private_files.make_folder(folder)
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            private_files.write(path, key.private_bytes_raw().hex())
            private_files.write(folder / _PUBLIC, key.public_key().public_bytes_raw().hex())
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_files.read(path)))
    except (private_files.PrivateFileError, OSError, ValueError) as error:
        raise AuditError(f"{path}: {error}") from error


def _read_public(folder: Path) -> Ed25519PublicKey:
    path = folder / _PUBLIC
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        raise AuditError(f"{path}: cannot be read: {error}") from error


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _head_of(last: _Last) -> str:
    return f"head {last.number} {last.digest}"


def _sign(key: Ed25519PrivateKey, text: str) -> str:
    return key.sign(text.encode()).hex()


def _is_signed(key: Ed25519PublicKey, text: str, signature: str) -> bool:
    try:
        key.verify(bytes.fromhex(signature), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
