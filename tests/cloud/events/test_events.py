"""Wake-ups over MQTT, by mosquitto and amqtt; the broker is absent at the start, killed in the middle, or never there."""

from __future__ import annotations

import json
import queue
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.cloud.bench import ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, free_port
from tests.cloud.campaigns.test_campaigns import create
from tests.waiting import eventually

WAIT_S = 30.0


class Mosquitto:
    """A real mosquitto on one port, which a test starts and kills."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
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
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.kill()


def _connects(listener: mqtt.Client, port: int) -> bool:
    try:
        listener.connect("127.0.0.1", port)
    except OSError:
        return False
    return True


@contextmanager
def listening(port: int, vehicle: Vehicle) -> Iterator[Callable[[], tuple[str, dict[str, str]]]]:
    """Subscribe as the vehicle's gateway does. Give a function that waits for the next message and returns it."""
    messages: queue.Queue[tuple[str, dict[str, str]]] = queue.Queue()
    subscribed: queue.Queue[bool] = queue.Queue()
    prefix = f"otabench/v1/vehicles/{vehicle.vin}/"
    listener = mqtt.Client(CallbackAPIVersion.VERSION2)

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
    cloud = make_cloud(mqtt_port=mosquitto.port)
    cloud.start()
    vehicle.register(cloud)
    with listening(mosquitto.port, vehicle) as receive:
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
    cloud = make_cloud(mqtt_port=mosquitto.port)
    cloud.start()
    vehicle.register(cloud)
    began = time.monotonic()
    first = create(cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id
    vehicle.update(cloud, first, "CONFIRMING")
    assert time.monotonic() - began < 5, "a call waited for the broker"

    # when: broker and vehicle come, then: the vehicle receives what follows
    mosquitto.start()
    with listening(mosquitto.port, vehicle) as receive:
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
    with listening(mosquitto.port, vehicle) as receive:
        vehicle.update(cloud, second, "CONFIRMING")
        while receive() != ("job", {"job_id": second, "state": "CONFIRMING", "reason": ""}):
            pass
    assert "Traceback" not in cloud.log()


@pytest.mark.mosquitto
def test_a_cloud_that_starts_again_wakes_vehicles_whose_jobs_wait(
    make_cloud: Callable[..., Cloud], mosquitto: Mosquitto, vehicle: Vehicle, images: ImageMaker
) -> None:
    cloud = make_cloud(mqtt_port=mosquitto.port)
    cloud.start()
    vehicle.register(cloud)
    job_id = create(cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id
    cloud.kill()  # the broker was not there: the wake-up was never sent
    mosquitto.start()
    with listening(mosquitto.port, vehicle) as receive:
        cloud.start()

        created, (topic, fields) = receive(), receive()

    assert created == ("job", {"job_id": job_id, "state": "CREATED", "reason": ""})
    assert (topic, fields["job_id"]) == ("update-available", job_id)
