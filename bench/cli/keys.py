"""``otabench keys init | rotate | revoke | status``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otabench.bench.cli import passphrases, running
from otabench.bench.cli.options import LATEST, AsJson, BenchFile, KeysDir, RunDir
from otabench.bench.cli.passphrases import PassphraseFile
from otabench.bench.clients import running_bench
from otabench.bench.errors import KeysError, NoRunningBench, WrongUsage
from otabench.bench.finding import Severity
from otabench.bench.keys import ceremony, status
from otabench.bench.keys.folders import RepositoryName
from otabench.bench.launcher import keys as bench_keys
from otabench.bench.topology import bench_file
from otabench.proto.foreign_text import printable

if TYPE_CHECKING:
    from otabench.bench.keys.ceremony import NewRoot
    from otabench.bench.keys.folders import Folders

_KEYS: Final = Path("keys")
_OfflineDir = Annotated[
    Path | None,
    typer.Option("--offline", metavar="DIR", help="The offline folder. Default: the keys' own, if it holds Root keys."),
]


def init(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A new folder for all keys; with ONLINE, for what the cloud must not have."),
    ],
    online: Annotated[
        Path | None, typer.Argument(metavar="ONLINE", help="A new folder for the other keys.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Do not seal the offline keys.")] = False,
    bench: BenchFile = None,
) -> None:
    """Make all keys: repositories, image signing, TLS, ECU secrets.

    With ONLINE, a passphrase seals the private keys in OFFLINE. It is asked for on the terminal.
    """
    made, offline = (folder, None) if online is None else (online, folder)
    if offline is None and passphrase_file is not None:
        raise WrongUsage("--passphrase-file: a passphrase seals the offline folder; name it and ONLINE")
    topology = bench_file.load(bench)
    with passphrases.temporary_folder() as work:
        sealed_by = None
        if offline is not None and not no_passphrase:
            sealed_by = passphrases.chosen(passphrase_file, work)
        bench_keys.make_keys(made, topology, log=work / "keys.log", offline=offline, passphrase_file=sealed_by)
    if offline is not None:
        print(
            f"offline keys made in {offline}: Root, the Image repository's Targets, firmware signing, CA; take it away"
        )
    print(f"keys made in {made}; keep them secret: they sign what your ECUs accept")


def rotate(
    role: Annotated[
        list[str],
        typer.Argument(
            metavar="ROLE",
            help="director/timestamp, image_repository/supplier-HARDWARE, …; online: all of the cloud's.",
        ),
    ],
    keys: KeysDir = None,
    offline: _OfflineDir = None,
    passphrase_file: PassphraseFile = None,
    run: RunDir = LATEST,
) -> None:
    """Replace all keys of a role, by a new Root.

    The old and the new Root keys sign it.
    """
    names, suppliers = ceremony.split_suppliers(role)
    roles = ceremony.parse_roles(names)
    folders = _folders(keys, offline, run, passphrase_file)
    _report(ceremony.rotate(folders, roles), run)
    for made in ceremony.rotate_suppliers(folders, suppliers) if suppliers else ():
        print(f"image_repository: the key of the supplier of {made.hardware_id} replaced")
        for old in made.revoked:
            print(f"  revoked {old[:8]}")
        _publish(made.to_publish, run)


def revoke(
    keyid: Annotated[
        str,
        typer.Argument(
            metavar="KEYID", help="The key's id, or its first eight characters, as `keys status` shows them."
        ),
    ],
    keys: KeysDir = None,
    offline: _OfflineDir = None,
    passphrase_file: PassphraseFile = None,
    run: RunDir = LATEST,
) -> None:
    """Replace one key that was lost or stolen.

    A new Root no longer names it.
    """
    _report(ceremony.revoke(_folders(keys, offline, run, passphrase_file), keyid), run)


def show_status(
    keys: KeysDir = None,
    offline: _OfflineDir = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
    run: RunDir = LATEST,
) -> None:
    """Show who signs what, and what ends soon.

    Shows where the keys are, too. Exit status 1 if something has ended or cannot sign.
    """
    found = status.read_status(_folders(keys, offline, run, passphrase_file), now=datetime.now(UTC))
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        for repository, version in found.roots.items():
            print(f"{repository}: Root {version}")
        for each in found.roles:
            ids = " ".join(key.keyid[:8] + ("" if key.file else "(not here)") for key in each.keys)
            print(f"  {each.role:<26} {each.kept:<8} {each.threshold} of {len(each.keys)}  {ids}")
        soonest = found.expiries[0]
        print(f"first to expire: {soonest.what}, {soonest.expires:%Y-%m-%d}")
        for finding in found.findings:
            print(finding.as_line())
    if any(finding.severity is Severity.FAIL for finding in found.findings):
        raise typer.Exit(1)


def _folders(keys: Path | None, offline: Path | None, run: Path, passphrase_file: Path | None) -> Folders:
    """Return the folders that a command means. Raises KeysError: there are none."""
    from otabench.bench.keys.folders import Folders, key_files

    published = None if keys is not None else running_bench.published_keys(run)
    online = keys or (published.folder if published is not None else _KEYS)
    try:
        is_there = online.is_dir()
    except (OSError, ValueError):  # a name that no folder can have
        is_there = False
    if not is_there:
        shown = printable(str(online), max_characters=200)
        raise KeysError(f"there is no folder {shown}; give --keys DIR, or make keys by `otabench keys init`")
    has_root_keys = any(key_files(online / repository, "root") for repository in RepositoryName)
    used = offline or (online if has_root_keys else None)
    return Folders(used, online, None if used is None else passphrases.open_vault(used, passphrase_file))


def _report(made: Sequence[NewRoot], run: Path) -> None:
    for root in made:
        print(
            f"{root.repository}: Root {root.version}, {len(root.revoked)} keys replaced; a running cloud uses it at once"
        )
        for old in root.revoked:
            print(f"  revoked {old[:8]}")
        if root.to_publish:
            _publish(root.to_publish, run)


def _publish(files: Mapping[str, bytes], run: Path) -> None:
    """Bring Targets that were signed again to the bench that is up."""
    try:
        bench = running.find(run)
    except NoRunningBench:
        running.note(
            "the Image repository's Targets were signed again: `otabench firmware publish` brings them to the cloud"
        )
        return
    with bench.operator() as operator:
        operator.publish_images(dict(files))
    print("  the Image repository's Targets were signed again and published")
