"""The evidence file: a ZIP of parts, a manifest with the length and SHA-256 of each, and the gateway's signature over the manifest.

    write(path, parts, signer=Signer(certificate_pem, key_pem), made_at=now)
    package = read(path)

The ZIP holds exactly the files that manifest.json names, manifest.json and signature.json. Its entries have no time stamps, so that the
same parts give the same bytes, apart from the signature. ``read`` accepts no other layout: entries in another order, with other times,
comments or bytes between them do not change the facts, but they are not the file that was made (``layout``).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otabench.bench.errors import BenchError
from otabench.bench.evidence import layout
from otabench.bench.evidence.facts import FORMAT
from otabench.proto.vehicle_signature import Signature, Signer, read_signature

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
MAX_PART_BYTES: Final = 512 * 1024 * 1024
MAX_TOTAL_BYTES: Final = 2 * MAX_PART_BYTES
"""A file that claims to be larger is refused before it is unpacked."""


class NotEvidence(Exception):
    """The file is not an evidence file, or is damaged. The message states what is wrong."""


@dataclass(frozen=True)
class Package:
    """An evidence file whose parts match its manifest. The signature is not verified yet."""

    parts: Mapping[str, bytes]
    manifest: bytes
    made_at: float
    signature: Signature


def write(path: Path, parts: Mapping[str, bytes], *, signer: Signer, made_at: float) -> None:
    """Write an evidence file.

    Args:
        path: the file.
        parts: by name.
        made_at: seconds since 1970, UTC.

    Raises:
        BenchError: it cannot be written.
    """
    manifest = manifest_of(parts, made_at=made_at)
    try:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {
                **dict(sorted(parts.items())),
                MANIFEST: manifest,
                SIGNATURE: signer.sign(manifest),
            }.items():
                archive.writestr(layout.entry(name), content)
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: the evidence cannot be written: {error}") from error


def manifest_of(parts: Mapping[str, bytes], *, made_at: float) -> bytes:
    """Return manifest.json."""
    files = {
        name: {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in parts.items()
    }
    return _json({"format": FORMAT, "made_at": made_at, "files": files})


def read(path: Path) -> Package:
    """Read an evidence file, and compare its parts with the manifest.

    Raises:
        BenchError: the file cannot be read.
        NotEvidence: it is not an evidence file, or a part does not match the manifest. The message names the first such part.
    """
    try:
        if path.stat().st_size > MAX_TOTAL_BYTES:
            raise NotEvidence(f"it has more than {MAX_TOTAL_BYTES} bytes")
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _unpacked(archive)
            entries = archive.infolist()
    except OSError as error:
        raise BenchError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        # RuntimeError: an encrypted entry. Damage of a compressed entry is a zlib.error, which ``_unpacked`` names.
        raise NotEvidence(f"it is not a ZIP file that can be read ({error})") from error
    for name in (MANIFEST, SIGNATURE):
        if name not in files:
            raise NotEvidence(f"{name} is missing")
    manifest = files.pop(MANIFEST)
    try:
        signature = read_signature(files.pop(SIGNATURE))
    except ValueError as error:
        raise NotEvidence(f"{SIGNATURE} is not a signature: {error}") from error
    made_at = _compared(manifest, files)
    if problem := layout.problem(content, entries, order=[*sorted(files), MANIFEST, SIGNATURE]):
        raise NotEvidence(problem)
    return Package(files, manifest, made_at, signature)


def _unpacked(archive: zipfile.ZipFile) -> dict[str, bytes]:
    import zlib

    files: dict[str, bytes] = {}
    if sum(entry.file_size for entry in archive.infolist()) > MAX_TOTAL_BYTES:
        raise NotEvidence(f"it would unpack to more than {MAX_TOTAL_BYTES} bytes")
    for entry in archive.infolist():
        if entry.filename in files:
            raise NotEvidence(f"{entry.filename} occurs twice")
        try:
            with archive.open(entry) as content:
                # Read one byte more than the entry claims, so that a longer part is not mistaken for a matching one.
                files[entry.filename] = content.read(entry.file_size + 1)
        except (zlib.error, zipfile.BadZipFile) as error:
            raise NotEvidence(f"{entry.filename} is damaged ({error})") from error
    return files


def _compared(manifest: bytes, files: Mapping[str, bytes]) -> float:
    """Compare the parts with the manifest. Return when the file was made."""
    try:
        content: dict[str, Any] = json.loads(manifest)
        if content["format"] != FORMAT:
            raise NotEvidence(f"{MANIFEST}: the format {content['format']!r} is not {FORMAT}")
        listed: dict[str, dict[str, Any]] = content["files"]
        made_at = float(content["made_at"])
        expected = {name: (int(each["length"]), str(each["sha256"])) for name, each in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotEvidence(f"{MANIFEST} is not a manifest ({error})") from error
    for name in sorted(expected.keys() | files.keys()):
        if name not in files:
            raise NotEvidence(f"{name} is missing")
        if name not in expected:
            raise NotEvidence(f"{name} is not listed in {MANIFEST}")
        if (len(files[name]), hashlib.sha256(files[name]).hexdigest()) != expected[name]:
            raise NotEvidence(f"{name} was changed: it is not the file that {MANIFEST} names")
    return made_at


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
