"""Keep roll-outs going: every control plane looks every second whether a campaign's next wave, or more of its jobs, may be opened.

    await RolloutKeeper(database=database, orchestrator=orchestrator, announcer=announcer).run()

The database is the truth (``rollouts``), so any control plane may be killed at any time. Vehicles whose jobs were opened by one that was
killed before it woke them poll.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from otabench.cloud.campaigns import rollouts
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.errors import Conflict, RequestError
from otabench.cloud.store.database import Database

_INTERVAL_S: Final = 1.0
_log = logging.getLogger(__name__)


class RolloutKeeper:
    """The task of one control plane that advances roll-outs."""

    def __init__(self, *, database: Database, orchestrator: Orchestrator, announcer: Announcer) -> None:
        self._database = database
        self._orchestrator = orchestrator
        self._announcer = announcer

    async def run(self) -> None:
        """Advance roll-outs until canceled."""
        while True:
            try:
                for campaign_id in await self._database.read(rollouts.find_open):
                    await self._advance(campaign_id)
            except RequestError as error:
                _log.warning("roll-outs: %s", error)
            await asyncio.sleep(_INTERVAL_S)

    async def _advance(self, campaign_id: str) -> None:
        try:
            opened = await self._database.run(lambda session: rollouts.advance(session, campaign_id, now=time.time()))
        except Conflict:
            # Another control plane does it.
            return
        if opened:
            _log.info("roll-out of %s: %d jobs are opened", campaign_id, len(opened))
            self._announcer.campaign_changed(campaign_id)
            self._orchestrator.offer(campaign_id, opened)
