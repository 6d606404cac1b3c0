"""The gateway as a process: it starts, refuses to start, is stopped, and is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.gateway.errors import StartError
from otabench.bench.gateway.process import check_key, pairing_of, read_config
from otabench.proto.job_states import JobState
from otabench.proto.process_config import TlsConfig
from tests.bench.gateway.hmi.serving import CODE
from tests.bench.gateway.world import HAPPY, NEW, OLD, World
from tests.stalls import within
from tests.waiting import PATIENCE_S


class Gateway:
    """A gateway in its own process, with the model vehicle."""

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-m", "tests.bench.gateway.gateway_with_model", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    async def ended(self, within_s: float = PATIENCE_S) -> tuple[int, str]:
        """Wait for the end. Return exit status and stderr."""
        _, errors = await asyncio.to_thread(self.process.communicate, timeout=within_s)
        return self.process.returncode, errors

    async def ready(self) -> str:
        """Return the HMI's address."""
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line.startswith("gateway: ready, HMI on "), line
        return line.split()[-1]


async def _install(url: str) -> None:
    """Decide as the page's button does."""
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {CODE}"}, trust_env=False) as page:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            state = (await page.get("/api/state")).json()
            if state["job_state"] == "WAITING_FOR_APPROVAL" and state["offer"]:
                break
            assert time.monotonic() < deadline, state
            await asyncio.sleep(0.05)
        answer = await page.post(
            "/api/decision",
            json={"job_id": state["job_id"], "decision": "install", "offer": state["offer"]},
            headers={"Origin": url},
        )
        assert answer.status_code == 200, answer.text


async def _until(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


def test_killed_by_sigkill_while_flashing_it_goes_on_and_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            config = _write(world, stop_before="VERIFYING")
            world.vehicle.set_fault("engine", pace_s=0.3)
            world.offer()
            # given: killed while the engine's image is transferred
            gateway = Gateway(config)
            await _install(await gateway.ready())
            await _until(lambda: any(p.phase == "transferring" for u in world.cloud.updates for p in u.progress))
            gateway.process.send_signal(signal.SIGKILL)
            assert (await gateway.ended())[0] == -signal.SIGKILL
            world.vehicle.set_fault("engine", pace_s=None)
            # when: killed again, by itself, once VERIFYING is on disk
            status, errors = await Gateway(config).ended()
            assert status == -signal.SIGKILL, errors
            # then
            last = Gateway(config)
            await _until(lambda: world.cloud.state is JobState.SUCCEEDED)
            assert world.cloud.transitions == HAPPY
            assert world.vehicle.running() == NEW
            with within(3.0):
                last.process.send_signal(signal.SIGTERM)
                status, errors = await last.ended()
            assert status == 0, errors
            assert "Traceback" not in errors

    asyncio.run(story())


def test_sigterm_in_the_middle_of_flashing_ends_it_within_moments(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            config = _write(world)
            world.vehicle.set_fault("engine", pace_s=0.3)
            world.offer()
            gateway = Gateway(config)
            url = await gateway.ready()
            second, errors = await Gateway(config).ended()
            assert second == 1
            assert (
                errors
                == f"gateway: state_dir {tmp_path}/state: another gateway uses this folder; stop that gateway first\n"
            )
            await _install(url)
            await _until(lambda: any(p.phase == "transferring" for u in world.cloud.updates for p in u.progress))
            with within(3.0):
                gateway.process.send_signal(signal.SIGTERM)
                status, errors = await gateway.ended()
            assert status == 0, errors
            assert world.cloud.state is JobState.INSTALLING
            assert world.vehicle.running() == OLD
            assert "Traceback" not in errors

    asyncio.run(story())


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                status, errors = await Gateway(_write(world, hmi_port=port)).ended()
            assert status == 1
            assert errors.count("\n") == 1
            assert f"127.0.0.1:{port}" in errors
            assert "in use" in errors

    asyncio.run(story())


def test_without_a_configured_code_the_gateway_keeps_one_that_only_its_user_can_read(tmp_path: Path) -> None:
    config = GatewayConfig(vin="V", ecus=(), state_dir=tmp_path, director_root=tmp_path / "root.json", cloud_grpc="x:1")
    made = pairing_of(config)
    code = (tmp_path / "hmi.code").read_text().strip()
    assert made.accepts(code) and pairing_of(config).accepts(code)
    assert (tmp_path / "hmi.code").stat().st_mode & 0o777 == 0o600
    (tmp_path / "hmi.code").chmod(0o644)
    with pytest.raises(StartError, match=r"hmi\.code: others may use this file \(mode 0644\); `chmod 600"):
        pairing_of(config)
    with pytest.raises(StartError, match="hmi_pairing_code: not a pairing code"):
        pairing_of(config.model_copy(update={"hmi_pairing_code": "1234"}))


def test_a_private_key_that_others_may_use_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "vehicle.key"
    key.write_text("key")
    key.chmod(0o666)
    tls = TlsConfig(ca=tmp_path / "ca.pem", certificate=tmp_path / "vehicle.pem", key=key)
    config = GatewayConfig(
        vin="V", ecus=(), state_dir=tmp_path, director_root=tmp_path / "root.json", cloud_grpc="x:1", tls=tls
    )
    with pytest.raises(StartError, match=r"tls\.key .*vehicle\.key: others may use this file \(mode 0666\)"):
        check_key(config)
    key.chmod(0o600)
    check_key(config)


def test_what_is_wrong_with_the_start_is_one_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "otabench.bench.gateway", "--config", str(tmp_path / "none.json")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"gateway: config {tmp_path}/none.json: cannot be read: no such file or directory\n"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"vin": None}, "vin: "),
        ({"stop_before": "LUNCH"}, "stop_before: 'LUNCH' is not one of CREATED, CONFIRMING"),
    ],
)
def test_a_wrong_configuration_names_the_key(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            path = _write(world)
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
            with pytest.raises(Exception, match=says):
                read_config(path)

    asyncio.run(story())


def _write(world: World, **changes: Any) -> Path:
    path = world.folder / "gateway.json"
    fields = {"hmi_port": _free_port(), "hmi_host": "127.0.0.1", "hmi_pairing_code": CODE, **changes}
    path.write_text(world.config(**fields).model_dump_json())
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
