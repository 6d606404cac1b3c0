"""Assemble the control plane: open keys, store and database, connect the services, and serve the port."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.campaigns.outbox import OutboxSender, Publisher
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.timeouts import TimeoutKeeper
from otabench.cloud.control.auditing import Auditor
from otabench.cloud.control.operator import Operator
from otabench.cloud.control.server import start_grpc_server
from otabench.cloud.control.vehicles import ControlPlane
from otabench.cloud.errors import NotReady, StartError
from otabench.cloud.store.artifact_store import ArtifactStore, open_private_store, open_store
from otabench.cloud.store.database import open_database
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.image_metadata import load_image_repository_keys
from otabench.cloud.trust.keys import load_director_keys, load_image_public_key, load_root_versions
from otabench.proto.audit_log import AuditError, AuditLog
from otabench.proto.job_states import JobState
from otabench.proto.process_config import CloudConfig

_READINESS_INTERVAL_S: Final = 2.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def running_control_plane(config: CloudConfig, *, publisher: Publisher) -> AsyncIterator[None]:
    """Serve vehicles and operators while the block runs.

    Raises:
        StartError: keys, store, database or port cannot be used. Raised on entering the block.
    """
    # Load the keys first, so that a bench with a wrong key folder does not leave a database behind.
    director = Director(load_director_keys(config.keys_dir))
    image_key = load_image_public_key(config.keys_dir)
    root_versions = load_root_versions(config.keys_dir)
    repository_keys = load_image_repository_keys(config.keys_dir)
    store, private_store = _open_stores(config)
    # The stack closes in reverse order: the port first, the database last.
    async with AsyncExitStack() as resources:
        audit = _open_audit_log(config)
        resources.callback(audit.close)
        auditor = Auditor(audit, clock=time.monotonic)
        database = open_database(config.database_url)
        resources.callback(database.close)
        sender = OutboxSender(database=database, publisher=publisher, messages_per_s=config.wake_ups_per_s)
        announcer = Announcer(trace=config.trace, notify_outbox=sender.notify)
        resources.callback(announcer.close)
        artifacts = ArtifactMaker(database=database, store=store, private_store=private_store)
        resources.callback(artifacts.close)
        manifests = ManifestMaker(database=database, artifacts=artifacts, director=director, announcer=announcer)
        resources.callback(manifests.close)
        publication = Publication(database, repository_keys)
        orchestrator = Orchestrator(
            database=database,
            artifacts=artifacts,
            manifests=manifests,
            image_key=image_key,
            announcer=announcer,
            publication=publication,
            messages_per_s=config.wake_ups_per_s,
        )
        resources.callback(orchestrator.close)
        tls = config.tls is not None
        vehicles = ControlPlane(
            database=database,
            manifest_maker=manifests,
            announcer=announcer,
            root_versions=root_versions,
            publication=publication,
            artifact_base_url=config.artifact_base_url,
            poll_interval_s=config.poll_interval_s,
            tls=tls,
        )
        operator = Operator(
            database=database, orchestrator=orchestrator, publication=publication, announcer=announcer, tls=tls
        )
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
        timeouts = TimeoutKeeper(database=database, announcer=announcer, limits=limits)
        readiness = server.report_readiness(database.check, interval_s=_READINESS_INTERVAL_S)
        for work in (readiness, sender.run(), timeouts.run()):
            _keep_running(resources, work)
        # Wake vehicles last, because they check in at once.
        await orchestrator.wake_waiting()
        yield


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
