"""ISO-TP messages out of captures: whatever their length, and never with bytes that were not seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.captures.isotp import Addresses, CapturedFrame, Message, Reassembly, exchanges
from tests.isotp_frames import frames_of

ADDRESSES = Addresses(0x7E0, 0x7E8, 0x7DF)


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=5), st.sampled_from([8, 16, 64]), st.booleans())
def test_messages_come_back_whole(payloads: list[bytes], frame_bytes: int, with_address: bool) -> None:
    addresses = Addresses(0x7E0, 0x7E8, has_address_byte=with_address)
    address = b"\xf1" if with_address else b""
    frames = [
        CapturedFrame(0.0, 0x7E0, address + data)
        for payload in payloads
        for data in frames_of(payload, frame_bytes - len(address))
    ]
    reassembly = Reassembly(addresses)
    assert [each.payload for each in reassembly.messages(frames)] == payloads
    assert reassembly.broken == 0


@given(st.binary(min_size=20, max_size=300), st.data())
def test_a_message_with_a_missing_frame_is_left_out_and_counted(payload: bytes, data: st.DataObject) -> None:
    frames = [CapturedFrame(0.0, 0x7E8, each) for each in frames_of(payload, 8)]
    lost = data.draw(st.integers(1, len(frames) - 1))
    rest = [*frames[:lost], *frames[lost + 1 :], CapturedFrame(1.0, 0x7E8, b"\x02\x7e\x00")]
    reassembly = Reassembly(ADDRESSES)
    assert [each.payload for each in reassembly.messages(rest)] == [b"\x7e\x00"]
    assert reassembly.broken == 1


def test_flow_control_and_other_identifiers_are_no_messages() -> None:
    frames = [
        CapturedFrame(0, 0x7E8, b"\x30\x00\x00"),
        CapturedFrame(0, 0x123, b"\x02\x3e\x00"),
        CapturedFrame(0, 0x7E0, b""),
    ]
    assert list(Reassembly(ADDRESSES).messages(frames)) == []


def test_a_response_belongs_to_the_request_before_it_and_78_buys_time() -> None:
    heard = exchanges(
        [
            Message(0.0, 0x7E8, b"\x50\x01"),
            Message(1.0, 0x7DF, b"\x3e\x80"),
            Message(2.0, 0x7E0, b"\x31\x01\xff\x00"),
            Message(2.5, 0x7E8, b"\x7f\x31\x78"),
            Message(4.0, 0x7E8, b"\x71\x01\xff\x00\x00"),
        ],
        ADDRESSES,
    )
    assert [(each.functional, each.response.hex()) for each in heard] == [(True, ""), (False, "7101ff0000")]
    assert (heard[1].pending_s, heard[1].response_s) == (0.5, 2.0)
