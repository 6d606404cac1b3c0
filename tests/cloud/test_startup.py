"""Start and end of the process: what is wrong is reported in one line, and a signal ends the process at once."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from otabench.cloud.errors import StartError
from otabench.cloud.process import _run, read_config
from otabench.proto import ota_pb2
from tests.cloud.bench import CALL_S, ENGINE, START_S, Cloud, ImageMaker, Vehicle, campaign_request
from tests.cloud.campaigns.test_campaigns import create
from tests.stalls import within


def fails_to_start(cloud: Cloud) -> str:
    """The error of a plane that does not start; the process makes one line of it (see the first test)."""
    with pytest.raises(StartError) as caught:
        asyncio.run(_run(read_config(cloud.write_config()), cloud.plane))
    return str(caught.value)


def test_a_process_that_cannot_start_reports_why_in_one_line_with_status_1(
    make_cloud: Callable[..., Cloud],
) -> None:
    cloud = make_cloud()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", cloud.grpc_port))
        taken.listen()

        assert cloud.launch().wait(timeout=START_S) == 1, cloud.log()

    (line,) = [line for line in cloud.log().splitlines() if line.startswith("cloud: ")]
    assert f"(grpc_port): port {cloud.grpc_port} on 127.0.0.1 is in use: end the process that uses it" in line
    assert "Traceback" not in cloud.log()


@pytest.mark.parametrize(
    ("plane", "port"), [("control", "grpc_port"), ("artifacts", "artifact_port"), ("events", "mqtt_port")]
)
def test_a_port_in_use_is_named(make_cloud: Callable[..., Cloud], plane: str, port: str) -> None:
    cloud = make_cloud(plane=plane, embedded_broker=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cloud.config[port] = taken.getsockname()[1]

        line = fails_to_start(cloud)

        assert port in line
        assert f"port {cloud.config[port]} on 127.0.0.1 is in use" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keys_dir": "/nowhere"}, "/nowhere/director/root.json"),
        ({"unknown_key": 1}, "unknown_key"),
        ({"grpc_port": "high"}, "grpc_port"),
        ({"database_url": "sqlite:////proc/no/cloud.db"}, "/proc/no"),
        ({"database_url": "nosql://x"}, "nosql"),
        ({"database_url": "mysql+nodriver://u:secret@host/db"}, "nodriver"),
        ({"database_url": "u:secret@host"}, "database_url"),
        ({"artifact_store": "nofs://bucket"}, "nofs"),
        ({"artifact_store": "file:///proc/no/store"}, "/proc/no/store"),
        ({"tls": None, "grpc_host": "0.0.0.0"}, "loopback"),
        ({"state_dir": "/proc/no/state"}, "/proc/no/state"),
        ({"trace": "/proc/no/trace.jsonl"}, "/proc/no/trace.jsonl"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_configuration_is_named(
    make_cloud: Callable[..., Cloud], change: dict[str, object], words: str
) -> None:
    cloud = make_cloud()
    cloud.config.update(change)

    line = fails_to_start(cloud)

    assert words in line
    assert "secret" not in line


def test_a_configuration_file_that_is_missing_or_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for name in ("absent.json", "broken.json"):
        with pytest.raises(StartError, match=name):
            read_config(tmp_path / name)


def test_a_tls_key_of_another_certificate_is_named(make_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    cloud = make_cloud()
    cloud.config["tls"]["key"] = str(cloud.keys_dir / "tls" / "operator.key")

    assert "operator.key is not the key of" in fails_to_start(cloud)


def test_a_directory_of_mixed_keys_is_named(make_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    cloud = make_cloud()
    mixed = tmp_path / "mixed"
    shutil.copytree(cloud.keys_dir, mixed)
    shutil.copy(mixed / "director" / "root-1.pem", mixed / "director" / "timestamp.pem")
    cloud.config["keys_dir"] = str(mixed)

    assert "timestamp.pem is not the timestamp key" in fails_to_start(cloud)


def test_the_event_plane_without_an_embedded_broker_names_mosquitto(make_cloud: Callable[..., Cloud]) -> None:
    assert "mosquitto" in fails_to_start(make_cloud(plane="events"))


def _drain(stream: Iterator[object], broken: threading.Event) -> None:
    try:
        list(stream)
    except grpc.RpcError:
        broken.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_planes_at_once_with_status_0(
    make_cloud: Callable[..., Cloud], number: signal.Signals, vehicle: Vehicle, images: ImageMaker
) -> None:
    # given: all planes, a watcher that holds a stream open, and an idle HTTP connection
    cloud = make_cloud(plane="all", embedded_broker=True)
    cloud.start()
    vehicle.register(cloud)
    campaign = create(cloud, campaign_request(vehicle, (ENGINE, images())))
    request = ota_pb2.GetCampaignRequest(campaign_id=campaign.campaign_id)
    stream = cloud.operator.WatchCampaign(request, timeout=CALL_S)
    next(stream)
    broken = threading.Event()
    watcher = threading.Thread(target=_drain, args=(stream, broken))
    watcher.start()
    with socket.create_connection(("127.0.0.1", cloud.artifact_port)) as idle:
        idle.sendall(b"GET /artifacts/x HTTP/1.1\r\nHost: x\r\n")

        with within(3.0):  # an idle machine takes well under a second
            status = cloud.stop(number)

    assert status == 0, cloud.log()
    watcher.join(timeout=CALL_S)
    assert broken.is_set()
    assert "Traceback" not in cloud.log()


def test_a_signal_during_the_start_is_a_clean_end_too(make_cloud: Callable[..., Cloud]) -> None:
    for delay_s in (0.15, 0.5):
        cloud = make_cloud()
        process = cloud.launch()
        time.sleep(delay_s)

        status = cloud.stop(signal.SIGTERM)

        assert status in (0, -signal.SIGTERM), cloud.log()  # before Python runs our first line, the signal is Python's
        assert "Traceback" not in cloud.log()
        assert process.poll() is not None


def test_a_signal_is_not_lost_in_a_callback_that_swallows_exceptions() -> None:
    """The import system has such callbacks, and they run at every import; so the handler must not raise."""
    in_a_callback = """
import signal, weakref
from otabench.proto.early_signals import end_at_signals
end_at_signals()
thing = set()
watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
del thing
print("lost")
"""
    done = subprocess.run(
        [sys.executable, "-c", in_a_callback], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_tls_everyone_on_this_machine_may_call(make_cloud: Callable[..., Cloud], vehicle: Vehicle) -> None:
    cloud = make_cloud(tls=False)
    cloud.start()

    vehicle.register(cloud)

    assert vehicle.check_in(cloud).reason
