"""An Uptane client of one ECU, with full verification by the gateway's own code, for conformance tests.

    python -m otabench.bench.gateway.trust.uptane_client --director-dir D --image-dir I init DIRECTOR_ROOT IMAGE_ROOT
    python -m otabench.bench.gateway.trust.uptane_client --director-dir D --image-dir I \\
        --director-url U1 --image-url U2 --targets-url U3 --target-dir T --ecu-id E --hw-id H update

Exit status 0: accepted; the ECU's image, if the Director names one, is in ``T``. 1: anything else, with one line on stderr; ``T`` is empty
then, and the metadata in ``D`` and ``I`` are the previous ones. The Director may name other ECUs of the vehicle beside this one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tuf.api.exceptions import DownloadHTTPError, LengthOrHashMismatchError
from tuf.api.metadata import Metadata, TargetFile, Targets  # type: ignore[attr-defined]  # its public names

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.http_fetch import http_fetch
from otabench.bench.gateway.trust.repository import Fetch, Repository
from otabench.bench.gateway.trust.tuf_client import init_folder, required, run_command, target_file_name
from otabench.bench.gateway.trust.two_repositories import (
    StatedTarget,
    read_director_targets,
    scratch_copies,
    verify_repositories,
)

_DOWNLOADED: Final = "downloaded"
"""A file in ``I`` with the names of the files that this client has put into ``T``."""
_HASH_PREFIX: Final = re.compile(r"/[0-9a-f]{64,128}\.([^/]*)$")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return run_command("uptane_client", _parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> None:
    director_dir, image_dir = Path(arguments.director_dir), Path(arguments.image_dir)
    if arguments.command == "init":
        init_folder(director_dir, Path(arguments.director_root))
        init_folder(image_dir, Path(arguments.image_root))
        return
    target_dir = Path(required(arguments, "target_dir"))
    try:
        _update(arguments, director_dir, image_dir, target_dir)
    except Exception:
        # What is there would be installed, so nothing stays that was not accepted now.
        _remove_downloads(image_dir, target_dir)
        raise


def _update(arguments: argparse.Namespace, director_dir: Path, image_dir: Path, target_dir: Path) -> None:
    ecu, hardware_id = required(arguments, "ecu_id"), required(arguments, "hw_id")
    fetch = http_fetch()
    with scratch_copies(director_dir, image_dir) as (director_copy, image_copy):
        director = Repository(
            "Director", director_copy, fetch=fetch, root=None, url=required(arguments, "director_url")
        )
        image = Repository(
            "Image", image_copy, fetch=_with_plain_names(fetch), root=None, url=required(arguments, "image_url")
        )
        previous = _previous_counter(director_dir, ecu)
        stated = verify_repositories(director, image)
        mine = _judge_own(stated, ecu=ecu, hardware_id=hardware_id, previous_counter=previous)
        if mine is not None:
            target = image.find(mine.path, hardware_ids={hardware_id})
            if target is None:
                raise ManifestRefused(f"no supplier of {hardware_id} lists {mine.path}", kind=RefusalKind.UNKNOWN_IMAGE)
            file = _download(image, target, target_dir, image_dir, base_url=required(arguments, "targets_url"))
            _judge_by_director(director, mine.path, file)
        for repository in (director, image):
            repository.store_root_as_file()


def _judge_own(
    stated: Sequence[StatedTarget], *, ecu: str, hardware_id: str, previous_counter: int | None
) -> StatedTarget | None:
    """Return this ECU's target. None: the Director names no image at all."""
    if not stated:
        return None
    mine = next((each for each in stated if ecu in each.ecus), None)
    if mine is None:
        named = ", ".join(sorted(name for each in stated for name in each.ecus))
        raise ManifestRefused(f"it names only ECUs that are not here: {named}", kind=RefusalKind.UNKNOWN_ECU)
    hardware = mine.ecus[ecu] or mine.hardware_ids
    if hardware_id not in hardware:
        raise ManifestRefused(
            f"its image for {ecu} is for hardware {', '.join(sorted(hardware)) or 'that is not stated'}, {ecu} is {hardware_id}",
            kind=RefusalKind.OTHER_HARDWARE,
        )
    counter = mine.release_counter or 0
    if previous_counter is not None and counter < previous_counter:
        raise ManifestRefused(
            f"its image for {ecu} has release counter {counter}, lower than {previous_counter} of the image before",
            kind=RefusalKind.ROLLBACK,
        )
    return mine


def _previous_counter(director_dir: Path, ecu: str) -> int | None:
    """Return the release counter of the image that was accepted last for this ECU."""
    try:
        before = read_director_targets((director_dir / "targets.json").read_bytes())
    except FileNotFoundError:
        return None
    return next((each.release_counter for each in before if ecu in each.ecus), None)


def _download(image: Repository, target: TargetFile, target_dir: Path, image_dir: Path, *, base_url: str) -> Path:
    target_dir.mkdir(parents=True, exist_ok=True)
    file = target_dir / target_file_name(target.path)
    (image_dir / _DOWNLOADED).write_text(json.dumps(sorted({*_downloads(image_dir), file.name})), encoding="utf-8")
    image.download(target, file, base_url=base_url)
    return file


def _judge_by_director(director: Repository, path: str, file: Path) -> None:
    """Compare the file with the Director's hashes, too. It may state others than the Image repository beside the common ones."""
    try:
        with file.open("rb") as contents:
            signed = Metadata[Targets].from_bytes(director.read("targets.json")).signed
            signed.targets[path].verify_length_and_hashes(contents)
    except LengthOrHashMismatchError as error:
        raise ManifestRefused(
            f"{path} is not the file that the Director signed for ({error})", kind=RefusalKind.MIX_AND_MATCH
        ) from error


def _downloads(image_dir: Path) -> list[str]:
    try:
        names = json.loads((image_dir / _DOWNLOADED).read_bytes())
    except FileNotFoundError:
        return []
    return [str(name) for name in names]


def _remove_downloads(image_dir: Path, target_dir: Path) -> None:
    for name in _downloads(image_dir):
        (target_dir / Path(name).name).unlink(missing_ok=True)


def _with_plain_names(fetch: Fetch) -> Fetch:
    """Return a fetch that also finds a target that is served without the hash before its name. Its contents are verified either way."""

    def fetch_either(url: str) -> Iterator[bytes]:
        try:
            return fetch(url)
        except DownloadHTTPError as error:
            plain = _HASH_PREFIX.sub(r"/\1", url)
            if error.status_code != 404 or plain == url:
                raise
            return fetch(plain)

    return fetch_either


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uptane_client", description="An Uptane client for conformance tests.")
    parser.add_argument("--director-dir", required=True, help="folder of the Director's trusted metadata")
    parser.add_argument("--image-dir", required=True, help="folder of the Image repository's trusted metadata")
    parser.add_argument("--director-url", help="where the Director serves its metadata")
    parser.add_argument("--image-url", help="where the Image repository serves its metadata")
    parser.add_argument("--targets-url", help="where images are served")
    parser.add_argument("--target-dir", help="folder for the ECU's image")
    parser.add_argument("--ecu-id", help="the ECU's identifier")
    parser.add_argument("--hw-id", help="the ECU's hardware id")
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="trust a Root of each repository")
    init.add_argument("director_root")
    init.add_argument("image_root")
    commands.add_parser("update", help="verify both repositories, then download the ECU's image")
    return parser


if __name__ == "__main__":
    sys.exit(main())
