"""ISO-TP messages cut into frames, as a bus would carry them."""

from __future__ import annotations


def frames_of(payload: bytes, frame_bytes: int = 8) -> list[bytes]:
    """Return the data of the frames of one message; ``frame_bytes`` above 8 is CAN FD."""
    if len(payload) < min(frame_bytes, 8):
        return [bytes((len(payload),)) + payload]
    if frame_bytes > 8 and len(payload) <= frame_bytes - 2:
        return [bytes((0, len(payload))) + payload + b"\xcc" * (9 - 2 - len(payload))]
    length = len(payload)
    head = (0x1000 | length).to_bytes(2, "big") if length < 0x1000 else b"\x10\x00" + length.to_bytes(4, "big")
    frames = [head + payload[: frame_bytes - len(head)]]
    at, number = frame_bytes - len(head), 1
    while at < len(payload):
        frames.append(bytes((0x20 | number & 0xF,)) + payload[at : at + frame_bytes - 1])
        at, number = at + frame_bytes - 1, number + 1
    return frames
