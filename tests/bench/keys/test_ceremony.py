"""Keys are replaced by Roots that vehicles can follow; what cannot be signed changes nothing; a cut leaves folders that work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # its public names

from otabench.bench.errors import BenchError, KeysError, UnknownName, WrongUsage
from otabench.bench.finding import Severity
from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.bench.gateway.trust.repository import Repository, files_of
from otabench.bench.keys import ceremony
from otabench.bench.keys.folders import Folders, RepositoryName, key_files, read_roots, read_signer
from otabench.bench.keys.roots import TIME, keyids_of
from otabench.bench.keys.status import Status, read_status
from otabench.cloud.trust.image_metadata import PublicationRefused, check_publication, load_image_repository_keys
from otabench.cloud.trust.keys import init_keys, load_director_keys, raw_public
from otabench.proto.sealed_files import Cost, Vault

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIRECTOR, IMAGE = RepositoryName.DIRECTOR, RepositoryName.IMAGE


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    init_keys(folder / "online", offline=folder / "offline", vins=["W0TABENCH00000001"], ecus=["engine"])
    return folder


@pytest.fixture
def folders(made_once: Path, tmp_path: Path) -> Folders:
    shutil.copytree(made_once, tmp_path / "keys")
    return Folders(offline=tmp_path / "keys/offline", online=tmp_path / "keys/online")


def newest(folders: Folders, repository: RepositoryName) -> Root:
    return read_roots(folders.online / repository)[-1].signed


def contents(folders: Folders) -> dict[Path, bytes]:
    assert folders.offline is not None
    files = [*folders.offline.rglob("*"), *folders.online.rglob("*")]
    return {path: path.read_bytes() for path in files if path.is_file() and path.name != ".lock"}


def load_online(folders: Folders) -> None:
    """Read the keys as the cloud does, which refuses a key that the newest Root does not list."""
    load_director_keys(folders.online)
    load_image_repository_keys(folders.online)


@pytest.mark.parametrize("name", ceremony.role_names())
def test_every_role_is_rotated_and_the_cloud_can_sign_with_what_it_finds(folders: Folders, name: str) -> None:
    roles = ceremony.parse_roles([name])
    before = {repository: newest(folders, repository) for repository in roles}

    made = ceremony.rotate(folders, roles, now=NOW)

    assert {each.repository: each.version for each in made} == dict.fromkeys(roles, 2)
    for repository, names in roles.items():
        now = newest(folders, repository)
        assert now.expires.replace(tzinfo=UTC) == NOW + ceremony.ROOT_LIFETIME
        for role in now.roles:
            assert now.roles[role].threshold == before[repository].roles[role].threshold
            old, new = set(before[repository].roles[role].keyids), set(now.roles[role].keyids)
            assert (not old & new) if role in names else (old == new)
    load_online(folders)


def test_a_client_that_was_away_follows_from_the_first_root_to_the_newest(folders: Folders, tmp_path: Path) -> None:
    first = (folders.online / "director/root.json").read_bytes()
    for names in (["director/root"], ["director/timestamp", "director/root"], ["online"]):
        ceremony.rotate(folders, ceremony.parse_roles(names))
    files = {path.name: path.read_bytes() for path in (folders.online / "director").glob("*.root.json")}
    assert set(files) == {"2.root.json", "3.root.json", "4.root.json"}
    # python-tuf's own client: it ends with the missing Timestamp, and has followed all Roots before
    client = Repository("Director", tmp_path, fetch=files_of(files), root=first)
    with pytest.raises(Exception, match=r"sent no timestamp\.json"):
        client.refresh()
    assert Metadata[Root].from_bytes(client.read("root.json")).signed.version == 4
    assert [Metadata[Root].from_bytes(each).signed.version for each in client.later_roots()] == [2, 3, 4]


def test_one_root_key_is_revoked_without_it_and_the_others_stay(folders: Folders) -> None:
    assert folders.offline is not None
    lost = folders.offline / "director/root-2.pem"
    keyid = read_signer(lost).public_key.keyid
    before = set(newest(folders, DIRECTOR).roles["root"].keyids)
    lost.unlink()

    (made,) = ceremony.revoke(folders, keyid[:8])

    after = newest(folders, DIRECTOR)
    assert made.revoked == (keyid,)
    assert set(after.roles["root"].keyids) == before - {keyid} | set(made.added)
    assert after.roles["root"].threshold == 2
    assert {read_signer(path).public_key.keyid for path in key_files(lost.parent, "root")} == set(
        after.roles["root"].keyids
    )


def test_a_stolen_online_key_is_revoked_by_its_id(folders: Folders) -> None:
    stolen = read_signer(folders.online / "image_repository/snapshot.pem").public_key.keyid
    (made,) = ceremony.revoke(folders, stolen)
    assert made.repository is IMAGE
    assert stolen not in newest(folders, IMAGE).keys
    load_online(folders)


def test_too_few_root_keys_sign_nothing_and_change_nothing(folders: Folders) -> None:
    assert folders.offline is not None
    for name in ("root-1.pem", "root-3.pem"):
        (folders.offline / "director" / name).unlink()
    before = contents(folders)
    with pytest.raises(KeysError, match="needs 2 of the 3 old Root keys, 1 can sign; bring the other keys"):
        ceremony.rotate(folders, ceremony.parse_roles(["director/timestamp"]))
    assert contents(folders) == before


def test_new_image_targets_keys_sign_what_is_listed_again(folders: Folders) -> None:
    assert folders.offline is not None
    offline = folders.offline / "image_repository"
    before = OfflineRepository(offline).add([ListedImage("mcu", "1.0.0", b"image", 1)])
    made = ceremony.rotate(folders, ceremony.parse_roles(["image_repository/targets"]))
    again = made[0].to_publish
    assert again["supplier-mcu.json"] == before["supplier-mcu.json"]
    targets = Metadata[Targets].from_bytes(again["targets.json"])
    newest(folders, IMAGE).verify_delegate("targets", targets.signed_bytes, targets.signatures)
    assert targets.signed.version == 2


@pytest.mark.parametrize("cut_at", range(1, 12))
def test_a_ceremony_that_is_cut_off_is_completed_or_forgotten(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    """Every rename of a file is a place for the cut."""
    steps = 0

    class Cut(Exception):
        pass

    def cutting(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == cut_at:
                raise Cut
            return real(*arguments, **named)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cutting(Path.replace))
        try:
            ceremony.rotate(folders, ceremony.parse_roles(["director/targets", "director/timestamp", "director/root"]))
        except Cut:
            pass
        else:
            assert steps < cut_at
    load_online(folders)  # a cloud that starts now

    ceremony.rotate(folders, ceremony.parse_roles(["online"]))

    load_online(folders)
    assert not [path for path in contents(folders) if ".next." in path.name or path.name.endswith(".part")]
    assert newest(folders, DIRECTOR).version in (2, 3)


def test_folders_of_two_fleets_are_not_mixed(folders: Folders, tmp_path: Path) -> None:
    init_keys(tmp_path / "other", vins=[], ecus=[])
    mixed = Folders(offline=folders.offline, online=tmp_path / "other")
    with pytest.raises(KeysError, match="use the folders of one fleet together"):
        ceremony.rotate(mixed, ceremony.parse_roles(["director/timestamp"]))


@pytest.mark.parametrize("way", ["rotate", "revoke"])
def test_the_time_key_is_replaced_in_the_directors_root(folders: Folders, way: str) -> None:
    (before,) = keyids_of(newest(folders, DIRECTOR), TIME)
    if way == "rotate":
        ceremony.rotate(folders, ceremony.parse_roles(["director/time"]))
    else:
        ceremony.revoke(folders, before[:8])
    (after,) = keyids_of(newest(folders, DIRECTOR), TIME)
    assert after != before
    key = load_director_keys(folders.online).time
    assert key is not None and raw_public(key) == after


def test_a_director_of_before_there_was_a_time_key_gets_one(folders: Folders) -> None:
    assert folders.offline is not None
    root = Metadata[Root].from_file(str(folders.online / "director/root.json"))
    del root.signed.unrecognized_fields["custom"]
    root.signatures.clear()
    for number in (1, 2):
        root.sign(read_signer(folders.offline / f"director/root-{number}.pem"), append=True)
    for folder in (folders.online, folders.offline):
        root.to_file(str(folder / "director/root.json"))
    (folders.online / "director/time.pem").unlink()
    assert load_director_keys(folders.online).time is None
    assert "director/time" not in {role.role for role in status_of(folders).roles}

    ceremony.rotate(folders, ceremony.parse_roles(["director/time"]))

    assert load_director_keys(folders.online).time is not None
    assert status_of(folders).findings == ()


def test_a_foreign_key_in_the_place_of_a_lost_one_is_replaced(folders: Folders) -> None:
    shutil.copy(folders.online / "director/snapshot.pem", folders.online / "director/timestamp.pem")
    ceremony.rotate(folders, ceremony.parse_roles(["director/timestamp"]))
    load_online(folders)


def _too_wide(folders: Folders) -> None:
    assert folders.offline is not None
    folders.offline.chmod(0o750)


def _key_too_wide(folders: Folders) -> None:
    assert folders.offline is not None
    (folders.offline / "director/root-1.pem").chmod(0o644)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_too_wide, r"offline: others may use this folder \(mode 0750\); `chmod 700"),
        (_key_too_wide, r"root-1\.pem: others may use this file \(mode 0644\); `chmod 600"),
        (lambda folders: (folders.offline / "director/root.json").unlink(), r"root\.json: .*keys init"),
        (lambda folders: (folders.offline / "director/root.json").write_bytes(b"{}"), "not a Root that follows"),
        (lambda folders: (folders.offline / "director/root-1.pem").write_bytes(b"x"), "not an unencrypted private key"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy(
    folders: Folders, spoil: Callable[[Folders], object], words: str
) -> None:
    spoil(folders)
    with pytest.raises(KeysError, match=words):
        ceremony.rotate(folders, ceremony.parse_roles(["director/timestamp"]))


def test_without_the_offline_folder_nothing_is_signed(folders: Folders) -> None:
    with pytest.raises(KeysError, match="--offline DIR"):
        ceremony.rotate(Folders(None, folders.online), ceremony.parse_roles(["online"]))


def test_unknown_names_are_refused(folders: Folders) -> None:
    with pytest.raises(UnknownName, match="director/timestamp"):
        ceremony.parse_roles(["director/timestmap"])
    for keyid in ("0123456789abcdef", newest(folders, DIRECTOR).roles["root"].keyids[0][:7]):
        with pytest.raises(WrongUsage, match="otabench keys status"):
            ceremony.revoke(folders, keyid)


# Status


def status_of(folders: Folders, *, days: float = 0) -> Status:
    return read_status(folders, now=datetime.now(UTC) + timedelta(days=days))


def test_a_healthy_pair_of_folders_has_no_findings(folders: Folders) -> None:
    found = status_of(folders)
    assert found.findings == ()
    assert found.roots == {"director": 1, "image_repository": 1}
    facts = {role.role: (role.kept, role.threshold, role.at_hand) for role in found.roles}
    assert facts["director/root"] == ("offline", 2, 3)
    assert facts["director/targets"] == ("online", 1, 1)
    assert facts["image_repository/targets"] == ("offline", 1, 1)
    assert found.as_json()["roles"][0]["keys"][0]["file"].endswith("offline/director/root-1.pem")


def test_without_the_offline_folder_its_keys_are_not_findings(folders: Folders) -> None:
    found = status_of(Folders(None, folders.online))
    assert found.findings == ()
    assert {role.at_hand for role in found.roles if role.kept == "offline"} == {0}


@pytest.fixture
def _lost(folders: Folders) -> None:
    assert folders.offline is not None
    (folders.offline / "director/root-1.pem").unlink()
    (folders.online / "director/timestamp.pem").unlink()


@pytest.mark.usefixtures("_lost")
def test_lost_keys_are_findings(folders: Folders) -> None:
    severities = {finding.where: finding.severity for finding in status_of(folders).findings}
    assert severities == {"director/root": Severity.WARN, "director/timestamp": Severity.FAIL}


def test_what_ends_soon_is_named_and_what_has_ended_fails(folders: Folders) -> None:
    soon = {finding.where: finding for finding in status_of(folders, days=340).findings}
    assert soon["director/1.root.json"].severity is Severity.WARN
    assert "otabench keys rotate director/root" in soon["director/1.root.json"].remedy
    assert "tls/cloud.pem" in soon
    assert {finding.severity for finding in status_of(folders, days=400).findings} == {Severity.FAIL}


def test_status_of_a_damaged_folder_is_one_error(folders: Folders) -> None:
    (folders.online / "tls/cloud.pem").write_bytes(b"")
    with pytest.raises(BenchError, match=r"cloud\.pem: not a certificate"):
        status_of(folders)


# Suppliers, and what no command replaces


def _listed(folders: Folders, hardware_id: str = "engine-mcu-a") -> dict[str, bytes]:
    assert folders.offline is not None
    repository = OfflineRepository(folders.offline / "image_repository", folders.vault)
    return repository.add([ListedImage(hardware_id, "2.0.0", b"image", 2)])


def _are_taken(folders: Folders, files: dict[str, bytes]) -> bool:
    """Return whether the cloud takes a publication."""
    keys = load_image_repository_keys(folders.online)
    assert keys is not None
    try:
        check_publication(keys.root, files, current={}, now=datetime.now(UTC))
    except PublicationRefused:
        return False
    return True


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_suppliers_key_is_replaced_and_the_old_one_signs_no_more(folders: Folders, is_sealed: bool) -> None:
    assert folders.offline is not None
    before = _listed(folders)
    path = folders.offline / "image_repository/suppliers/engine-mcu-a.pem"
    if is_sealed:
        folders = replace(folders, vault=Vault.create(folders.offline, "words", cost=Cost(1, 8192)))
    old = read_signer(path, folders.vault)

    (made,) = ceremony.rotate_suppliers(folders, ["engine-mcu-a"])

    assert made.revoked == (old.public_key.keyid,)
    assert path.read_bytes().startswith(b"OTABENCH-SEALED-KEY") is is_sealed
    assert _are_taken(folders, dict(made.to_publish))
    forged: Metadata[Any] = Metadata(Metadata[Targets].from_bytes(before["supplier-engine-mcu-a.json"]).signed)
    forged.sign(old)
    assert not _are_taken(folders, {**made.to_publish, "supplier-engine-mcu-a.json": forged.to_bytes()})
    # and the next image is listed with the new key
    assert _are_taken(folders, _listed(folders))
    (shown,) = [each for each in status_of(folders).roles if each.role == "image_repository/supplier-engine-mcu-a"]
    assert (shown.at_hand, shown.threshold, shown.kept) == (1, 1, "offline")


def test_a_replacement_that_was_cut_off_is_completed_by_the_next_image(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    _listed(folders)
    with monkeypatch.context() as cut:
        cut.setattr(OfflineRepository, "_keep", lambda *_: (_ for _ in ()).throw(OSError("cut off")))
        with pytest.raises(BenchError, match="cut off"):
            ceremony.rotate_suppliers(folders, ["engine-mcu-a"])
    assert _are_taken(folders, _listed(folders))


def test_an_unknown_supplier_changes_nothing(folders: Folders) -> None:
    _listed(folders)
    before = contents(folders)
    with pytest.raises(UnknownName, match="image_repository/supplier-engine-mcu-a"):
        ceremony.rotate_suppliers(folders, ["engine-mcu-a", "engine-mcu"])
    assert contents(folders) == before


@pytest.mark.parametrize("name", ["image/signing", "tls/ca", "tls/vehicle-W0TABENCH00000001"])
def test_what_cannot_be_rotated_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(WrongUsage, match=f"{name}: cannot be rotated: .*(provisioned anew|new key folders)"):
        ceremony.parse_roles([name])


def test_a_sealed_folder_is_rotated_with_its_passphrase_only(folders: Folders) -> None:
    assert folders.offline is not None
    vault = Vault.create(folders.offline, "words", cost=Cost(1, 8192))
    for path in folders.offline.glob("*/root-*.pem"):
        path.write_bytes(vault.seal(path.read_bytes()))
    with pytest.raises(KeysError, match="is sealed with a passphrase, which this command was not given"):
        ceremony.rotate(folders, ceremony.parse_roles(["director/root"]))
    ceremony.rotate(replace(folders, vault=vault), ceremony.parse_roles(["director/root", "online"]))
    assert all(b"PRIVATE KEY" not in path.read_bytes() for path in folders.offline.glob("director/root-*.pem"))
    load_online(folders)
