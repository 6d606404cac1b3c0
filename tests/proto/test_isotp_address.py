"""The addresses of frames in each addressing, and bench files that contradict themselves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from otabench.proto.isotp_address import (
    FrameAddress,
    KernelAddressOptions,
    address_of_frame,
    connection_address,
    functional_address,
)
from otabench.proto.process_config import IsoTpConfig

FIXED = IsoTpConfig(addressing="normal_fixed", target_address=0x10, source_address=0xF1)
EXTENDED = IsoTpConfig(addressing="extended", target_address=0x10, source_address=0xF1)


def test_normal_uses_the_identifiers_as_given() -> None:
    address = connection_address(IsoTpConfig(), request_id=0x7E0, response_id=0x18DAF110)
    assert address.request == FrameAddress(0x7E0) and not address.request.is_29_bit
    assert address.response.is_29_bit and address.response.prefix == b""
    assert functional_address(IsoTpConfig(), functional_id=0x7DF) == FrameAddress(0x7DF)


def test_normal_fixed_has_target_and_source_in_the_identifier() -> None:
    address = connection_address(FIXED, request_id=0x18DA10F1, response_id=0x18DAF110)
    assert (address.request, address.response) == (FrameAddress(0x18DA10F1), FrameAddress(0x18DAF110))
    assert functional_address(FIXED, functional_id=0x7DF) == FrameAddress(0x18DB33F1)
    assert functional_address(FIXED, functional_id=0x18DB33F1) == FrameAddress(0x18DB33F1)


def test_extended_puts_the_receivers_address_in_front() -> None:
    address = connection_address(EXTENDED, request_id=0x6F1, response_id=0x610)
    assert (address.request.prefix, address.response.prefix) == (b"\x10", b"\xf1")
    assert functional_address(EXTENDED, functional_id=0x6F1) == FrameAddress(0x6F1, 0x33)


def test_each_end_sends_what_the_other_receives() -> None:
    address = connection_address(EXTENDED, request_id=0x6F1, response_id=0x18DAF110)
    assert (address.tester_end.sent, address.tester_end.received) == (address.request, address.response)
    assert (address.ecu_end.sent, address.ecu_end.received) == (address.response, address.request)
    assert address.tester_end.kernel_ids == (0x98DAF110, 0x6F1)
    assert address.ecu_end.kernel_ids == (0x6F1, 0x98DAF110)


def test_the_kernel_gets_address_options_only_with_an_address_byte() -> None:
    extended = connection_address(EXTENDED, request_id=0x6F1, response_id=0x610)
    assert extended.tester_end.kernel_options() == KernelAddressOptions(0x202, 0x10, 0xF1)
    assert extended.ecu_end.kernel_options() == KernelAddressOptions(0x202, 0xF1, 0x10)
    fixed = connection_address(FIXED, request_id=0x18DA10F1, response_id=0x18DAF110)
    assert fixed.tester_end.kernel_options() == KernelAddressOptions(0, 0, 0)


def test_can_isotp_gets_the_mode_that_fits_identifier_and_address_byte() -> None:
    ids = (0x7E0, 0x18DA10F1)
    assert [FrameAddress(can_id).can_isotp_mode for can_id in ids] == ["Normal_11bits", "Normal_29bits"]
    assert [FrameAddress(can_id, 1).can_isotp_mode for can_id in ids] == ["Extended_11bits", "Extended_29bits"]
    end = connection_address(EXTENDED, request_id=0x6F1, response_id=0x610).tester_end
    assert end.can_isotp_sending() == {"txid": 0x6F1, "target_address": 0x10, "tx_only": True}
    assert end.can_isotp_receiving() == {"rxid": 0x610, "source_address": 0xF1, "rx_only": True}


def test_a_seen_frame_is_split_into_address_and_content() -> None:
    data = bytes.fromhex("10023E00")
    address = address_of_frame(0x6F1, data, extended_ids={0x6F1})
    assert (address, address.content_of(data)) == (FrameAddress(0x6F1, 0x10), data[1:])
    assert address_of_frame(0x7E0, data, extended_ids={0x6F1}) == FrameAddress(0x7E0)
    assert address_of_frame(0x6F1, b"", extended_ids={0x6F1}) == FrameAddress(0x6F1)
    assert FrameAddress(0x6F1, 0x11).content_of(data) is None


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        ((0x7E0, 0x18DAF110), "request_id 0x7E0: .* it must be 0x18DA10F1"),
        ((0x18DA10F1, 0x18DA10F1), "response_id 0x18DA10F1: .* it must be 0x18DAF110"),
    ],
)
def test_normal_fixed_identifiers_that_contradict_the_addresses_are_named(ids: tuple[int, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connection_address(FIXED, request_id=ids[0], response_id=ids[1])
    with pytest.raises(ValueError, match="functional_id 0x18DB33F2"):
        functional_address(FIXED, functional_id=0x18DB33F2)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"addressing": "extended"}, "needs target_address"),
        ({"addressing": "normal_fixed", "target_address": 1}, "needs target_address"),
        ({"target_address": 1}, "need addressing normal_fixed or extended"),
        ({"addressing": "extended", "target_address": 0xF1, "source_address": 0xF1}, "must differ"),
        ({"addressing": "extended", "target_address": 0x33, "source_address": 0xF1}, "must differ"),
        ({"tx_dl": 10}, "tx_dl"),
        ({"addressing": "mixed"}, "addressing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        IsoTpConfig.model_validate(wrong)


def test_a_full_frame_has_64_bytes_with_can_fd_unless_tx_dl_is_less() -> None:
    assert [IsoTpConfig().frame_bytes(fd=fd) for fd in (False, True)] == [8, 64]
    assert IsoTpConfig(tx_dl=16).frame_bytes(fd=True) == 16
