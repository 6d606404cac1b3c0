"""One process of the cloud: read the configuration, start the planes, wait for a signal, end.

    run_plane(Path("cloud.json"), "all")  # a CloudConfig as JSON; "control", "artifacts", "events" or "all"

Rules:

* Each plane prints one line when it accepts connections ("cloud: control ready on 127.0.0.1:50051").
* SIGTERM and SIGINT end the process at once, with status 0. It need not wait for anything: everything that was answered is in the database.
* A plane's libraries are imported when the plane starts.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import ValidationError

from otabench.cloud.errors import StartError
from otabench.cloud.ports import is_loopback
from otabench.proto import private_files
from otabench.proto.process_config import CloudConfig
from otabench.proto.trace import TraceWriter


def read_config(path: Path) -> CloudConfig:
    """Return the configuration of the process.

    Raises:
        StartError: the file cannot be read, is not JSON, or has a wrong or unknown key.
    """
    try:
        return CloudConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StartError(f"config {path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_url=False)]
        raise StartError(f"config {path}: {'; '.join(problems)}") from error


def run_plane(config_path: Path, plane: str) -> None:
    """Run one plane (control, artifacts, events), or all of them, until a signal ends the process. This function does not return.

    Raises:
        StartError: a plane cannot start.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = read_config(config_path)
    # asyncio.run is not used, because it handles SIGINT itself and waits for worker threads at its end.
    asyncio.new_event_loop().run_until_complete(_run(config, plane))
    sys.stdout.flush()
    sys.stderr.flush()
    # sys.exit would wait for worker threads, and one of them may be making a patch for seconds.
    os._exit(0)


async def _run(config: CloudConfig, plane: str) -> None:
    # The control plane's alone: the artifact server may run as another user.
    if plane in ("control", "all"):
        try:
            private_files.make_folder(config.state_dir)
        except private_files.PrivateFileError as error:
            raise StartError(f"state_dir {error}") from error
    try:
        # Each component opens its own writer later. This one only reports at the start that the trace cannot be written.
        TraceWriter(config.trace, component="cloud").close()
    except OSError as error:
        raise StartError(f"trace {config.trace}: cannot be written: {error.strerror or error}") from error
    async with AsyncExitStack() as planes:
        # Start the broker first, because the control plane publishes as soon as it is up.
        if plane == "events" or (plane == "all" and config.embedded_broker):
            await planes.enter_async_context(_events(config))
            _report_ready("events", config.mqtt_host, config.mqtt_port)
        if plane in ("artifacts", "all"):
            await planes.enter_async_context(_artifacts(config))
            _report_ready("artifacts", config.artifact_host, config.artifact_port)
        if plane in ("control", "all"):
            await planes.enter_async_context(_control(config))
            _report_ready("control", config.grpc_host, config.grpc_port)
        # What was made up to here stays until the end. Without this, each full collection would look at all of it, for 100 ms and more.
        gc.collect()
        gc.freeze()
        # Up to this line a signal ends the process directly (proto/early_signals.py).
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()


@asynccontextmanager
async def _control(config: CloudConfig) -> AsyncIterator[None]:
    if config.mqtt_tls is None and not is_loopback(config.mqtt_host):
        raise StartError(
            f"mqtt_host {config.mqtt_host!r}: without mqtt_tls events are sent on loopback only: configure mqtt_tls"
        )
    # gRPC reads this at its import. Its own log lines mention C++ files; errors are reported by this project's code.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from otabench.cloud.control.plane import running_control_plane
    from otabench.cloud.events.publisher import EventPublisher

    async with (
        EventPublisher(host=config.mqtt_host, port=config.mqtt_port, tls=config.mqtt_tls) as publisher,
        running_control_plane(config, publisher=publisher),
    ):
        yield


@asynccontextmanager
async def _artifacts(config: CloudConfig) -> AsyncIterator[None]:
    from otabench.cloud.artifacts.app import serve_artifacts
    from otabench.cloud.store.artifact_store import open_store

    store = open_store(config.artifact_store)
    async with serve_artifacts(store=store, host=config.artifact_host, port=config.artifact_port, trace=config.trace):
        yield


@asynccontextmanager
async def _events(config: CloudConfig) -> AsyncIterator[None]:
    if not config.embedded_broker:
        raise StartError(
            "events: embedded_broker is false, so mosquitto is the event plane: start mosquitto, or set embedded_broker"
        )
    # amqtt neither requires certificates nor restricts a client to its own topics.
    if not is_loopback(config.mqtt_host):
        raise StartError(
            f"events: the embedded broker serves loopback only, not {config.mqtt_host!r}: use mosquitto there"
        )
    from otabench.cloud.events.broker import running_broker

    async with running_broker(config.mqtt_host, config.mqtt_port):
        yield


def _report_ready(plane: str, host: str, port: int) -> None:
    print(f"cloud: {plane} ready on {host}:{port}", flush=True)
