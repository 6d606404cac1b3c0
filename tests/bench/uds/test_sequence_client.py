"""One ECU as a sequence sees it: which messages answer a request, how long it is waited for, and who receives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.uds.endpoint import EcuEndpoint, SecurityChoice
from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused, FlashError
from otabench.bench.uds.sequence.profile import SequenceProfile, load
from otabench.bench.uds.sequence.tester import Exchange
from otabench.bench.uds.sequence_client import SequenceClient
from otabench.bench.uds.transport.channel import IsoTpConnection, response_timeout
from otabench.proto import trace
from otabench.proto.trace import TraceWriter

SEED, SECRET = bytes.fromhex("01020304"), "a5" * 32


class Line(IsoTpConnection):
    """A connection whose responses are given beforehand."""

    def __init__(self, *responses: str) -> None:
        super().__init__("line")
        self.responses = [bytes.fromhex(each) for each in responses]
        self.sent: list[str] = []
        self.waited_s: list[float | None] = []
        self._open = False

    def open(self) -> Line:
        self._open = True
        return self

    def close(self) -> None:
        self._open = False

    def is_open(self) -> bool:
        return self._open

    def empty_rxqueue(self) -> None:
        pass

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        self.sent.append(payload.hex())

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        self.waited_s.append(timeout)
        if not self.responses:
            raise response_timeout("nothing")
        return self.responses.pop(0)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> SequenceProfile:
    path: Path = tmp_path_factory.mktemp("profile") / "mine.yaml"
    path.write_text(
        "name: mine\n"
        "sequences: {programming: [{session: 2}]}\n"
        "times: {p2_s: 0.1, p2_star_s: 2.0, margin_s: 0.2, max_pending_s: 30}\n"
        "keep_alive: {every_s: 0.01, request: '3E 80', functional: false}\n"
    )
    return load(path)


class Rig:
    """A client on a line."""

    def __init__(self, profile: SequenceProfile, folder: Path, *responses: str) -> None:
        self.line = Line(*responses)
        self.to_all: list[str] = []
        self.other = Line("44")
        """The connection of requests with other identifiers."""
        self.connected: list[tuple[int, int | None, bool]] = []
        self.trace_path = folder / "trace.jsonl"
        endpoint = EcuEndpoint(
            name="pump",
            bus={},
            request_id=0x7E0,
            response_id=0x7E8,
            serial="1",
            hardware_id="pump-mcu",
            security_secret=SECRET,
            security_algorithm="xor",
            security_choices={
                "39990-A": SecurityChoice(security_secret="11", security_algorithm="xor"),
                "39990-B": SecurityChoice(security_secret="02", security_algorithm="add"),
            },
        )
        self.client = SequenceClient(
            endpoint,
            profile,
            self.line,
            TraceWriter(self.trace_path, component="test"),
            send_functional=lambda request, step: self.to_all.append(request.hex()),
            connect=self._connect,
        )

    def _connect(self, request_id: int, response_id: int | None) -> Line:
        self.connected.append((request_id, response_id, self.line.is_open()))
        return self.other

    def ask(self, request: str, **more: Any) -> str:
        return self.client.exchange(Exchange(bytes.fromhex(request), "a step", **more)).hex()

    def exchanges(self) -> Iterator[Mapping[str, Any]]:
        return (event.data for event in trace.read(self.trace_path) if event.event == "uds.exchange")


def test_78_is_waited_for_with_p2_star_and_answers_to_other_requests_are_skipped(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    rig = Rig(profile, tmp_path, "7f3178", "6201", "7f3178", "7101ff00")
    assert rig.ask("3101ff00") == "7101ff00"
    waited = [round(each or 0.0, 1) for each in rig.line.waited_s]
    assert waited[0] == 0.3, "P2 with its margin"
    assert waited[-1] == 2.2, "P2* with its margin"


def test_the_times_of_a_step_and_of_the_ecu_count(profile: SequenceProfile, tmp_path: Path) -> None:
    rig = Rig(profile, tmp_path, "7f3178", "7101ff00", "7e00", "7e00")
    rig.ask("3101ff00", p2_s=5.0, p2_star_s=9.0)
    rig.client.use_times(0.7, 3.0)
    rig.ask("3e00")
    rig.client.forget_session()
    rig.ask("3e00")
    assert [round(each or 0.0, 1) for each in rig.line.waited_s] == [5.0, 9.0, 0.7, 0.3]


@pytest.mark.parametrize(
    ("responses", "error", "text"),
    [
        ((), EcuLost, "a step: no answer in time"),
        (("7f3122",), EcuRefused, "NRC 22 conditionsNotCorrect"),
        (("7f31",), EcuContradicts, "answered 7F 31"),
        (("6201",), EcuContradicts, "answered 62 01"),
        (("7101ff01",), EcuContradicts, "answered 71 01 FF 01"),
    ],
)
def test_other_ends_of_a_request(
    responses: tuple[str, ...], error: type[Exception], text: str, profile: SequenceProfile, tmp_path: Path
) -> None:
    rig = Rig(profile, tmp_path, *responses)
    with pytest.raises(error) as caught:
        rig.ask("3101ff00")
    assert text in str(caught.value)


def test_78_without_end_is_given_up_at_the_limit_of_the_step(profile: SequenceProfile, tmp_path: Path) -> None:
    rig = Rig(profile, tmp_path, *["7f3178"] * 5)
    with pytest.raises(EcuLost, match=r"sent for more than 0 s") as caught:
        rig.ask("3101ff00", limit_s=0.0)
    assert caught.value.nrc == 0x78
    assert [each["problem"] for each in rig.exchanges()] == ["78 for too long"]


def test_a_busy_ecu_is_asked_again(profile: SequenceProfile, tmp_path: Path) -> None:
    rig = Rig(profile, tmp_path, "7f2221", "62f18931")
    assert rig.client.read(0xF189) == b"1"
    assert rig.line.sent[0] == rig.line.sent[-1] == "22f189"


def test_a_functional_request_goes_to_all_only_if_nobody_else_hears_it(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    rig = Rig(profile, tmp_path)
    rig.ask("8582", functional=True, expects_answer=False)
    assert (rig.line.sent, rig.to_all) == (["8582"], [])
    rig.client.may_address_all = True
    rig.ask("8582", functional=True, expects_answer=False)
    rig.ask("2ef15a0102030405", functional=True, expects_answer=False)
    assert rig.to_all == ["8582"], "a functional request is one frame"
    assert rig.line.sent == ["8582", "2ef15a0102030405"]


def test_of_a_request_that_went_to_all_only_the_response_is_collected(profile: SequenceProfile, tmp_path: Path) -> None:
    rig = Rig(profile, tmp_path, "5003003201f4")
    with rig.client.answering(b"\x10\x03"):
        assert rig.ask("1003", functional=True) == "5003003201f4"
    assert rig.line.sent == []


def test_an_ecu_that_takes_testerpresent_by_itself_gets_it_in_every_wait(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    rig = Rig(profile, tmp_path)
    rig.client.pause(0.05)
    assert rig.line.sent
    assert set(rig.line.sent) == {"3e80"}


def test_the_key_is_as_long_as_the_seed_with_the_algorithms_for_demonstrations(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    client = Rig(profile, tmp_path).client
    assert client.key_for(SEED, level=1) == bytes(each ^ 0xA5 for each in SEED)
    assert len(client.key_for(SEED[:3], level=3)) == 3


def test_a_request_with_other_identifiers_has_a_connection_of_its_own_and_the_session_goes_on(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    rig = Rig(profile, tmp_path, "7e00", "7e00")
    rig.ask("3e00")
    rig.client.use_times(0.7, 3.0)
    assert rig.ask("04", request_id=0x700, response_id=0x7E8) == "44"
    assert rig.connected == [(0x700, 0x7E8, False)], "the ECU's own connection is closed meanwhile"
    assert not rig.other.is_open()
    rig.ask("3e00")
    assert (rig.line.sent, rig.other.sent) == (["3e00", "3e00"], ["04"])
    assert rig.line.waited_s[-1] == pytest.approx(0.7, abs=0.05), "the times of the ECU's session"
    assert [each.get("request_id") for each in rig.exchanges()] == [None, 0x700, None]


def test_silence_on_other_identifiers_leaves_the_ecus_own_connection_usable(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    rig = Rig(profile, tmp_path, "7e00", "7e00")
    rig.ask("3e00")
    rig.other.responses.clear()
    with pytest.raises(EcuLost):
        rig.ask("04", request_id=0x700)
    assert rig.ask("3e00") == "7e00"


def test_the_secret_is_chosen_by_what_was_read_and_an_unknown_choice_is_named(
    profile: SequenceProfile, tmp_path: Path
) -> None:
    client = Rig(profile, tmp_path).client
    assert client.key_for(SEED, level=1, choice="39990-A") == bytes(each ^ 0x11 for each in SEED)
    assert client.key_for(SEED, level=1, choice="39990-B") == bytes((each + 2) & 0xFF for each in SEED)
    with pytest.raises(
        FlashError, match=r"pump: 27 01 request seed: there is no secret for '39990-C'; there are: 39990-A, 39990-B"
    ):
        client.key_for(SEED, level=1, choice="39990-C")


def test_a_tester_without_a_certificate_says_where_to_name_it(profile: SequenceProfile, tmp_path: Path) -> None:
    with pytest.raises(FlashError, match=r"the tester has no certificate.*add authentication: .* to ecus\.pump"):
        Rig(profile, tmp_path).client.certificate()
