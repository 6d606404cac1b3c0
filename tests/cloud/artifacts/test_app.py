"""The artifact server over a real socket: ranges, tags, lengths, and nothing outside its folder."""

from __future__ import annotations

import hashlib
import random
import socket
from pathlib import Path

import httpx
import pytest

from otabench.cloud.store.artifact_store import is_plain, open_store
from tests.cloud.bench import Cloud

CONTENT = random.Random(5).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TAG = f'"{DIGEST}"'
PATH = f"images/{DIGEST}/engine-mcu-a-2.0.0+5.bin"


@pytest.fixture(scope="module")
def url(shared_cloud: Cloud) -> str:
    store = open_store(str(shared_cloud.config["artifact_store"]))
    store.put(PATH, CONTENT)
    store.put("patches/empty.json", b"")
    return shared_cloud.artifacts_url


def test_a_whole_file_comes_with_length_tag_and_type(url: str) -> None:
    answer = httpx.get(url + PATH)

    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == TAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"


def test_head_has_the_same_headers_without_the_file(url: str) -> None:
    answer = httpx.head(url + PATH, headers={"Range": "bytes=0-9"})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == TAG


def test_a_download_resumes_where_it_was_cut(url: str) -> None:
    first = CONTENT[:123_456]

    rest = httpx.get(url + PATH, headers={"Range": f"bytes={len(first)}-", "If-Range": TAG})

    assert rest.status_code == 206
    assert rest.headers["content-range"] == f"bytes {len(first)}-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert rest.headers["content-length"] == str(len(CONTENT) - len(first))
    assert first + rest.content == CONTENT


def test_a_file_that_changed_since_the_download_began_comes_whole(url: str) -> None:
    answer = httpx.get(url + PATH, headers={"Range": "bytes=1000-", "If-Range": '"old"'})

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_range_after_the_end_is_not_satisfiable(url: str) -> None:
    answer = httpx.get(url + PATH, headers={"Range": f"bytes={len(CONTENT)}-"})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_a_file_that_the_client_has_is_not_sent_again(url: str) -> None:
    answer = httpx.get(url + PATH, headers={"If-None-Match": TAG})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == TAG


def test_an_empty_file_is_a_file(url: str) -> None:
    answer = httpx.get(url + "patches/empty.json")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "0"


def test_a_file_whose_contents_change_has_another_tag(url: str, shared_cloud: Cloud) -> None:
    store = open_store(str(shared_cloud.config["artifact_store"]))
    tags = []
    for content in (b"one", b"two!"):
        store.put("patches/changing.json", content, replace=True)
        answer = httpx.get(url + "patches/changing.json")
        assert answer.content == content
        tags.append(answer.headers["etag"])

    assert tags == [f'"{hashlib.sha256(content).hexdigest()}"' for content in (b"one", b"two!")]


@pytest.mark.parametrize(
    "path",
    [
        *("nothing", "images", "images/", "", PATH + "/", PATH + "/x"),
        *("x" * 256, "é" * 128, "images/" + "x/" * 2000 + "y"),
    ],
    ids=lambda path: path[:20],
)
def test_what_is_not_there_is_404(url: str, path: str) -> None:
    answer = httpx.get(url + path)

    assert answer.status_code == 404


@pytest.mark.parametrize(
    "target",
    [
        "/artifacts/../state/cloud.db",
        "/artifacts/%2e%2e/state/cloud.db",
        "/artifacts/images/..%2f..%2f..%2fstate/cloud.db",
        "/artifacts//etc/passwd",
        "/artifacts/%2fetc/passwd",
        "/artifacts/..%5c..%5cstate",
        "/artifacts/images/%00",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_outside_the_store_is_served(shared_cloud: Cloud, url: str, target: str) -> None:
    with socket.create_connection(("127.0.0.1", shared_cloud.artifact_port), timeout=10) as raw:
        raw.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk

    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]


def test_other_methods_are_refused(url: str) -> None:
    assert httpx.put(url + PATH, content=b"x").status_code == 405
    assert httpx.delete(url + PATH).status_code == 405


def test_health_is_reported(shared_cloud: Cloud) -> None:
    assert httpx.get(f"http://127.0.0.1:{shared_cloud.artifact_port}/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", ".hidden", "a/.b", "a\\b", "a\nb", "a.part"]
)
def test_paths_that_could_leave_the_store_are_not_plain(path: str) -> None:
    assert not is_plain(path)


def test_putting_a_file_again_repairs_a_damaged_one(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    store.put("images/x", b"good")
    (tmp_path / "store" / "images" / "x").write_bytes(b"baad")

    store.put("images/x", b"good")

    assert store.read("images/x") == b"good"
    assert [path.name for path in (tmp_path / "store" / "images").iterdir()] == ["x"], "no unfinished file is left"
