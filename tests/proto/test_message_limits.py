"""Limits of the control plane's messages: the field is named, whatever its depth; what the gateway cuts, the cloud takes."""

from __future__ import annotations

import pytest

from otabench.proto import ota_pb2
from otabench.proto.foreign_text import printable
from otabench.proto.message_limits import MAX_REASON_BYTES, FieldTooLong, check_fields, cut_text

_LONG = "x" * 2000


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (ota_pb2.UpdateStatusRequest(reason=_LONG), "reason: 2000 bytes, at most 1024"),
        (ota_pb2.UpdateStatusRequest(reason="é" * 513), "reason: 1026 bytes, at most 1024"),
        (ota_pb2.UpdateStatusRequest(vin=_LONG), "vin: 2000 bytes"),
        (ota_pb2.UpdateStatusRequest(progress=[{"ecu": "a"}, {"phase": _LONG}]), "progress[1].phase: 2000 bytes"),
        (ota_pb2.CheckInRequest(ecus=[{"slots": [{"version": _LONG}]}]), "ecus[0].slots[0].version: 2000 bytes"),
        (ota_pb2.CheckInRequest(ecus=[{"dtcs": ["a", _LONG]}]), "ecus[0].dtcs[1]: 2000 bytes"),
        (ota_pb2.CheckInRequest(ecus=[{"dtcs": ["a"] * 65}]), "ecus[0].dtcs: 65 entries, at most 64"),
        (ota_pb2.CheckInRequest(ecus=[{"slots": [{}] * 9}]), "ecus[0].slots: 9 entries, at most 8"),
        (ota_pb2.CheckInRequest(ecus=[{}] * 257), "ecus: 257 entries, at most 256"),
        (ota_pb2.PublishImagesRequest(metadata={_LONG: b""}), "metadata: key: 2000 bytes, at most 256"),
        (ota_pb2.PublishImagesRequest(metadata={str(n): b"" for n in range(65)}), "metadata: 65 entries, at most 64"),
    ],
)
def test_a_field_that_is_too_long_is_named(message: ota_pb2.CheckInRequest, named: str) -> None:
    with pytest.raises(FieldTooLong) as caught:
        check_fields(message)
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ["", "short", "x" * 1024, "x" * 5000, "é" * 513, "🚗" * 5000, "a" + "é" * 600])
def test_what_was_cut_is_within_the_limit_and_begins_alike(text: str) -> None:
    cut = cut_text(text, MAX_REASON_BYTES)

    check_fields(ota_pb2.UpdateStatusRequest(reason=cut))
    assert cut == text or (cut.endswith(" …") and text.startswith(cut[:-2]) and len(cut.encode()) > 1016)


def test_foreign_text_cannot_move_the_cursor_or_begin_a_line() -> None:
    assert printable("Dachgeschoß 2.0.0 🚗") == "Dachgeschoß 2.0.0 🚗"
    assert printable("a\x1b[2Jb\r\nc\x9b1m\u202e\u2028") == r"a\x1b[2Jb\r\nc\x9b1m\u202e\u2028"
    assert printable("x" * 9, max_characters=4) == "xxxx …"
