"""A TUF client on the gateway's own verification code, by the command line contract of the public tuf-conformance suite.

    python -m otabench.bench.gateway.trust.tuf_client --metadata-dir D init ROOT
    python -m otabench.bench.gateway.trust.tuf_client --metadata-dir D --metadata-url U refresh
    python -m otabench.bench.gateway.trust.tuf_client --metadata-dir D --metadata-url U \\
        --target-name N --target-dir T --target-base-url U2 download

Exit status 0: accepted. 1: anything else, with one line on stderr. The folder ``D`` holds the trusted metadata as ``root.json``,
``timestamp.json`` and so on. ``repository`` has the verification itself.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # its public name

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.http_fetch import http_fetch
from otabench.bench.gateway.trust.repository import Repository, plain, read_root

_MAX_NAME_BYTES: Final = 200
"""Of a file's name in the target folder; file systems allow 255."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return run_command("tuf_client", _parser(), _run, argv)


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None,
) -> int:
    """Run a command whose exit status is 0 or 1, whatever happens."""
    try:
        run(parser.parse_args(argv))
    except SystemExit as error:  # argparse: 2 on wrong usage, which the contract does not have
        return 0 if error.code == 0 else 1
    except ManifestRefused as error:
        print(f"{name}: refused ({error.kind}): {error}", file=sys.stderr)
        return 1
    # The contract knows no third status, so an error that nothing foresaw is a refusal, too.
    except Exception as error:  # noqa: BLE001 - see above
        print(f"{name}: {type(error).__name__}: {plain(error)}", file=sys.stderr)
        return 1
    return 0


def init_folder(folder: Path, root: Path) -> None:
    """Make a folder of trusted metadata that trusts a Root.

    Raises:
        ManifestRefused: the file is not a Root that is signed by its own keys.
        OSError: a file cannot be read or written.
    """
    data = root.read_bytes()
    read_root(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "root.json").write_bytes(data)


def target_file_name(path: str) -> str:
    """Return a file name for a target that leads to no other folder, whatever its path."""
    name = quote(path, safe="")
    if name in (".", "..") or len(name) > _MAX_NAME_BYTES:
        return hashlib.sha256(path.encode()).hexdigest()
    return name


def _run(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.metadata_dir)
    if arguments.command == "init":
        init_folder(folder, Path(arguments.root))
        return
    repository = Repository(
        "repository's", folder, fetch=http_fetch(), root=None, url=required(arguments, "metadata_url")
    )
    try:
        repository.refresh()
        if arguments.command == "download":
            _download(repository, arguments)
    finally:
        repository.store_root_as_file()


def _download(repository: Repository, arguments: argparse.Namespace) -> None:
    path = required(arguments, "target_name")
    folder = Path(required(arguments, "target_dir"))
    target = repository.find(path)
    if target is None:
        raise ManifestRefused(f"the repository has no target {path!r}", kind=RefusalKind.UNKNOWN_IMAGE)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / target_file_name(path)
    if not _is_target(file, target):
        repository.download(target, file, base_url=required(arguments, "target_base_url"))


def _is_target(file: Path, target: TargetFile) -> bool:
    """Return whether the file is there, with the contents that the metadata state now."""
    try:
        with file.open("rb") as contents:
            target.verify_length_and_hashes(contents)
    except (OSError, LengthOrHashMismatchError):
        return False
    return True


def required(arguments: argparse.Namespace, name: str) -> str:
    """Return an option that the chosen command needs.

    Raises:
        ValueError: it was not given.
    """
    value = getattr(arguments, name)
    if not isinstance(value, str):
        raise ValueError(f"--{name.replace('_', '-')} is missing")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tuf_client", description="A TUF client for conformance tests.")
    parser.add_argument("--metadata-dir", required=True, help="folder of the trusted metadata")
    parser.add_argument("--metadata-url", help="where the repository serves its metadata")
    parser.add_argument("--target-name", help="path of the target to download")
    parser.add_argument("--target-dir", help="folder for downloaded targets")
    parser.add_argument("--target-base-url", help="where the repository serves its targets")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="trust a Root").add_argument("root")
    commands.add_parser("refresh", help="update the metadata")
    commands.add_parser("download", help="update the metadata, then download a target")
    return parser


if __name__ == "__main__":
    sys.exit(main())
