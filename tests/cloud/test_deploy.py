"""The files in ``deploy/``: each is read by its own program, and the balancer is run in front of two control planes."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from otabench.bench.launcher.specs import mosquitto
from otabench.proto.process_config import CloudConfig, TlsConfig
from tests.cloud.bench import Cloud, Vehicle, free_port
from tests.waiting import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIG = DEPLOY / "config" / "control.json"


@pytest.fixture
def compose() -> dict[str, Any]:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_the_configuration_is_one_and_names_services_that_exist(compose: dict[str, Any]) -> None:
    config = CloudConfig.model_validate_json(CONFIG.read_text(encoding="utf-8"))
    services = set(compose["services"])
    assert config.tls is not None
    assert config.mqtt_tls is not None
    assert config.mqtt_host in services
    assert re.findall(r"@([\w-]+)/", config.database_url)[0] in services
    listening = {
        f"control-1:{config.grpc_port}",
        f"control-2:{config.grpc_port}",
        f"artifacts:{config.artifact_port}",
        f"{config.mqtt_host}:{config.mqtt_port}",
    }
    balanced = set(re.findall(r"(?:server|proxy_pass) ([\w-]+:\d+)", (DEPLOY / "nginx.conf").read_text()))
    assert balanced == listening
    assert f"listener {config.mqtt_port}" in (DEPLOY / "mosquitto.conf").read_text()


def test_every_file_that_is_mounted_is_here_and_every_volume_is_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./keys"):
                continue  # made by the operator
            exists = (DEPLOY / source).exists() if source.startswith("./") else source in compose["volumes"]
            assert exists, f"{name}: {volume}"
        for other in service.get("depends_on", ()):
            assert other in compose["services"], f"{name} depends on {other}"
    assert compose["services"]["control-1"]["command"][0] == "control"
    assert compose["services"]["artifacts"]["command"][0] == "artifacts"


def test_the_broker_has_the_rules_of_the_benchs_own(tmp_path: Path) -> None:
    names = ("ca", "certificate", "key")
    for name in names:
        (tmp_path / name).touch()
    tls = TlsConfig(**{name: tmp_path / name for name in names})
    made = mosquitto.write_config(tmp_path / "broker", port=8883, tls=tls)
    assert (DEPLOY / "mosquitto.access").read_text() == (made.parent / "access").read_text()

    def options(text: str) -> dict[str, str]:
        lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        # Folders, addresses and accounts differ from place to place.
        return {key: "" if "/" in value or key in ("listener", "user") else value for key, _, value in lines} | {
            "user": ""
        }

    assert options((DEPLOY / "mosquitto.conf").read_text()) == options(made.read_text())


@pytest.mark.systemd
@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "systemd").iterdir()))
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    # systemd checks that the program is there.
    (tmp_path / unit).write_text(text.replace("/opt/otabench/bin/python", sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit], check=False, capture_output=True, text=True
    )
    mine = [line for line in (done.stdout + done.stderr).splitlines() if unit in line]
    assert (done.returncode, mine) == (0, [])


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[Callable[[dict[str, int]], int]]:
    """Start the balancer of ``deploy/`` with other addresses; its port for gRPC."""
    started: list[subprocess.Popen[bytes]] = []

    def start(ports: dict[str, int]) -> int:
        config = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
        for service in ("control-1:7443", "control-2:7443", "mosquitto:8883", "artifacts:9000"):
            config = config.replace(service, f"127.0.0.1:{ports.get(service.partition(':')[0], 9)}")
        grpc_port = free_port()
        for listened, port in (("7443", grpc_port), ("8883", free_port()), ("9000", free_port())):
            config = re.sub(rf"listen {listened}\b", f"listen 127.0.0.1:{port}", config)
        # Debian's nginx loads the module that nginx's own images have built in.
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        head = f"daemon off;\npid {tmp_path}/nginx.pid;\nerror_log stderr;\n"
        if module.exists():
            head = f"load_module {module};\n{head}"
        (tmp_path / "nginx.conf").write_text(head + config, encoding="utf-8")
        command = ["nginx", "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
        checked = subprocess.run([*command, "-t"], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        eventually(lambda: _listens(grpc_port), "nginx listens")
        return grpc_port

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.nginx
def test_behind_the_balancer_a_killed_control_plane_is_replaced_by_the_other(
    make_cloud: Callable[..., Cloud], balancer: Callable[[dict[str, int]], int], vehicle: Vehicle
) -> None:
    first, second = (make_cloud(plane="control", mqtt_port=1883) for _ in range(2))
    for name in ("database_url", "artifact_store", "private_store"):
        if name in first.config:
            second.config[name] = first.config[name]
    for cloud in (first, second):
        cloud.start()
    port = balancer({"control-1": first.grpc_port, "control-2": second.grpc_port})
    # Calls go through the balancer, which passes TLS through: the control planes see the callers' own certificates.
    first.grpc_port = second.grpc_port = port
    vehicle.register(first)
    vehicle.check_in(first)
    first.kill()

    def answers() -> bool:
        try:
            vehicle.check_in(second)
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return False
        return True

    eventually(answers, "the other control plane answers")
