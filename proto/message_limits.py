"""Limits of the control plane's messages. The gateway keeps to them, and the cloud refuses what is longer.

    check_fields(request)  # raises FieldTooLong: "reason: 5000 bytes, at most 1024"
    cut_text(reason, MAX_REASON_BYTES)

A text's length counts in bytes of UTF-8, as it travels. The walk needs no list of messages: a new text field has the general limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_VEHICLE_MESSAGE_BYTES: Final = 256 * 1024
MAX_OPERATOR_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""CreateCampaign carries images."""
MAX_REASON_BYTES: Final = 1024
MAX_TEXT_BYTES: Final = 256
MAX_DTCS: Final = 64
MAX_VERSION_REPORT_BYTES: Final = 64 * 1024
VEHICLE_TEXTS: Final[Mapping[str, int]] = {"reason": MAX_REASON_BYTES}
VEHICLE_LISTS: Final[Mapping[str, int]] = {"ecus": 256, "progress": 256, "slots": 8, "dtcs": MAX_DTCS}
OPERATOR_TEXTS: Final[Mapping[str, int]] = {
    "reason": MAX_REASON_BYTES,
    "name": 1024,
    **dict.fromkeys(("release_notes", "purpose", "unavailable", "instructions"), 64 * 1024),
}
"""What the driver reads has smaller limits of its own, by what fits into an ECU's metadata window."""
OPERATOR_LISTS: Final[Mapping[str, int]] = {
    "ecus": 256,
    "vins": 100_000,
    "images": 256,
    "known_versions": 10_000,
    "segments": 10_000,
    "conditions": 1000,
    "metadata": 256,
}
RETRY_PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Trailing metadata of RESOURCE_EXHAUSTED: the milliseconds to wait before the next call (gRFC A6)."""
_BYTES: Final[Mapping[str, int]] = {"version_report": MAX_VERSION_REPORT_BYTES}
_MAX_ITEMS: Final = 64
_ELLIPSIS: Final = " …"


class FieldTooLong(ValueError):
    """A field is longer than its limit. The message names the field, its length and the limit."""


def check_fields(
    message: Message,
    *,
    texts: Mapping[str, int] = VEHICLE_TEXTS,
    lists: Mapping[str, int] = VEHICLE_LISTS,
    at: str = "",
) -> None:
    """Check the lengths of all texts and lists in a message, at any depth. Of fields of bytes, only those in ``_BYTES`` are checked.

    Args:
        message: a decoded message.
        texts: limits in bytes by the field's name; other texts have ``MAX_TEXT_BYTES``.
        lists: limits in items by the field's name; other lists have 64.
        at: the path of the message, for the error.

    Raises:
        FieldTooLong: a field is too long.
    """
    # This runs for every call, so paths of texts are made for errors only.
    for field, value in message.ListFields():
        name, kind = field.name, field.type
        if not field.is_repeated:
            if kind == FieldDescriptor.TYPE_MESSAGE:
                check_fields(value, texts=texts, lists=lists, at=f"{at}{name}.")
            elif kind == FieldDescriptor.TYPE_STRING:
                _check_text(value, texts.get(name, MAX_TEXT_BYTES), at, name)
            elif name in _BYTES and len(value) > _BYTES[name]:
                raise FieldTooLong(f"{at}{name}: {len(value)} bytes, at most {_BYTES[name]}")
            continue
        limit = lists.get(name, _MAX_ITEMS)
        if len(value) > limit:
            raise FieldTooLong(f"{at}{name}: {len(value)} entries, at most {limit}")
        if kind == FieldDescriptor.TYPE_MESSAGE:
            if _is_map(field):
                # Iterating over a map yields its keys. Maps of this protocol have bytes as values, which are not checked.
                for key in value:
                    _check_text(key, MAX_TEXT_BYTES, at, f"{name}: key")
                continue
            for index, item in enumerate(value):
                check_fields(item, texts=texts, lists=lists, at=f"{at}{name}[{index}].")
        elif kind == FieldDescriptor.TYPE_STRING:
            for index, item in enumerate(value):
                _check_text(item, texts.get(name, MAX_TEXT_BYTES), at, name, index)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def cut_text(text: str, max_bytes: int) -> str:
    """Return the text if it fits, otherwise its beginning with an ellipsis. No character is cut in two."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def _check_text(text: str, limit: int, at: str, name: str, index: int | None = None) -> None:
    # A character has four bytes at most.
    if len(text) * 4 <= limit or (length := len(text.encode())) <= limit:
        return
    place = "" if index is None else f"[{index}]"
    raise FieldTooLong(f"{at}{name}{place}: {length} bytes, at most {limit}")
