"""Downloads are verified, resumed, and limited in length, time and rate."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.gateway.cloud.downloads import Downloader, DownloadLimits
from otabench.bench.gateway.errors import DownloadRefused, DownloadTimedOut
from otabench.bench.gateway.trust.manifest import RemoteFile
from tests.bench.gateway.artifact_server import ArtifactServer, Fault

CONTENT = os.urandom(50_000)
FILE = RemoteFile("images/a b.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
LIMITS = DownloadLimits(min_bytes_per_s=2000.0, stall_s=0.15, outage_limit_s=0.6, retry_first_s=0.01, retry_max_s=0.05)

Story = Callable[[ArtifactServer, Downloader], Awaitable[None]]


def _run(folder: Path, story: Story, *faults: Fault) -> ArtifactServer:
    async def wrapped() -> ArtifactServer:
        server = ArtifactServer(files={"images/a%20b.bin": CONTENT}, faults={"images/a%20b.bin": list(faults)})
        await server.start()
        try:
            await story(server, Downloader(folder / "downloads", LIMITS))
        finally:
            await server.stop()
        return server

    return asyncio.run(wrapped())


def _fetched(seen: list[int] | None = None) -> Story:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        path = await downloader.fetch(
            FILE, base_url=server.base_url, on_bytes=(seen if seen is not None else []).append
        )
        assert path.read_bytes() == CONTENT
        assert sorted(p.name for p in path.parent.iterdir()) == [FILE.sha256]

    return story


def test_a_file_is_downloaded_and_its_progress_told(tmp_path: Path) -> None:
    seen: list[int] = []
    server = _run(tmp_path, _fetched(seen))
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert len(server.requests) == 1


def test_a_verified_file_is_not_asked_for_again(tmp_path: Path) -> None:
    _run(tmp_path, _fetched())
    server = _run(tmp_path, _fetched())
    assert server.requests == []


def test_a_file_that_changed_on_disk_is_downloaded_again(tmp_path: Path) -> None:
    _run(tmp_path, _fetched())
    (tmp_path / "downloads" / FILE.sha256).write_bytes(CONTENT[:-1] + b"x")
    server = _run(tmp_path, _fetched())
    assert len(server.requests) == 1


def test_every_hash_of_the_manifest_counts(tmp_path: Path) -> None:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        for digest, says in ((hashlib.sha512(CONTENT).hexdigest(), ""), ("0" * 128, "SHA-512 is")):
            file = replace(FILE, other_hashes=(("sha512", digest),))
            with pytest.raises(DownloadRefused, match=says) if says else nullcontext():
                await downloader.fetch(file, base_url=server.base_url, on_bytes=lambda _: None)

    _run(tmp_path, story)


@pytest.mark.parametrize("fault", [Fault.DIES, Fault.STALLS])
def test_a_broken_download_is_resumed_where_it_broke(tmp_path: Path, fault: Fault) -> None:
    server = _run(tmp_path, _fetched(), fault)
    assert [asked for _, asked in server.requests] == ["", f"bytes={len(CONTENT) // 2}-"]
    assert server.statuses == [200, 206]


def test_a_download_is_resumed_by_the_next_process(tmp_path: Path) -> None:
    async def killed(server: ArtifactServer, downloader: Downloader) -> None:
        fetching = asyncio.create_task(downloader.fetch(FILE, base_url=server.base_url))
        part = tmp_path / "downloads" / f"{FILE.sha256}.part"
        while not part.exists() or not part.stat().st_size:
            await asyncio.sleep(0.005)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching

    _run(tmp_path, killed, Fault.STALLS)
    server = _run(tmp_path, _fetched())
    assert server.statuses == [206]


def test_a_file_that_was_replaced_on_the_server_is_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        server.files["images/a%20b.bin"] = os.urandom(len(CONTENT))
        fetching = asyncio.create_task(downloader.fetch(FILE, base_url=server.base_url))
        while not server.requests:
            await asyncio.sleep(0.005)
        server.files["images/a%20b.bin"] = CONTENT
        assert (await fetching).read_bytes() == CONTENT

    server = _run(tmp_path, story, Fault.DIES)
    assert server.statuses == [200, 200]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.TRUNCATED, "ends after 25000 of 50000 bytes"),
        (Fault.BIT_FLIPPED, "SHA-256 is"),
        (Fault.TOO_LONG, "longer than the 50000 bytes of the manifest"),
        (Fault.ENDLESS, "longer than the 50000 bytes of the manifest"),
        (Fault.MISSING, "status 404"),
    ],
)
def test_wrong_content_is_tried_three_times_and_then_refused(tmp_path: Path, fault: Fault, says: str) -> None:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        with pytest.raises(DownloadRefused, match=f"images/a b.bin: .*{says}.*, 3 times"):
            await downloader.fetch(FILE, base_url=server.base_url)

    server = _run(tmp_path, story, *[fault] * 10)
    assert [asked for _, asked in server.requests] == ["", "", ""]
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    "fault", [Fault.TRUNCATED, Fault.BIT_FLIPPED, Fault.TOO_LONG, Fault.UNAVAILABLE, Fault.MISSING]
)
def test_wrong_content_once_is_mended_by_another_attempt_from_zero(tmp_path: Path, fault: Fault) -> None:
    server = _run(tmp_path, _fetched(), fault)
    assert [asked for _, asked in server.requests] == ["", ""]


def test_a_server_that_resumes_at_the_wrong_byte_is_asked_for_all_of_it(tmp_path: Path) -> None:
    server = _run(tmp_path, _fetched(), Fault.DIES, Fault.WRONG_RANGE)
    assert server.statuses == [200, 206, 200]


def test_a_server_that_drips_is_given_up(tmp_path: Path) -> None:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        with pytest.raises(DownloadTimedOut, match="less than 2000, 5 times in a row"):
            await downloader.fetch(FILE, base_url=server.base_url)

    _run(tmp_path, story, *[Fault.DRIPS] * 10)


def test_a_server_that_stays_away_is_given_up_after_the_limit(tmp_path: Path) -> None:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        await server.stop()
        with pytest.raises(DownloadTimedOut, match="not complete after"):
            await downloader.fetch(FILE, base_url=server.base_url)

    _run(tmp_path, story)


def test_a_file_asked_for_twice_at_once_is_downloaded_once(tmp_path: Path) -> None:
    async def story(server: ArtifactServer, downloader: Downloader) -> None:
        await asyncio.gather(*(downloader.fetch(FILE, base_url=server.base_url) for _ in range(3)))

    assert len(_run(tmp_path, story).requests) == 1


def test_a_download_that_is_always_cut_at_one_place_is_not_restarted_all_the_time(tmp_path: Path) -> None:
    requests: list[bytes] = []

    async def cut_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        # Without an ETag every attempt starts from zero.
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT[: len(CONTENT) // 2])
        await writer.drain()
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(cut_half_way, "127.0.0.1", 0)
        limits = replace(LIMITS, min_bytes_per_s=1e6, retry_max_s=0.4)
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(DownloadTimedOut):
            await Downloader(tmp_path / "downloads", limits).fetch(FILE, base_url=base_url)
        server.close()

    asyncio.run(story())

    # 0.65 s by pauses of 10, 20, 40 … ms; by pauses that stay at 10 ms there were more than 50.
    assert 2 < len(requests) < 15
