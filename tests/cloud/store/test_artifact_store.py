"""The artifact store in a local folder and on an S3 server: what both promise, and what happens when they cannot."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from otabench.cloud.errors import NotReady, StartError
from otabench.cloud.store.artifact_store import ArtifactStore, open_store
from tests.cloud.swift import SwiftServer

LARGE = bytes(range(256)) * 4096 * 2


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/artifacts")
    request.getfixturevalue("s3")
    return open_store(f"s3://artifacts/{tmp_path.name}")


def test_what_is_put_is_found_and_read_whole_and_in_parts(store: ArtifactStore) -> None:
    path = f"images/{hashlib.sha256(LARGE).hexdigest()}.engine.bin"
    assert store.find(path) is None
    store.put(path, LARGE)
    found = store.find(path)
    assert found is not None
    assert (found.length, store.read(path)) == (len(LARGE), LARGE)
    assert b"".join(store.pieces(path, start=1_000_000, length=300_000)) == LARGE[1_000_000:1_300_000]
    assert max(map(len, store.pieces(path))) <= 128 << 10
    assert b"".join(store.pieces(path, start=len(LARGE) - 5, length=100)) == LARGE[-5:], "it ends early"
    store.put(path, LARGE)
    assert store.find(path) == found, "the same contents are not written again"


def test_a_damaged_file_is_written_again_and_a_replaced_one_has_another_revision(store: ArtifactStore) -> None:
    store.put("images/a.bin", b"damaged")
    before = store.find("images/a.bin")
    store.put("images/a.bin", b"whole")
    after = store.find("images/a.bin")
    assert store.read("images/a.bin") == b"whole"
    assert before is not None
    assert after is not None
    assert before.revision != after.revision


def test_a_reader_sees_the_old_or_the_new_file_while_it_is_replaced(store: ArtifactStore) -> None:
    old, new = b"o" * 2_000_000, b"n" * 2_000_000
    store.put("images/a.bin", old)
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(store.read("images/a.bin"))

    reader = threading.Thread(target=read)
    reader.start()
    for content in (new, old, new):
        store.put("images/a.bin", content, replace=True)
    done.set()
    reader.join()
    assert seen <= {old, new}
    assert store.find("images") is None, "a folder is not a file"


def test_two_writers_of_one_file_leave_it_whole(store: ArtifactStore) -> None:
    writers = [threading.Thread(target=store.put, args=("images/a.bin", LARGE)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.read("images/a.bin") == LARGE


def test_what_was_private_in_an_earlier_version_is_moved(store: ArtifactStore, tmp_path: Path) -> None:
    private = open_store(f"file://{tmp_path}/private")
    store.put("private/images/a.bin", b"plain")
    store.move_private(private)
    assert private.read("images/a.bin") == b"plain"
    assert store.find("private/images/a.bin") is None
    store.move_private(private)


@pytest.mark.s3
def test_a_store_that_is_gone_is_not_ready_and_is_used_again_once_it_is_back(
    s3: SwiftServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "retries", 1)  # its patience is not what is tested
    store = open_store("s3://gone/one")
    store.put("images/a.bin", b"a")
    s3.stop()
    try:
        for act in (
            lambda: store.put("images/b.bin", b"b"),
            lambda: store.find("images/a.bin"),
            lambda: store.read("images/a.bin"),
            lambda: list(store.pieces("images/a.bin")),
        ):
            with pytest.raises(NotReady, match=r"the artifact store .*127\.0\.0\.1"):
                act()
        with pytest.raises(StartError, match=r"artifact_store 's3://other': cannot make the folder"):
            open_store("s3://other")
    finally:
        s3.start()
    assert store.read("images/a.bin") == b"a"
    assert store.find("images/b.bin") is None, "nothing of it was written"
