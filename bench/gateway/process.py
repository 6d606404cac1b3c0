"""The gateway as a process: configuration in, HMI and agent up, wait for a signal, both down.

One process owns a state folder. The page's port is bound before anything else begins. The process ends within moments of SIGTERM or
SIGINT, whatever a worker thread is doing: everything that matters is on disk.
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

if TYPE_CHECKING:
    from otabench.bench.gateway.agent import VehicleFactory
    from otabench.bench.gateway.config import GatewayConfig
    from otabench.bench.gateway.vehicle import Vehicle
    from otabench.proto.trace import TraceWriter

_STOP_WITHIN_S: Final = 1.5


def read_config(path: Path) -> GatewayConfig:
    """Read the process's configuration.

    Raises:
        StartError: the file cannot be read, is not JSON, or has a wrong or unknown key; the message names it.
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
    """Run the gateway until a signal ends it; ends the process with status 0, or 1 after one line on stderr.

    Args:
        config_path: GatewayConfig as JSON.
        vehicle_factory: makes the vehicle; by default the one on the bus (``gateway.flashing``).
    """
    _log_to_stderr()
    status = 0
    try:
        config = read_config(config_path)
        with _locked(config.state_dir):
            asyncio.run(_run(config, vehicle_factory or _make_uds_vehicle))
    except GatewayError as error:
        status = _report_failure(str(error))
    except Exception as error:  # noqa: BLE001  # the last line of defence: one line for the user, the rest for the developer
        status = _report_failure(_describe_unexpected(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a worker thread may be in the middle of a transfer: the next process goes on from disk


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
        hmi = HmiServer(agent.dashboard, host=config.hmi_host, port=config.hmi_port)
    except HmiPortError as error:
        raise StartError(str(error)) from error
    running = asyncio.create_task(agent.run())
    stopping = asyncio.create_task(stop.wait())
    async with hmi:
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


def _make_uds_vehicle(config: GatewayConfig, trace: TraceWriter) -> Vehicle:
    from otabench.bench.gateway.flashing import UdsVehicle

    return UdsVehicle(config, trace)


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """The folder is this process's for the time of the block."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "gateway.lock").open("w")
    except OSError as error:
        raise StartError(f"state_dir {state_dir}: {(error.strerror or str(error)).lower()}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"state_dir {state_dir}: another gateway runs on it; stop that one first") from error
        yield


def _log_to_stderr() -> None:
    """The gateway's own lines, and warnings of libraries; each UDS exchange is in the trace, not here."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=form)
    logging.getLogger("gateway").setLevel(logging.INFO)


def _report_failure(message: str) -> int:
    print(f"gateway: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _describe_unexpected(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"unexpected: {type(error).__name__}: {error}{where}; the job is on disk and goes on at the next start"
