"""Wake-ups over MQTT, by mosquitto and amqtt; the broker is absent at the start, killed in the middle, or never there."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from otabench.bench.launcher.specs.mosquitto import write_config
from otabench.cloud.trust.keys import init_keys
from otabench.proto.process_config import TlsConfig
from tests.cloud.bench import ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, free_port
from tests.cloud.campaigns.test_campaigns import create
from tests.waiting import eventually

WAIT_S = 30.0


class Mosquitto:
    """A real mosquitto on one port, which a test starts and kills."""

    def __init__(self, folder: Path, keys_dir: Path) -> None:
        self.port = free_port()
        self.keys_dir = keys_dir
        tls = TlsConfig(
            ca=keys_dir / "tls" / "ca.pem",
            certificate=keys_dir / "tls" / "broker.pem",
            key=keys_dir / "tls" / "broker.key",
        )
        self._config = write_config(folder / "broker", port=self.port, tls=tls)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mosquitto(tmp_path: Path, keys_dir: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, keys_dir)
    yield broker
    broker.kill()


def _connects(listener: mqtt.Client, port: int) -> bool:
    try:
        listener.connect("127.0.0.1", port)
    except OSError:
        return False
    return True


def client_of(who: str, keys_dir: Path | None, *, version: int = mqtt.MQTTv311) -> mqtt.Client:
    """Return a client with the certificate of that name, or without TLS."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion(version))
    if keys_dir is not None:
        tls = keys_dir / "tls"
        client.tls_set(str(tls / "ca.pem"), str(tls / f"{who}.pem"), str(tls / f"{who}.key"))
    return client


@contextmanager
def listening(
    port: int, vehicle: Vehicle, *, keys_dir: Path | None = None
) -> Iterator[Callable[[], tuple[str, dict[str, str]]]]:
    """Subscribe as the vehicle's gateway does. Give a function that waits for the next message and returns it."""
    messages: queue.Queue[tuple[str, dict[str, str]]] = queue.Queue()
    subscribed: queue.Queue[bool] = queue.Queue()
    prefix = f"otabench/v1/vehicles/{vehicle.vin}/"
    listener = client_of(f"vehicle-{vehicle.vin}", keys_dir)

    def on_message(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        assert (message.qos, message.retain) == (1, False)
        messages.put((message.topic.removeprefix(prefix), json.loads(message.payload)))

    def on_connect(*_: object) -> None:
        listener.subscribe(f"{prefix}#", qos=1)

    listener.on_connect = on_connect
    listener.on_subscribe = lambda *_: subscribed.put(True)
    listener.on_message = on_message
    eventually(lambda: _connects(listener, port), "the broker comes up", timeout_s=WAIT_S, interval_s=0.05)
    listener.loop_start()
    try:
        subscribed.get(timeout=WAIT_S)
        yield lambda: messages.get(timeout=WAIT_S)
    finally:
        listener.disconnect()
        listener.loop_stop()


def expect_an_update(
    cloud: Cloud, vehicle: Vehicle, images: ImageMaker, receive: Callable[[], tuple[str, dict[str, str]]]
) -> str:
    """Create a campaign, expect its events, and return the job's id."""
    campaign = create(cloud, campaign_request(vehicle, (ENGINE, images())))
    job_id = campaign.jobs[0].job_id
    assert receive() == ("job", {"job_id": job_id, "state": "CREATED", "reason": ""})
    woken = {"vin": vehicle.vin, "job_id": job_id, "campaign_id": campaign.campaign_id}
    assert receive() == ("update-available", woken)
    return job_id


@pytest.mark.mosquitto
def test_a_campaign_wakes_the_vehicle_and_every_transition_is_published(
    make_cloud: Callable[..., Cloud], mosquitto: Mosquitto, vehicle: Vehicle, images: ImageMaker
) -> None:
    mosquitto.start()
    cloud = make_cloud(mqtt_port=mosquitto.port, mqtt_tls=True)
    cloud.start()
    vehicle.register(cloud)
    with listening(mosquitto.port, vehicle, keys_dir=mosquitto.keys_dir) as receive:
        job_id = expect_an_update(cloud, vehicle, images, receive)

        vehicle.update(cloud, job_id, "CONFIRMING")
        vehicle.update(cloud, job_id, "CONFIRMING", seq=1)  # progress: no event
        vehicle.update(cloud, job_id, "REJECTED", reason="expired manifest")

        assert receive() == ("job", {"job_id": job_id, "state": "CONFIRMING", "reason": ""})
        assert receive() == ("job", {"job_id": job_id, "state": "REJECTED", "reason": "expired manifest"})


def test_the_embedded_broker_carries_the_same(
    make_cloud: Callable[..., Cloud], vehicle: Vehicle, images: ImageMaker
) -> None:
    cloud = make_cloud(plane="all", embedded_broker=True)
    cloud.start()
    vehicle.register(cloud)
    with listening(cloud.mqtt_port, vehicle) as receive:
        expect_an_update(cloud, vehicle, images, receive)
    assert "Traceback" not in cloud.log()


@pytest.mark.mosquitto
def test_a_broker_that_is_late_or_killed_delays_events_and_loses_none(
    make_cloud: Callable[..., Cloud], mosquitto: Mosquitto, vehicle: Vehicle, images: ImageMaker
) -> None:
    # given: no broker at the start; every call is answered at once nevertheless
    cloud = make_cloud(mqtt_port=mosquitto.port, mqtt_tls=True)
    cloud.start()
    vehicle.register(cloud)
    began = time.monotonic()
    first = create(cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id
    vehicle.update(cloud, first, "CONFIRMING")
    assert time.monotonic() - began < 5, "a call waited for the broker"

    # when: broker and vehicle come, then: the vehicle receives what follows
    mosquitto.start()
    with listening(mosquitto.port, vehicle, keys_dir=mosquitto.keys_dir) as receive:
        vehicle.update(cloud, first, "REJECTED")
        while receive() != ("job", {"job_id": first, "state": "REJECTED", "reason": ""}):
            pass  # what waited in the outbox comes first, if the listener was there before the cloud's next try

    # when: the broker is killed and comes back, then: the vehicle receives what happened meanwhile
    mosquitto.kill()
    vehicle.seq = 0
    began = time.monotonic()
    second = create(cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id
    assert time.monotonic() - began < 5, "a call waited for the broker"
    mosquitto.start()
    with listening(mosquitto.port, vehicle, keys_dir=mosquitto.keys_dir) as receive:
        vehicle.update(cloud, second, "CONFIRMING")
        while receive() != ("job", {"job_id": second, "state": "CONFIRMING", "reason": ""}):
            pass
    assert "Traceback" not in cloud.log()


@pytest.mark.mosquitto
def test_a_cloud_that_starts_again_wakes_vehicles_whose_jobs_wait(
    make_cloud: Callable[..., Cloud], mosquitto: Mosquitto, vehicle: Vehicle, images: ImageMaker
) -> None:
    cloud = make_cloud(mqtt_port=mosquitto.port, mqtt_tls=True)
    cloud.start()
    vehicle.register(cloud)
    job_id = create(cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id
    cloud.kill()  # the broker was not there: the wake-up was never sent
    mosquitto.start()
    with listening(mosquitto.port, vehicle, keys_dir=mosquitto.keys_dir) as receive:
        cloud.start()

        created, (topic, fields) = receive(), receive()

    assert created == ("job", {"job_id": job_id, "state": "CREATED", "reason": ""})
    assert (topic, fields["job_id"]) == ("update-available", job_id)


@pytest.mark.mosquitto
def test_a_vehicle_reads_its_own_topics_and_writes_none(
    mosquitto: Mosquitto, vehicle: Vehicle, other_vehicle: Vehicle
) -> None:
    mosquitto.start()
    own, other = f"otabench/v1/vehicles/{vehicle.vin}", f"otabench/v1/vehicles/{other_vehicle.vin}"
    with listening(mosquitto.port, vehicle, keys_dir=mosquitto.keys_dir) as receive:
        spy = _Spy(mosquitto, other_vehicle, topics=["#", f"{own}/update-available", "otabench/v1/vehicles/+/job"])
        with spy:
            for topic in (f"{own}/update-available", f"{other}/update-available"):
                assert spy.publish(topic) == "Not authorized"
            publisher = _Spy(mosquitto, None, topics=[])
            with publisher:
                assert publisher.publish(f"{own}/update-available") in ("Success", "No matching subscribers")
                assert receive() == ("update-available", {"n": "1"})
                assert publisher.publish("other/topic") == "Not authorized"
                assert publisher.publish(f"{own}/job", size=9000) != "Success"
            assert spy.received == []


@pytest.mark.mosquitto
@pytest.mark.parametrize("who", ["nobody", "another CA"])
def test_the_broker_refuses_who_has_no_certificate_of_the_bench(
    mosquitto: Mosquitto, vehicle: Vehicle, tmp_path: Path, who: str
) -> None:
    mosquitto.start()
    with listening(mosquitto.port, vehicle, keys_dir=mosquitto.keys_dir):
        context = ssl.create_default_context(cafile=mosquitto.keys_dir / "tls" / "ca.pem")
        if who == "another CA":
            init_keys(tmp_path / "other", vins=[], ecus=[])
            context.load_cert_chain(tmp_path / "other/tls/events.pem", tmp_path / "other/tls/events.key")
        plain = socket.create_connection(("127.0.0.1", mosquitto.port), timeout=WAIT_S)
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            # With TLS 1.3 the refusal arrives after the handshake.
            tls.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x05\x00\x00")
            if not tls.recv(4):
                raise ConnectionError("closed")


class _Spy:
    """A client of MQTT 5, which receives the reason of every refusal. ``vehicle`` None: the cloud's publisher."""

    def __init__(self, broker: Mosquitto, vehicle: Vehicle | None, *, topics: list[str]) -> None:
        who = f"vehicle-{vehicle.vin}" if vehicle else "events"
        self.received: list[str] = []
        self._reasons: queue.Queue[str] = queue.Queue()
        self._ready: queue.Queue[bool] = queue.Queue()
        self._client = client_of(who, broker.keys_dir, version=mqtt.MQTTv5)
        self._client.on_message = lambda _c, _d, message: self.received.append(message.topic)
        self._client.on_publish = lambda _c, _d, _n, reason, _p: self._reasons.put(str(reason))
        self._client.on_disconnect = lambda *_: self._reasons.put("disconnected")
        self._client.on_subscribe = lambda *_: self._ready.put(True)
        self._client.on_connect = lambda *_: self._ready.put(True)
        self._topics = topics
        self._port = broker.port

    def __enter__(self) -> None:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._ready.get(timeout=WAIT_S)
        for topic in self._topics:
            self._client.subscribe(topic, qos=1)
            self._ready.get(timeout=WAIT_S)

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, *, size: int = 0) -> str:
        """Publish and return the broker's reason code in words."""
        payload = b'{"n": "1"}' + b" " * size
        self._client.publish(topic, payload, qos=1)
        return self._reasons.get(timeout=WAIT_S)
