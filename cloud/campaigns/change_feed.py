"""Tell the other control planes which jobs have changed, so that their watchers see it at once.

    await ChangeFeed(database, announcer).run()

* It uses PostgreSQL's notifications. On SQLite it does nothing, and watchers find the changes of other processes within a second.
* Notifications are sent after the commits, many changes together, so that no report of a vehicle waits for them. What is lost with a killed
  control plane or a broken connection is found within a second, too (``campaign_views``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Set
from typing import Final

from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.errors import RequestError
from otabench.cloud.store.database import Database
from otabench.cloud.store.notifications import MAX_TEXT_BYTES, listening, notify

_CHANNEL: Final = "otabench_jobs"
_INTERVAL_S: Final = 0.05
"""Between two notifications. A transaction each for many changes, instead of one for each change."""
_RETRY_S: Final = 2.0
_JOBS_OF_A_TEXT: Final = 100
_MAX_JOB_ID_BYTES: Final = 64
# A sender, a campaign and the punctuation have less than 500 bytes.
assert _JOBS_OF_A_TEXT * (_MAX_JOB_ID_BYTES + 3) + 500 < MAX_TEXT_BYTES
_log = logging.getLogger(__name__)


class ChangeFeed:
    """The feed of one control plane."""

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer
        # Every listener receives all texts, those of its own process too.
        self._sender = uuid.uuid4().hex

    async def run(self) -> None:
        """Send and receive until canceled."""
        if self._database.has_notifications:
            await asyncio.gather(self._send(), self._receive())

    async def _send(self) -> None:
        with self._announcer.following() as changes:
            while True:
                await changes.event.wait()
                texts = list(write_texts(self._sender, changes.take()))
                try:
                    await notify(self._database, _CHANNEL, texts)
                except RequestError as error:
                    _log.warning("changes are not sent to other control planes: %s", error)
                await asyncio.sleep(_INTERVAL_S)

    async def _receive(self) -> None:
        while True:
            try:
                async with listening(self._database, _CHANNEL) as texts:
                    async for text in texts:
                        self._announce(text)
            except RequestError as error:
                _log.warning("changes of other control planes are not received, looking every second: %s", error)
            await asyncio.sleep(_RETRY_S)

    def _announce(self, text: str) -> None:
        sender, campaign_id, job_ids = read_text(text)
        if sender == self._sender:
            return
        for job_id in job_ids:
            self._announcer.changed_elsewhere(campaign_id, job_id=job_id)


def write_texts(sender: str, changes: Mapping[str, Set[str | None]]) -> Iterator[str]:
    """Yield the texts for changes: the sender, a campaign and some of its jobs each. None among them: any of its jobs."""
    for campaign_id, job_ids in changes.items():
        wanted: list[str | None] = [None] if None in job_ids else sorted(job_ids, key=str)
        for start in range(0, len(wanted), _JOBS_OF_A_TEXT):
            part = wanted[start : start + _JOBS_OF_A_TEXT]
            yield json.dumps([sender, campaign_id, part], separators=(",", ":"))


def read_text(text: str) -> tuple[str, str, list[str | None]]:
    """Return sender, campaign and jobs of a text. A text of another form has no sender, no campaign and no jobs."""
    try:
        sender, campaign_id, job_ids = json.loads(text)
    except (ValueError, TypeError):
        # Anybody with access to the database may notify.
        return "", "", []
    if not (isinstance(sender, str) and isinstance(campaign_id, str) and isinstance(job_ids, list)):
        return "", "", []
    return sender, campaign_id, [each for each in job_ids if each is None or isinstance(each, str)]
