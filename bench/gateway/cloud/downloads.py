"""Download files from the artifact server into ``downloads/<sha256>``, and verify them.

    downloader = Downloader(state_dir / "downloads", DownloadLimits())
    path = await downloader.fetch(file, base_url="http://127.0.0.1:8081/artifacts/")

Rules:

* A file gets its final name only after its length and SHA-256 were verified against the manifest. Until then its name ends in ``.part``.
* A partial file is resumed with Range and If-Range (strong ETag). If the file on the server has changed, the server sends all of it.
* Reading stops at the first byte beyond the length of the manifest (endless data attack).
* After a wrong length, a wrong digest or a 4xx status, the download starts from zero. The third time raises DownloadRefused.
* An attempt ends if no byte arrives for ``stall_s``, or fewer than ``min_bytes_per_s`` over that time (slow retrieval attack). Neither
  python-tuf nor httpx limits a server that sends a few bytes at a time.
* If the server is away, slow, or answers 5xx, the download is tried again with back-off. DownloadTimedOut ends that when no byte has
  arrived for ``outage_limit_s``, when five attempts in a row were too slow, or when the whole download took longer than one outage and a
  transfer at the minimum rate.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from otabench.bench.backoff import Backoff
from otabench.bench.gateway.errors import DownloadRefused, DownloadTimedOut
from otabench.bench.gateway.trust.manifest import RemoteFile

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger("gateway.downloads")
_ATTEMPTS_ON_WRONG_CONTENT: Final = 3
_ATTEMPTS_TOO_SLOW: Final = 5
OUTAGE_LIMIT_S: Final = 600.0
"""How long the artifact server may be away during one download."""

BytesListener = Callable[[int], None]
"""Called with the number of bytes of the file that have arrived."""


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of an attempt and of a whole download."""

    min_bytes_per_s: float = 1024.0
    stall_s: float = 10.0
    outage_limit_s: float = OUTAGE_LIMIT_S
    retry_first_s: float = 0.5
    retry_max_s: float = 10.0


class _WrongContent(Exception):
    """The served file differs from the manifest. The message contains the difference."""


class _NotNow(Exception):
    """The attempt failed, but the same request may succeed later."""


class _TooSlow(_NotNow):
    """Bytes arrive, but below the minimum rate."""


class Downloader:
    """Downloads into one folder.

    A file is downloaded once at a time, even if two callers request it. Different files may be downloaded in parallel.

    Args:
        folder: the destination; created when needed.
        limits: when to give up.
    """

    def __init__(self, folder: Path, limits: DownloadLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._locks: dict[str, asyncio.Lock] = {}

    def path_of(self, file: RemoteFile) -> Path:
        """Return the path of the verified file, whether it exists yet or not."""
        return self._folder / file.sha256

    async def fetch(self, file: RemoteFile, *, base_url: str, on_bytes: BytesListener = lambda _: None) -> Path:
        """Download what is missing of a file, verify it, and return its path.

        Args:
            file: its path below ``base_url``, its length and its SHA-256.
            base_url: address of the artifact server.
            on_bytes: called with the progress.

        Raises:
            DownloadRefused: the served file differed from the manifest three times.
            DownloadTimedOut: the server was away or too slow for too long.
            OSError: the folder cannot be written.
        """
        # Two ECUs may need the same file.
        async with self._locks.setdefault(file.sha256, asyncio.Lock()):
            done = self.path_of(file)
            if _is_verified(done, file):
                on_bytes(file.length)
                return done
            self._folder.mkdir(parents=True, exist_ok=True)
            async with _client(self._limits, is_tls=base_url.startswith("https:")) as client:
                await self._fetch(client, file, base_url=base_url, on_bytes=on_bytes)
            return done

    def clear(self) -> None:
        """Remove all files. Call this when no job needs them."""
        if self._folder.exists():
            for path in self._folder.iterdir():
                path.unlink(missing_ok=True)

    async def _fetch(
        self, client: httpx.AsyncClient, file: RemoteFile, *, base_url: str, on_bytes: BytesListener
    ) -> None:
        attempt = _Attempt(client, file, self._folder, url=_url(base_url, file.path), limits=self._limits)
        backoff = Backoff(first_s=self._limits.retry_first_s, max_s=self._limits.retry_max_s)
        started_s = time.monotonic()
        # The time of one outage plus a transfer at the minimum rate. Without it a server could alternate outages and single bytes
        # forever.
        latest_s = started_s + self._limits.outage_limit_s + file.length / self._limits.min_bytes_per_s
        wrong = slow = furthest_bytes = 0
        while True:
            try:
                await attempt.run(on_bytes)
                return
            except _WrongContent as error:
                wrong += 1
                attempt.forget()
                _log.warning("%s: %s (attempt %d of %d)", file.path, error, wrong, _ATTEMPTS_ON_WRONG_CONTENT)
                if wrong >= _ATTEMPTS_ON_WRONG_CONTENT:
                    raise DownloadRefused(f"{file.path}: {error}, {wrong} times") from error
            except _NotNow as error:
                slow = slow + 1 if isinstance(error, _TooSlow) else 0
                if slow >= _ATTEMPTS_TOO_SLOW:
                    raise DownloadTimedOut(f"{file.path}: {error}, {slow} times in a row") from error
                now_s = time.monotonic()
                if now_s - attempt.last_byte_s > self._limits.outage_limit_s or now_s > latest_s:
                    raise DownloadTimedOut(
                        f"{file.path}: not complete after {now_s - started_s:.0f} s: {error}"
                    ) from error
                # The server is alive and gets further, so the next pause may be short again. Bytes that are sent again do not count: a
                # server that always cuts the file at the same place would be asked several times a second.
                if attempt.received_bytes > furthest_bytes:
                    furthest_bytes = attempt.received_bytes
                    backoff.reset()
                _log.warning("%s: %s; trying again", file.path, error)
            await asyncio.sleep(backoff.next_s())


class _Attempt:
    """The download of one file, across attempts: the part that has arrived, and the ETag of the version that it belongs to."""

    def __init__(
        self, client: httpx.AsyncClient, file: RemoteFile, folder: Path, *, url: str, limits: DownloadLimits
    ) -> None:
        self._client = client
        self._file = file
        self._url = url
        self._limits = limits
        self._done = folder / file.sha256
        self._part = folder / f"{file.sha256}.part"
        self._etag = folder / f"{file.sha256}.etag"
        self.last_byte_s = time.monotonic()
        self.received_bytes = 0
        """The end of what has arrived, from the beginning of the file."""

    def forget(self) -> None:
        """Discard the partial file, so that the next attempt starts from zero."""
        self._part.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)

    async def run(self, on_bytes: BytesListener) -> None:
        import httpx

        have = self._part.stat().st_size if self._part.exists() and self._etag.exists() else 0
        if have > self._file.length:
            self.forget()
            have = 0
        if have < self._file.length:
            try:
                await self._transfer(have, on_bytes)
            except TimeoutError as error:
                raise _NotNow(f"artifact server {self._url}: nothing came for {self._limits.stall_s:g} s") from error
            except httpx.TransportError as error:
                why = " ".join(str(error).split()) or type(error).__name__
                raise _NotNow(f"artifact server {self._url}: {why}") from error
        _verify(self._part, self._file)
        # Without the fsync a power cut could leave the final name on a file without its contents.
        with self._part.open("rb") as written:
            os.fsync(written.fileno())
        self._part.replace(self._done)
        self._etag.unlink(missing_ok=True)

    async def _transfer(self, have: int, on_bytes: BytesListener) -> None:
        # Ask for no content coding: length, ranges and digest are those of the file itself.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self._etag.read_text()}
        async with asyncio.timeout(self._limits.stall_s) as deadline:
            async with self._client.stream("GET", self._url, headers=headers) as answer:
                deadline.reschedule(None)
                have = self._judge_answer(answer, have)
                await self._receive(answer, have, on_bytes)

    def _judge_answer(self, answer: httpx.Response, have: int) -> int:
        """Return the offset of the first byte that the response contains.

        Raises:
            _WrongContent: the response cannot be this file, or is a refusal.
            _NotNow: the server failed, or asks to try later.
        """
        status = answer.status_code
        if status == 416:
            raise _WrongContent(f"the server's file has fewer than {have + 1} bytes")
        if status >= 500 or status in (408, 425, 429):
            raise _NotNow(f"artifact server {self._url}: status {status}")
        if status not in (200, 206):
            raise _WrongContent(f"artifact server {self._url}: status {status}")
        if status == 206 and not answer.headers.get("content-range", "").startswith(f"bytes {have}-"):
            raise _WrongContent(
                f"the server resumes at {answer.headers.get('content-range', 'nowhere')!r}, not at {have}"
            )
        start = have if status == 206 else 0
        length = answer.headers.get("content-length", "")
        # Refuse a file that is too long before reading it. A server need not send Content-Length, so ``_receive`` counts as well.
        if length.isdigit() and start + int(length) > self._file.length:
            raise _WrongContent(f"longer than the {self._file.length} bytes of the manifest ({start + int(length)})")
        etag = answer.headers.get("etag", "")
        # Only a strong ETag, without W/, promises identical bytes. Without it the next attempt starts from zero.
        if etag.startswith('"'):
            self._etag.write_text(etag)
        else:
            self._etag.unlink(missing_ok=True)
        return start

    async def _receive(self, answer: httpx.Response, have: int, on_bytes: BytesListener) -> None:
        window_s, window_bytes = time.monotonic(), 0
        chunks = answer.aiter_raw()
        with self._part.open("r+b" if have else "wb") as part:
            part.seek(have)
            # The server may have sent the whole file instead of the rest. Then the old part must not remain behind the new bytes.
            part.truncate()
            while True:
                async with asyncio.timeout(self._limits.stall_s):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                have += len(chunk)
                if have > self._file.length:
                    raise _WrongContent(f"longer than the {self._file.length} bytes of the manifest")
                part.write(chunk)
                self.received_bytes = have
                self.last_byte_s, window_bytes = time.monotonic(), window_bytes + len(chunk)
                on_bytes(have)
                elapsed_s = self.last_byte_s - window_s
                if elapsed_s >= self._limits.stall_s:
                    if window_bytes < self._limits.min_bytes_per_s * elapsed_s:
                        raise _TooSlow(
                            f"artifact server {self._url}: {window_bytes / elapsed_s:.0f} bytes/s, "
                            f"less than {self._limits.min_bytes_per_s:.0f}"
                        )
                    window_s, window_bytes = self.last_byte_s, 0
        if have < self._file.length:
            raise _WrongContent(f"ends after {have} of {self._file.length} bytes")


@asynccontextmanager
async def _client(limits: DownloadLimits, *, is_tls: bool) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that follows neither redirects nor proxies.

    Without TLS it does not load the system's certificates, which takes long.
    """
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)
    timeout = httpx.Timeout(limits.stall_s)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False, verify=is_tls) as client:
        yield client


def _url(base_url: str, path: str) -> str:
    return base_url.rstrip("/") + "/" + quote(path)


def _is_verified(path: Path, file: RemoteFile) -> bool:
    """Return whether the file is complete. Hash it again: it may have been damaged since its download."""
    try:
        _verify(path, file)
    except (_WrongContent, FileNotFoundError):
        return False
    return True


def _verify(path: Path, file: RemoteFile) -> None:
    with path.open("rb") as content:
        length = os.fstat(content.fileno()).st_size
        if length != file.length:
            raise _WrongContent(f"has {length} bytes, the manifest requires {file.length}")
        for algorithm, required in (("sha256", file.sha256), *file.other_hashes):
            content.seek(0)
            digest = hashlib.file_digest(content, algorithm).hexdigest()
            if digest != required:
                name = algorithm.upper().replace("SHA", "SHA-", 1)
                raise _WrongContent(f"{name} is {digest}, the manifest requires {required}")
