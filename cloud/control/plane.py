"""Assemble the control plane: open keys, store and database, connect the services, and serve the port."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.change_feed import ChangeFeed
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.campaigns.outbox import OutboxSender, Publisher
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.rollout_keeper import RolloutKeeper
from otabench.cloud.campaigns.timeouts import TimeoutKeeper
from otabench.cloud.control.auditing import Auditor
from otabench.cloud.control.metrics import serving_metrics
from otabench.cloud.control.operator import Operator
from otabench.cloud.control.server import start_grpc_server
from otabench.cloud.control.vehicles import ControlPlane
from otabench.cloud.errors import NotReady, StartError
from otabench.cloud.store.artifact_store import ArtifactStore, open_private_store, open_store
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.image_metadata import ImageRepositoryKeys
from otabench.cloud.trust.keyring import Keyring, open_director_keys, open_image_repository_keys
from otabench.cloud.trust.keys import load_image_public_key
from otabench.proto.audit_log import AuditError, AuditLog
from otabench.proto.job_states import JobState
from otabench.proto.process_config import CloudConfig

_READINESS_INTERVAL_S: Final = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Keys:
    """The keys with which the control plane signs and verifies."""

    director: Director
    image: Ed25519PublicKey
    image_repository: Keyring[ImageRepositoryKeys] | None

    @classmethod
    def load(cls, folder: Path) -> _Keys:
        return cls(
            director=Director(open_director_keys(folder)),
            image=load_image_public_key(folder),
            image_repository=open_image_repository_keys(folder),
        )


@dataclass(frozen=True)
class _Campaigns:
    """The database, and what works on it."""

    database: Database
    sender: OutboxSender
    announcer: Announcer
    manifests: ManifestMaker
    publication: Publication
    orchestrator: Orchestrator


@asynccontextmanager
async def running_control_plane(config: CloudConfig, *, publisher: Publisher) -> AsyncIterator[None]:
    """Serve vehicles and operators while the block runs.

    Raises:
        StartError: keys, store, database or port cannot be used. Raised on entering the block.
    """
    # Load the keys first, so that a bench with a wrong key folder does not leave a database behind.
    keys = _Keys.load(config.keys_dir)
    # The stack closes in reverse order: the port first, the database last.
    async with AsyncExitStack() as resources:
        stores = _open_stores(config)
        audit = _open_audit_log(config)
        resources.callback(audit.close)
        campaigns = _open_campaigns(config, keys, publisher, stores=stores, resources=resources)
        auditor = Auditor(audit, clock=time.monotonic)
        resources.callback(auditor.close)
        if config.metrics_port is not None:
            await resources.enter_async_context(serving_metrics(campaigns.database, port=config.metrics_port))
        vehicles, operator = _services(config, keys, campaigns, auditor)
        server = await start_grpc_server(
            host=config.grpc_host,
            port=config.grpc_port,
            tls=config.tls,
            control_plane=vehicles,
            operator=operator,
            auditor=auditor,
        )
        resources.push_async_callback(server.stop)
        limits = {JobState(state): limit for state, limit in config.job_timeouts_s.items()}
        timeouts = TimeoutKeeper(database=campaigns.database, announcer=campaigns.announcer, limits=limits)
        readiness = server.report_readiness(campaigns.database.check, interval_s=_READINESS_INTERVAL_S)
        feed = ChangeFeed(campaigns.database, campaigns.announcer)
        rollouts = RolloutKeeper(
            database=campaigns.database, orchestrator=campaigns.orchestrator, announcer=campaigns.announcer
        )
        for work in (readiness, campaigns.sender.run(), timeouts.run(), feed.run(), rollouts.run()):
            _keep_running(resources, work)
        # Wake vehicles last, because they check in at once.
        await campaigns.orchestrator.wake_waiting()
        yield


def _open_campaigns(
    config: CloudConfig,
    keys: _Keys,
    publisher: Publisher,
    *,
    stores: tuple[ArtifactStore, ArtifactStore],
    resources: AsyncExitStack,
) -> _Campaigns:
    """Open the database and connect what works on it. ``resources`` closes all of it."""
    store, private_store = stores
    database = open_database(config.database_url)
    resources.callback(database.close)
    sender = OutboxSender(database=database, publisher=publisher, messages_per_s=config.wake_ups_per_s)
    announcer = Announcer(trace=config.trace, notify_outbox=sender.notify)
    resources.callback(announcer.close)
    artifacts = ArtifactMaker(database=database, store=store, private_store=private_store)
    resources.callback(artifacts.close)
    manifests = ManifestMaker(database=database, artifacts=artifacts, director=keys.director, announcer=announcer)
    resources.callback(manifests.close)
    publication = Publication(database, keys.image_repository)
    orchestrator = Orchestrator(
        database=database,
        artifacts=artifacts,
        manifests=manifests,
        image_key=keys.image,
        announcer=announcer,
        publication=publication,
        messages_per_s=config.wake_ups_per_s,
    )
    resources.callback(orchestrator.close)
    return _Campaigns(database, sender, announcer, manifests, publication, orchestrator)


def _services(
    config: CloudConfig, keys: _Keys, campaigns: _Campaigns, auditor: Auditor
) -> tuple[ControlPlane, Operator]:
    """Return the services of the port: the one for vehicles, and the one for operators."""
    tls = config.tls is not None
    vehicles = ControlPlane(
        database=campaigns.database,
        manifest_maker=campaigns.manifests,
        announcer=campaigns.announcer,
        director=keys.director,
        publication=campaigns.publication,
        artifact_base_url=config.artifact_base_url,
        poll_interval_s=config.poll_interval_s,
        tls=tls,
        auditor=auditor,
    )
    operator = Operator(
        database=campaigns.database,
        orchestrator=campaigns.orchestrator,
        publication=campaigns.publication,
        announcer=campaigns.announcer,
        tls=tls,
        require_approval=config.require_approval,
    )
    return vehicles, operator


def _open_stores(config: CloudConfig) -> tuple[ArtifactStore, ArtifactStore]:
    """Return the public store and the private one."""
    private_store = open_private_store(config.private_store_url, public_url=config.artifact_store)
    store = open_store(config.artifact_store)
    try:
        store.move_private(private_store)
    except NotReady as error:
        raise StartError(str(error)) from error
    return store, private_store


def _keep_running(resources: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run the work in a task that ends with the stack."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    resources.push_async_callback(_end, task)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("a task of the control plane has failed: %s", error, exc_info=error)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait until it has put the database in order."""
    task.cancel()
    await asyncio.wait({task})


def _open_audit_log(config: CloudConfig) -> AuditLog:
    try:
        return AuditLog(config.state_dir / "audit")
    except AuditError as error:
        raise StartError(f"audit: {error}") from error
