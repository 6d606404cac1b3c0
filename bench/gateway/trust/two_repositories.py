"""What Uptane adds to TUF: the Director says what an ECU is to run, the Image repository says what images there are, and both must agree.

    targets = verify_repositories(director, image)      # full verification, Uptane 2.1.0, 5.4.4.2
    with scratch_copies(director_dir, image_dir) as (director_copy, image_copy):
        …                                               # adopted together at the end of the block, or not at all

The numbers in the comments are the steps of 5.4.4.2. ``repository`` does what TUF alone requires (steps 2 to 5 and 6 to 9). The rules are
pure. Each raises ``ManifestRefused`` with the kind of the attack.

The standard leaves the names of the custom fields to the implementation. Those of other makers are read, too: ``ecuIdentifiers`` and
``hardwareIds`` (aktualizr), ``ecuIdentifier``, ``hardwareIdentifier``, ``releaseCounter``, with or without underscores.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tuf.api.metadata import Metadata, TargetFile, Targets  # type: ignore[attr-defined]  # its public names

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.repository import COUNTED_UNDER, Repository

_ECU: Final = ("ecuserial", "ecuidentifier", "ecuid")
_ECUS: Final = ("ecuidentifiers", "ecuserials")
_HARDWARE: Final = ("hardwareid", "hardwareidentifier")
_HARDWARES: Final = ("hardwareids", "hardwareidentifiers")
_COUNTER: Final = "releasecounter"


@dataclass(frozen=True)
class StatedTarget:
    """What one repository states about an image."""

    path: str
    length: int
    hashes: Mapping[str, str]
    """Hexadecimal digests by algorithm."""
    ecus: Mapping[str, frozenset[str]]
    """The ECUs that are to run it, each with the hardware ids that are stated for it. Only the Director states ECUs."""
    hardware_ids: frozenset[str]
    release_counter: int | None
    version: str | None = None
    payload: object = None
    """What is in a program file (``proto.uptane.PayloadCustom``)."""


def verify_repositories(director: Repository, image: Repository) -> tuple[StatedTarget, ...]:
    """Update both repositories, and return the Director's targets, to which the Image repository agrees.

    Raises:
        ManifestRefused: a repository is not trusted, or the two do not agree.
    """
    return verify_image(image, verify_director(director))


def verify_director(director: Repository) -> tuple[StatedTarget, ...]:
    """Update Root, Timestamp, Snapshot and Targets of the Director (steps 2 to 5), and return its targets.

    Raises:
        ManifestRefused: one of them is not trusted, or the Targets break one of Uptane's rules.
    """
    director.refresh()
    return read_director_targets(director.read("targets.json"))


def verify_image(image: Repository, targets: Sequence[StatedTarget]) -> tuple[StatedTarget, ...]:
    """Update the Image repository (steps 6 to 10), and return the Director's targets, which must agree with it.

    Raises:
        ManifestRefused: the repository is not trusted, or does not agree.
    """
    # 6. Nothing to install: the Image repository does not matter.
    if not targets:
        return ()
    # 6. to 9. Root, Timestamp, Snapshot and Targets of the Image repository.
    image.refresh()
    # 10. Every image, through the delegations of the Image repository.
    agreed = []
    for stated in targets:
        wanted = stated.hardware_ids.union(*stated.ecus.values())
        found = image.find(stated.path, hardware_ids=wanted or None)
        if found is None:
            raise ManifestRefused(f"the Image repository does not list {stated.path}", kind=RefusalKind.UNKNOWN_IMAGE)
        listed = read_target(found)
        judge_agreement(stated, listed)
        # A Director that does not state the hardware must not widen it.
        agreed.append(replace(stated, hardware_ids=stated.hardware_ids or listed.hardware_ids))
    return tuple(agreed)


def read_director_targets(content: bytes) -> tuple[StatedTarget, ...]:
    """Read the Director's verified Targets.

    Raises:
        ManifestRefused: they delegate, or name an ECU twice, or a target does not name an ECU.
    """
    signed = Metadata[Targets].from_bytes(content).signed
    # 5.4.4.6: the Director must not delegate. Whoever it delegated to could then command the vehicle.
    if signed.delegations is not None:
        raise ManifestRefused("the Director's Targets delegate to others", kind=RefusalKind.DIRECTOR_DELEGATES)
    stated = tuple(read_target(target) for target in signed.targets.values())
    seen: set[str] = set()
    for each in stated:
        if not each.ecus:
            raise ManifestRefused(f"{each.path} is not for any ECU", kind=RefusalKind.UNKNOWN_ECU)
        for ecu in each.ecus:
            # 5.4.4.6: no ECU identifier is represented more than once.
            if ecu in seen:
                raise ManifestRefused(f"it names ECU {ecu} twice", kind=RefusalKind.ECU_TWICE)
            seen.add(ecu)
    return stated


def judge_agreement(director: StatedTarget, image: StatedTarget) -> None:
    """Step 10: length, hashes, hardware id and release counter are the same in both repositories.

    Raises:
        ManifestRefused: they are not.
    """

    def refuse(what: str, kind: RefusalKind = RefusalKind.REPOSITORIES_DISAGREE) -> ManifestRefused:
        return ManifestRefused(f"Director and Image repository do not agree about {director.path}: {what}", kind=kind)

    if director.length != image.length:
        raise refuse(f"{director.length} or {image.length} bytes")
    common = director.hashes.keys() & image.hashes.keys()
    if not common:
        raise refuse("they state no hash of the same kind")
    # All of them: a file that fits one hash and not another is not the file that was signed.
    for algorithm in sorted(common):
        if director.hashes[algorithm] != image.hashes[algorithm]:
            raise refuse(f"its {algorithm}")
    # What one repository does not state about the hardware, it leaves to the other.
    for ecu, hardware in director.ecus.items():
        wanted = hardware or director.hardware_ids
        if image.hardware_ids and not wanted <= image.hardware_ids:
            raise refuse(
                f"for hardware {', '.join(sorted(wanted))} of ECU {ecu}, or for {', '.join(sorted(image.hardware_ids))}",
                RefusalKind.OTHER_HARDWARE,
            )
    # A Director with stolen keys could send the right file to other addresses of the ECU.
    if director.payload != image.payload:
        raise refuse("what is in the file")
    if image.version is not None and director.version is not None and director.version != image.version:
        raise refuse(f"version {director.version} or {image.version}")
    if image.release_counter is not None and director.release_counter != image.release_counter:
        raise refuse(f"release counter {director.release_counter} or {image.release_counter}")


def read_target(target: TargetFile) -> StatedTarget:
    """Read what a repository states about an image, with the names of any maker.

    Raises:
        ManifestRefused: a field that matters has another type than it must have.
    """
    given = target.custom
    if given is not None and not isinstance(given, dict):
        raise _malformed(target.path, "custom")
    custom: dict[str, Any] = {
        str(name).replace("_", "").lower(): value for name, value in (given or {}).items() if value is not None
    }
    ecus: dict[str, frozenset[str]] = {}
    for name in _ECUS:
        listed = custom.get(name) or {}
        if isinstance(listed, dict):
            ecus |= {ecu: _hardware_ids(target.path, facts) for ecu, facts in listed.items()}
        else:
            ecus |= {ecu: frozenset() for ecu in _texts(target.path, name, listed)}
    for name in _ECU:
        if name in custom:
            ecus |= {ecu: frozenset() for ecu in _texts(target.path, name, [custom[name]])}
    counter = custom.get(_COUNTER)
    if counter is not None and (not isinstance(counter, int) or isinstance(counter, bool) or counter < 0):
        raise _malformed(target.path, "release counter")
    version = custom.get("version")
    return StatedTarget(
        path=target.path,
        length=target.length,
        hashes=dict(target.hashes),
        ecus=ecus,
        hardware_ids=_hardware_ids(target.path, given or {}),
        release_counter=counter,
        version=None if version is None else str(version),
        payload=custom.get("payload"),
    )


def _hardware_ids(path: str, fields: object) -> frozenset[str]:
    if not isinstance(fields, dict):
        raise _malformed(path, "ECU identifiers")
    found: set[str] = set()
    for name, value in fields.items():
        if value is None:
            continue
        key = str(name).replace("_", "").lower()
        if key in _HARDWARES:
            found |= _texts(path, name, value)
        if key in _HARDWARE:
            found |= _texts(path, name, [value])
    return frozenset(found)


def _texts(path: str, name: str, values: object) -> set[str]:
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise _malformed(path, name)
    return set(values)


def _malformed(path: str, field: str) -> ManifestRefused:
    return ManifestRefused(f"{path}: its {field} is not well-formed", kind=RefusalKind.MALFORMED_METADATA)


@contextmanager
def scratch_copies(*folders: Path) -> Iterator[tuple[Path, ...]]:
    """Give a copy of each folder of trusted metadata to the block, and adopt all copies when it ends without an exception."""
    with ExitStack() as stack:
        copies = []
        for folder in folders:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside the trusted metadata, so that files can be renamed into place on the same file system.
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="verifying-", dir=folder.parent))
            copy = Path(scratch, "metadata")
            if folder.exists():
                shutil.copytree(folder, copy)
            copy.mkdir(exist_ok=True)
            copies.append(copy)
        yield tuple(copies)
        for copy, folder in zip(copies, folders, strict=True):
            _adopt(copy, folder)


def _adopt(copy: Path, trusted: Path) -> None:
    """Move verified files to their place, each one atomically.

    Timestamp moves first, because its version number is what refuses older metadata. A crash in between leaves a mixture of old and new
    files, which TUF's workflow repairs with the next metadata.
    """
    (trusted / "root_history").mkdir(parents=True, exist_ok=True)
    files = [*copy.glob("*.json"), *copy.glob("root_history/*.json"), copy / COUNTED_UNDER]
    for file in _timestamp_first(each for each in files if each.is_file() and not each.is_symlink()):
        with file.open("rb") as written:
            os.fsync(written.fileno())
        file.replace(trusted / file.relative_to(copy))


def _timestamp_first(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: (file.name != "timestamp.json", str(file)))
