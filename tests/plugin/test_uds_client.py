"""The tests' UDS client is the bench's tester: the ECU's security algorithm, and its P2 and P2*, not ones of its own.

The far end is written by hand: single frames on a bus of this process, answered as late as a story says.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import can
import pytest
import yaml
from udsoncan.exceptions import TimeoutException

from otabench.bench.errors import BenchError
from otabench.bench.pytest_plugin import uds
from otabench.bench.uds import profiles
from otabench.bench.uds.endpoint import EcuEndpoint

SEED = bytes.fromhex("11223344")
Answers = Mapping[str, tuple[float, tuple[str, ...]]]
"""To a request: after how many seconds each, and the answers."""
_buses = itertools.count()


def key_of_four_bytes(seed: bytes, *, secret: bytes, level: int) -> bytes:
    """Return a user's algorithm."""
    return bytes((level,)) + seed[:3]


@contextmanager
def far_end(answers: Answers) -> Iterator[Callable[..., EcuEndpoint]]:
    """An ECU with these answers; gives what makes its endpoint."""
    channel = f"uds-client-{next(_buses)}"
    ended = threading.Event()

    def serve(bus: can.BusABC) -> None:
        while not ended.is_set():
            message = bus.recv(0.05)
            if message is None or message.arbitration_id != 0x6E0:
                continue
            request = bytes(message.data[1 : 1 + message.data[0]]).hex()
            delay_s, each = answers.get(request, (0.0, (f"7f{request[:2]}35",)))
            for answer in each:
                time.sleep(delay_s)
                payload = bytes.fromhex(answer)
                data = bytes((len(payload),)) + payload
                bus.send(can.Message(arbitration_id=0x6E8, is_extended_id=False, data=data))

    def endpoint(*, algorithm: str = "hmac-sha256", profile: str = "iso14229-ab") -> EcuEndpoint:
        return EcuEndpoint(
            name="engine", bus={"interface": "virtual", "channel": channel}, request_id=0x6E0, response_id=0x6E8,
            serial="S", hardware_id="H", security_secret="ab" * 32, security_algorithm=algorithm, profile=profile,
        )  # fmt: skip

    with can.Bus(interface="virtual", channel=channel) as bus:
        thread = threading.Thread(target=serve, args=(bus,))
        thread.start()
        try:
            yield endpoint
        finally:
            ended.set()
            thread.join(60)


@pytest.fixture
def slow_profile(tmp_path: Path) -> str:
    """The shipped one, with P2 and P2* of 4 s, of which 1 s is margin."""
    content = yaml.safe_load(Path(next(iter(profiles.__path__)), "iso14229-ab.yaml").read_text())
    content["timing"].update(p2_s=3.0, p2_star_s=3.0, p2_margin_s=1.0)
    path = tmp_path / "slow.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_plug_in_s_key_unlocks() -> None:
    # given an ECU with an algorithm of the user's own
    answers: Answers = {"2701": (0, ("6701" + SEED.hex(),)), "2702" + "01112233": (0, ("6702",))}
    with (
        far_end(answers) as endpoint,
        uds.client(endpoint(algorithm="tests.plugin.test_uds_client:key_of_four_bytes")) as client,
    ):
        # when it is unlocked by either of its level's two numbers, then it is
        client.unlock_security_access(1)
        client.unlock_security_access(2)


def test_an_algorithm_that_cannot_be_used_is_told_before_anything_is_sent() -> None:
    with (
        far_end({}) as endpoint,
        pytest.raises(BenchError, match=r"engine: security algorithm tests\.nowhere:f"),
        uds.client(endpoint(algorithm="tests.nowhere:f")),
    ):
        pass


def test_it_waits_as_long_as_the_profile_says_until_the_ecu_does(slow_profile: str) -> None:
    answers: Answers = {
        "22f189": (2.0, ("62f18931",)),
        "1003": (0, ("5003" + "0000" + "0000",)),
        "1001": (0, ("5001" + "0bb8" + "012c",)),
        "1101": (0, ("5101",)),
    }
    with far_end(answers) as endpoint, uds.client(endpoint(profile=slow_profile)) as client:
        # given P2 of the profile, then an answer after 2 s is in time
        client.read_data_by_identifier(0xF189)
        # given an ECU that promises to answer at once, then it is too late
        client.change_session(3)
        with pytest.raises(TimeoutException):
            client.read_data_by_identifier(0xF189)
        assert client.conn.wait_frame(timeout=20, exception=True) == bytes.fromhex("62f18931"), "the late answer"
        # given three seconds, then it is in time again
        client.change_session(1)
        client.read_data_by_identifier(0xF189)
        # and a reset brings the profile's time back
        client.change_session(3)
        client.ecu_reset(1)
        client.read_data_by_identifier(0xF189)


@pytest.mark.parametrize(("p2_star", "is_late"), [("012c", False), ("0000", True)])
def test_p2_star_is_the_ecu_s_own(slow_profile: str, p2_star: str, is_late: bool) -> None:
    # given an ECU that answers pending, and finally 2 s after that
    pending: Answers = {
        "1003": (0, ("5003" + "0bb8" + p2_star,)),
        "22f189": (2.0, ("7f2278", "62f18931")),
    }
    with far_end(pending) as endpoint, uds.client(endpoint(profile=slow_profile)) as client:
        client.change_session(3)
        if is_late:
            with pytest.raises(TimeoutException, match=r"P2\*"):
                client.read_data_by_identifier(0xF189)
        else:
            client.read_data_by_identifier(0xF189)
