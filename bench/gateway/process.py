"""The gateway as a process: read the configuration, start HMI and agent, wait for a signal, stop both.

Rules:

* Only one process at a time uses a state folder.
* The port of the driver's page is bound before anything else starts, so that a port in use is reported at once.
* The process ends within moments of SIGTERM or SIGINT, whatever a worker thread is doing. Everything that the next process needs is on
  disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from otabench.bench.gateway.errors import GatewayError, StartError
from otabench.proto import private_files

if TYPE_CHECKING:
    from otabench.bench.gateway.agent import VehicleFactory
    from otabench.bench.gateway.config import GatewayConfig
    from otabench.bench.gateway.hmi.pairing import Pairing
    from otabench.bench.gateway.vehicle import Vehicle
    from otabench.proto.trace import TraceWriter

_STOP_WITHIN_S: Final = 1.5


def read_config(path: Path) -> GatewayConfig:
    """Return the configuration of the process.

    Raises:
        StartError: the file cannot be read, is not JSON, or has a wrong or unknown key.
    """
    from pydantic import ValidationError

    from otabench.bench.gateway.config import GatewayConfig

    try:
        config = GatewayConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StartError(f"config {path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_url=False)]
        raise StartError(f"config {path}: {'; '.join(problems)}") from error
    if config.stop_before:
        from otabench.proto.job_states import JobState

        if config.stop_before not in set(JobState):
            raise StartError(f"config {path}: stop_before: {config.stop_before!r} is not one of {', '.join(JobState)}")
    return config


def run_gateway(config_path: Path, vehicle_factory: VehicleFactory | None = None) -> NoReturn:
    """Run the gateway until a signal ends it. Then end the process: with status 0, or with 1 after one line on stderr.

    Args:
        config_path: GatewayConfig as JSON.
        vehicle_factory: makes the vehicle; by default the one on real buses (``gateway.flashing``).
    """
    _log_to_stderr()
    private_files.restrict_new_files()
    status = 0
    try:
        config = read_config(config_path)
        check_key(config)
        with _locked(config.state_dir):
            asyncio.run(_run(config, vehicle_factory or _make_uds_vehicle))
    except GatewayError as error:
        status = _report_failure(str(error))
    except Exception as error:  # noqa: BLE001  # the user gets one line instead of a traceback
        status = _report_failure(_describe_unexpected(error))
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit would wait for a worker thread in the middle of a transfer. The next process resumes from disk.
    os._exit(status)


async def _run(config: GatewayConfig, vehicle_factory: VehicleFactory) -> None:
    from otabench.bench.gateway.agent import Agent
    from otabench.bench.gateway.hmi.server import HmiPortError, HmiServer
    from otabench.proto.trace import TraceWriter

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        trace = TraceWriter(config.trace, component="gateway", vin=config.vin)
    except OSError as error:
        raise StartError(f"trace {config.trace}: {error.strerror or error}") from error
    agent = Agent(config, vehicle=vehicle_factory(config, trace), trace=trace)
    try:
        hmi = HmiServer(agent.dashboard, pairing_of(config), host=config.hmi_host, port=config.hmi_port)
    except HmiPortError as error:
        raise StartError(str(error)) from error
    running = asyncio.create_task(agent.run())
    stopping = asyncio.create_task(stop.wait())
    async with hmi:
        # For people and tests. The launcher asks the page itself (``/healthz``).
        print(f"gateway: ready, HMI on {hmi.url}", flush=True)
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        agent.leave_flash_running()
    if running.done():
        running.result()
    running.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_WITHIN_S):
            await asyncio.wait({running})
            await agent.close()
    trace.close()


def check_key(config: GatewayConfig) -> None:
    """Raise StartError if others may use the vehicle's private key."""
    try:
        if config.tls is not None:
            private_files.require_private(config.tls.key)
    except private_files.PrivateFileError as error:
        raise StartError(f"tls.key {error}") from error


def pairing_of(config: GatewayConfig) -> Pairing:
    """Return the pairing by the configured code, or by that of the state folder, which is made where there is none.

    Raises:
        StartError: the file cannot be read or written, others may read it, or there is no code in it.
    """
    from otabench.bench.gateway.hmi.pairing import Pairing, new_code

    path = config.state_dir / "hmi.code"
    try:
        if config.hmi_pairing_code:
            return Pairing(config.hmi_pairing_code)
        if not path.exists():
            private_files.write(path, new_code() + "\n")
        print(f"gateway: the pairing code of the driver's page is in {path}", flush=True)
        return Pairing(private_files.read(path).strip())
    except private_files.PrivateFileError as error:
        raise StartError(str(error)) from error
    except ValueError as error:
        where = "hmi_pairing_code" if config.hmi_pairing_code else path
        raise StartError(f"{where}: not a pairing code: {error}") from error


def _make_uds_vehicle(config: GatewayConfig, trace: TraceWriter) -> Vehicle:
    from otabench.bench.gateway.flashing import UdsVehicle

    return UdsVehicle(config, trace)


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Hold the lock of the state folder during the block."""
    try:
        private_files.make_folder(state_dir)
        lock = (state_dir / "gateway.lock").open("w")
    except private_files.PrivateFileError as error:
        raise StartError(f"state_dir {error}") from error
    except OSError as error:
        raise StartError(f"state_dir {state_dir}: {(error.strerror or str(error)).lower()}") from error
    with lock:
        try:
            # The kernel releases the lock when the process dies, even after SIGKILL. A file with a process id would remain.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"state_dir {state_dir}: another gateway uses this folder; stop that gateway first"
            ) from error
        yield


def _log_to_stderr() -> None:
    """Log the gateway's own lines and warnings of libraries. UDS exchanges go into the trace instead."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=form)
    logging.getLogger("gateway").setLevel(logging.INFO)


def _report_failure(message: str) -> int:
    print(f"gateway: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _describe_unexpected(error: BaseException) -> str:
    # A TaskGroup wraps the error. The user needs the one inside.
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"unexpected: {type(error).__name__}: {error}{where}; the job is on disk; the gateway resumes it at the next start"
