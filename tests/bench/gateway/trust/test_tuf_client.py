"""The TUF client by the contract of the public tuf-conformance suite: what it accepts, what it refuses, and what it then trusts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import DelegatedRole, Metadata, SuccinctRoles  # type: ignore[attr-defined]

from otabench.bench.gateway.trust import tuf_client
from tests.bench.gateway.trust.served import Site, serving
from tests.bench.gateway.trust.tuf_repository import TufRepository, days


class Client:
    """The client with folders of its own, at a repository."""

    def __init__(self, folder: Path, site: Site, repository: TufRepository) -> None:
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.site, self.repository = site, repository
        site.repositories["repo"] = repository.files
        site.requests.clear()
        (folder / "initial_root.json").write_bytes(repository.first_root)
        self.init_status = self._run("init", str(folder / "initial_root.json"))

    def refresh(self) -> int:
        return self._run("--metadata-url", f"{self.site.url}/repo", "refresh")

    def download(self, name: str) -> int:
        return self._run(
            *("--metadata-url", f"{self.site.url}/repo", "--target-name", name, "--target-dir", str(self.targets)),
            *("--target-base-url", f"{self.site.url}/repo/targets", "download"),
        )

    def trusted(self) -> dict[str, int]:
        """Return the versions of the trusted metadata, by role."""
        files = self.metadata.glob("*.json")
        assert all(file.is_file() and not file.is_symlink() for file in self.metadata.glob("*.json"))
        return {file.name.removesuffix(".json"): Metadata.from_file(str(file)).signed.version for file in files}

    def downloaded(self) -> list[bytes]:
        return [file.read_bytes() for file in self.targets.iterdir()] if self.targets.exists() else []

    def _run(self, *arguments: str) -> int:
        return tuf_client.main(["--metadata-dir", str(self.metadata), *arguments])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def repository() -> TufRepository:
    return TufRepository()


@pytest.fixture
def client(tmp_path: Path, site: Site, repository: TufRepository) -> Client:
    client = Client(tmp_path, site, repository)
    assert client.init_status == 0
    return client


def test_a_first_refresh_requests_each_role_once(client: Client) -> None:
    assert client.refresh() == 0
    assert client.trusted() == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    assert client.site.requests == [
        f"/repo/{name}" for name in ("2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json")
    ]


def test_without_consistent_snapshots_names_have_no_versions(tmp_path: Path, site: Site) -> None:
    repository = TufRepository(consistent=False)
    repository.add_target("a.bin", b"content")
    repository.publish()
    client = Client(tmp_path, site, repository)
    assert client.download("a.bin") == 0
    assert client.downloaded() == [b"content"]
    assert site.requests[-1] == "/repo/targets/a.bin"


@pytest.mark.parametrize("damage", ["unsigned", "no version", "targets", "not JSON"])
def test_a_first_root_that_is_none_causes_no_request(tmp_path: Path, site: Site, damage: str) -> None:
    repository = TufRepository()
    root = json.loads(repository.first_root)
    if damage == "unsigned":
        root["signatures"][0]["sig"] = "00" * 64
    if damage == "no version":
        del root["signed"]["version"]
    repository.first_root = json.dumps(root).encode()
    if damage == "targets":
        repository.first_root = repository.files["1.targets.json"]
    if damage == "not JSON":
        repository.first_root = b"[" * 100_000
    client = Client(tmp_path, site, repository)
    assert client.init_status == 1
    assert client.refresh() == 1
    assert site.requests == []


# Rollback, freeze, mixtures


def test_an_older_timestamp_is_refused(client: Client, repository: TufRepository) -> None:
    repository.publish()
    assert client.refresh() == 0
    repository.timestamp.version = 1
    repository.publish_timestamp(bump=False)
    assert client.refresh() == 1
    assert client.trusted()["timestamp"] == 2


def test_an_equal_timestamp_keeps_the_first_contents(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    before = (client.metadata / "timestamp.json").read_bytes()
    repository.timestamp.snapshot_meta.version = 100
    repository.publish_timestamp(bump=False)
    assert client.refresh() == 0
    assert (client.metadata / "timestamp.json").read_bytes() == before


@pytest.mark.parametrize("hashes", [True, False])
def test_an_older_snapshot_is_refused(client: Client, repository: TufRepository, hashes: bool) -> None:
    repository.hashes = hashes
    repository.publish()
    assert client.refresh() == 0
    repository.snapshot.version = 1
    repository.publish_snapshot(bump=False)
    repository.publish_timestamp()
    assert client.refresh() == 1
    assert client.trusted() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


@pytest.mark.parametrize("hashes", [True, False])
def test_older_targets_are_refused(client: Client, repository: TufRepository, hashes: bool) -> None:
    repository.hashes = hashes
    repository.publish()
    assert client.refresh() == 0
    repository.targets["targets"].version = 0
    repository.publish()
    assert client.refresh() == 1
    assert client.trusted()["targets"] == 2


def test_a_role_that_vanishes_from_snapshot_is_refused(client: Client, repository: TufRepository) -> None:
    repository.delegate(DelegatedRole("supplier", [], 1, False, paths=["*"]))
    repository.publish()
    assert client.refresh() == 0
    del repository.snapshot.meta["supplier.json"]
    repository.publish_snapshot()
    repository.publish_timestamp()
    assert client.refresh() == 1
    assert client.trusted()["snapshot"] == 2


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_expired_metadata_is_refused(client: Client, repository: TufRepository, role: str) -> None:
    signed = {"root": repository.root, "timestamp": repository.timestamp, "snapshot": repository.snapshot}
    (signed | repository.targets)[role].expires = days(-1)
    if role == "root":
        repository.root.version += 1
        repository.publish_root()
    repository.publish()
    assert client.refresh() == 1
    # What is expired is not used: nothing behind it is read.
    assert "targets" not in client.trusted()


def test_an_expired_root_on_the_way_is_followed(client: Client, repository: TufRepository) -> None:
    repository.root.version, repository.root.expires = 2, days(-1)
    repository.publish_root()
    repository.root.version, repository.root.expires = 3, days(100)
    repository.publish_root()
    assert client.refresh() == 0
    assert client.trusted()["root"] == 3


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_file_that_was_not_signed_for_is_refused(client: Client, repository: TufRepository, role: str) -> None:
    # given: valid metadata of the same version with other contents
    name = f"1.{role}.json"
    other = TufRepository()
    other.signers = repository.signers
    other.root = repository.root
    other.targets["targets"].expires = other.snapshot.expires = days(5)
    other.files.clear()
    other.publish()
    repository.files[name] = other.files[name]
    assert client.refresh() == 1
    assert role not in client.trusted()


# Keys and Roots


def test_a_root_version_that_is_missing_ends_the_chain(client: Client, repository: TufRepository) -> None:
    repository.rotate("timestamp")  # version 2
    repository.rotate("timestamp")  # version 3
    del repository.files["2.root.json"]
    repository.publish()
    assert client.refresh() == 1
    assert client.trusted() == {"root": 1}


@pytest.mark.parametrize("fault", ["skips a version", "same version", "not by the old keys", "not by the new keys"])
def test_a_root_that_does_not_follow_is_refused(client: Client, repository: TufRepository, fault: str) -> None:
    if fault in ("skips a version", "same version"):
        repository.root.version = 3 if fault == "skips a version" else 1
        repository.files["2.root.json"] = repository.publish_root()
    else:
        old = repository.signers["root"]
        repository.rotate("root")
        if fault == "not by the old keys":
            repository.publish_root()
        else:
            repository.signers["root"] = old
            repository.publish_root()
    assert client.refresh() == 1
    assert client.trusted() == {"root": 1}


def test_root_keys_can_be_replaced_many_times(client: Client, repository: TufRepository) -> None:
    for _ in range(8):
        repository.rotate("root")
    assert client.refresh() == 0
    assert client.trusted()["root"] == 9


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_threshold_counts_different_keys(client: Client, repository: TufRepository, role: str) -> None:
    # given: two keys of three are needed
    repository.add_key(role), repository.add_key(role)
    repository.root.roles[role].threshold = 2
    repository.root.version = 2
    repository.publish_root()
    all_three = repository.signers[role]
    # when: one key, even if its signature is there twice, then two
    repository.signers[role] = all_three[:1]
    repository.hashes = False
    repository.publish()
    _double_signatures(repository, role)
    assert client.refresh() == 1
    assert role not in client.trusted()
    repository.signers[role] = all_three[1:]
    repository.publish()
    assert client.refresh() == 0


def test_one_key_under_two_key_ids_counts_once(client: Client, repository: TufRepository) -> None:
    # given: a Root that lists the only Timestamp key under a second id, and needs two
    root = json.loads(repository.files["1.root.json"])["signed"]
    (keyid,) = root["roles"]["timestamp"]["keyids"]
    root["keys"]["f" * 64] = dict(root["keys"][keyid])
    root["roles"]["timestamp"] = {"keyids": [keyid, "f" * 64], "threshold": 2}
    root["version"] = 2
    second = Metadata.from_bytes(json.dumps({"signed": root, "signatures": []}).encode())
    second.sign(repository.signers["root"][0])
    repository.files["2.root.json"] = second.to_bytes()
    timestamp = json.loads(repository.files["timestamp.json"])
    timestamp["signatures"].append({**timestamp["signatures"][0], "keyid": "f" * 64})
    repository.files["timestamp.json"] = json.dumps(timestamp).encode()
    assert client.refresh() == 1
    assert "timestamp" not in client.trusted()


@pytest.mark.parametrize(
    ("role", "signature"),
    [("timestamp", "other key"), ("snapshot", "garbage"), ("targets", "absent"), ("targets", "other key")],
)
def test_a_wrong_signature_is_refused(client: Client, repository: TufRepository, role: str, signature: str) -> None:
    if signature == "absent":
        repository.signers[role] = []
    if signature == "other key":
        repository.signers[role] = TufRepository().signers[role]
    repository.hashes = False
    repository.publish()
    if signature == "garbage":
        name = "timestamp.json" if role == "timestamp" else f"2.{role}.json"
        broken = json.loads(repository.files[name])
        broken["signatures"][0]["sig"] = "zz"
        repository.files[name] = json.dumps(broken).encode()
    assert client.refresh() == 1
    assert role not in client.trusted()


def test_unknown_fields_are_part_of_what_is_signed(client: Client, repository: TufRepository) -> None:
    repository.root.unrecognized_fields["maker"] = {"a": [1, "ä"]}
    repository.root.version = 2
    repository.publish_root()
    assert client.refresh() == 0
    assert client.trusted()["root"] == 2


@pytest.mark.parametrize("replaced", [("timestamp",), ("snapshot",), ("timestamp", "snapshot")])
def test_new_keys_end_a_fast_forward(client: Client, repository: TufRepository, replaced: tuple[str, ...]) -> None:
    # given: an attacker with these keys has raised versions to the end
    repository.timestamp.version = repository.snapshot.version = 2**31 - 3
    repository.publish()
    assert client.refresh() == 0
    # when
    for role in replaced:
        repository.rotate(role)
    repository.timestamp.version = repository.snapshot.version = 1
    repository.publish()
    # then
    assert client.refresh() == 0
    assert client.trusted()["snapshot"] == 2
    # and: a rollback is noticed again
    repository.timestamp.version = 1
    repository.publish_timestamp(bump=False)
    assert client.refresh() == 1


def test_other_new_keys_do_not_excuse_a_rollback(client: Client, repository: TufRepository) -> None:
    repository.publish()
    assert client.refresh() == 0
    repository.rotate("targets")
    repository.rotate("root")
    repository.timestamp.version = 0
    repository.publish()
    repository.timestamp.version = 1
    repository.publish_timestamp(bump=False)
    assert client.refresh() == 1
    assert client.trusted()["timestamp"] == 2


def test_new_keys_end_a_fast_forward_after_a_cut(client: Client, repository: TufRepository) -> None:
    # given: the new Root arrived, and nothing after it
    repository.timestamp.version = repository.snapshot.version = 1000
    repository.publish()
    assert client.refresh() == 0
    repository.rotate("snapshot")
    held_back = repository.files.pop("timestamp.json")
    assert client.refresh() == 1
    assert client.trusted()["root"] == 2
    # when
    repository.files["timestamp.json"] = held_back
    repository.timestamp.version = repository.snapshot.version = 1
    repository.publish()
    # then
    assert client.refresh() == 0


# Targets and delegations


def test_a_target_is_downloaded_once(client: Client, repository: TufRepository) -> None:
    repository.add_target("path/to/a.bin", b"content")
    repository.publish()
    assert client.download("path/to/a.bin") == 0
    assert client.download("path/to/a.bin") == 0
    assert client.downloaded() == [b"content"]
    digest = hashlib.sha256(b"content").hexdigest()
    assert client.site.requests.count(f"/repo/targets/path/to/{digest}.a.bin") == 1


def test_other_contents_are_not_stored(client: Client, repository: TufRepository) -> None:
    repository.add_target("a.bin", b"content")
    repository.publish()
    for contents in (b"CONTENT", b"content and more", b"con", b""):
        repository.serve_target("a.bin", contents)
        assert client.download("a.bin") == 1
        assert client.downloaded() == []


def test_a_changed_target_replaces_the_old_one(client: Client, repository: TufRepository) -> None:
    for contents in (b"first", b"second"):
        repository.add_target("a.bin", contents)
        repository.publish()
        assert client.download("a.bin") == 0
        assert client.downloaded() == [contents]


@pytest.mark.parametrize("path", ["a b.bin", "ä.bin", "a%2Fb.bin", "..", "x" * 240 + ".bin", "a+b.bin"])
def test_unusual_target_paths_stay_in_the_folder(tmp_path: Path, client: Client, path: str) -> None:
    client.repository.add_target(path, b"content")
    client.repository.publish()
    before = set(tmp_path.iterdir())
    client.site.repositories["repo"] = _Any(client.repository.files, b"content")
    assert client.download(path) == 0
    assert client.downloaded() == [b"content"]
    assert set(tmp_path.iterdir()) == before | {client.targets}


def test_an_unknown_target_updates_the_metadata_and_fails(client: Client) -> None:
    assert client.download("nothing") == 1
    assert client.trusted() == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


@pytest.mark.parametrize("role", ["?", "#", "/delegated", "../delegated"])
def test_unusual_role_names_are_quoted(client: Client, repository: TufRepository, role: str) -> None:
    repository.delegate(DelegatedRole(role, [], 1, False, paths=["*"]))
    repository.publish()
    assert client.download("nothing") == 1
    quoted = {"?": "%3F", "#": "%23", "/delegated": "%2Fdelegated", "../delegated": "..%2Fdelegated"}[role]
    assert f"/repo/2.{quoted}.json" in client.site.requests
    assert len(client.trusted()) == 5


def test_a_terminating_delegation_ends_the_search(client: Client, repository: TufRepository) -> None:
    for terminating in (True, False):
        for name in ("first", "second"):
            repository.delegate(DelegatedRole(name, [], 1, terminating, paths=["*.bin"]))
        repository.add_target("a.bin", b"content", role="second")
        repository.publish()
        assert client.download("a.bin") == (1 if terminating else 0)


def test_a_delegated_role_is_asked_only_for_its_paths(client: Client, repository: TufRepository) -> None:
    repository.delegate(DelegatedRole("engine", [], 1, False, paths=["engine/*"]))
    repository.delegate(
        DelegatedRole(
            "hashed", [], 1, False, path_hash_prefixes=[hashlib.sha256(b"images/by-hash.bin").hexdigest()[:4]]
        )
    )
    repository.add_target("adas/a.bin", b"not its path", role="engine")
    repository.add_target("engine/a.bin", b"engine", role="engine")
    repository.add_target("images/by-hash.bin", b"hashed", role="hashed")
    repository.publish()
    assert client.download("adas/a.bin") == 1
    assert client.download("engine/a.bin") == 0
    assert client.download("images/by-hash.bin") == 0


def test_succinct_roles_are_found_by_their_bins(client: Client, repository: TufRepository) -> None:
    signer = TufRepository().signers["targets"][0]
    bins = SuccinctRoles([signer.public_key.keyid], 1, 2, "bin")
    from tuf.api.metadata import Delegations, Targets  # type: ignore[attr-defined]

    repository.targets["targets"].delegations = Delegations(
        {signer.public_key.keyid: signer.public_key}, roles=None, succinct_roles=bins
    )
    for name in bins.get_roles():
        repository.targets[name], repository.signers[name] = Targets(expires=days(3)), [signer]
    repository.add_target("a.bin", b"content", role=bins.get_role_for_target("a.bin"))
    repository.publish()
    assert client.download("a.bin") == 0


@pytest.mark.parametrize("fault", ["expired", "other key", "not in snapshot"])
def test_a_wrong_delegated_role_is_refused(client: Client, repository: TufRepository, fault: str) -> None:
    repository.delegate(
        DelegatedRole("supplier", [], 1, False, paths=["*"]), expires=days(-1 if fault == "expired" else 3)
    )
    repository.add_target("a.bin", b"content", role="supplier")
    if fault == "other key":
        repository.signers["supplier"] = repository.signers["targets"]
    repository.publish()
    if fault == "not in snapshot":
        del repository.snapshot.meta["supplier.json"]
        repository.publish_snapshot()
        repository.publish_timestamp()
    assert client.download("a.bin") == 1
    assert client.downloaded() == []
    assert "supplier" not in client.trusted()


# The contract


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["refresh"],
        ["--metadata-dir", "/nowhere", "refresh"],
        ["--metadata-dir", "/nowhere", "--metadata-url", "http://127.0.0.1:1", "refresh"],
        ["--metadata-dir", "/proc/nothing", "init", "/nowhere"],
        ["--metadata-dir", "/nowhere", "explode"],
    ],
)
def test_every_failure_is_status_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert tuf_client.main(arguments) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("2.root.json", b""),
        ("2.root.json", b" " * 600_000),
        ("timestamp.json", b"[" * 10_000),
        ("timestamp.json", b"null"),
        ("1.snapshot.json", b"{}"),
        ("1.targets.json", b'{"signed":{},"signatures":[]}'),
    ],
)
def test_no_file_brings_it_down(
    client: Client, repository: TufRepository, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    repository.files[name] = content
    assert client.refresh() == 1
    told = capsys.readouterr().err
    assert told.startswith("tuf_client: refused (") and told.count("\n") == 1
    del repository.files[name]
    repository.publish()
    assert client.refresh() == 0


def _double_signatures(repository: TufRepository, role: str) -> None:
    """Repeat the signatures of the newest file of a role, under the other key ids that the role has."""
    name = "timestamp.json" if role == "timestamp" else f"2.{role}.json"
    metadata = json.loads(repository.files[name])
    (one,) = metadata["signatures"]
    others = [key for key in repository.root.roles[role].keyids if key != one["keyid"]]
    metadata["signatures"] += [{**one, "keyid": key} for key in others]
    repository.files[name] = json.dumps(metadata).encode()


class _Any(dict[str, bytes]):
    """Files, and one content for every target, however its path is spelt on the wire."""

    def __init__(self, files: dict[str, bytes], content: bytes) -> None:
        super().__init__(files)
        self.content = content

    def get(self, path: str, default: object = None) -> bytes | None:  # type: ignore[override]
        return super().get(path) or (None if path.endswith(".json") else self.content)
