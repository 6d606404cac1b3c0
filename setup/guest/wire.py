"""Frames between `host.py` and `agent.py`: one TCP connection carries one command.

Here are the frame layout (type, length, payload) and the request that opens a
connection. Processes are `agent.py`'s, terminals `client.py`'s.

Rules:

* The client opens with the token of the guest (TOKEN_BYTES raw bytes) and one
  REQUEST frame. A wrong token ends the connection without an answer.
* Standard input is sent only while fewer than STDIN_WINDOW_BYTES of it are
  unacknowledged, so that a command that reads nothing cannot hold up a signal
  sent after it.
* EXIT or ERROR is the agent's last frame. A connection that ends without one
  is a guest that died.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any

TOKEN_BYTES = 32
STDIN_WINDOW_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
AGENT_PORT = 1
GUEST_ADDRESS = "10.0.2.100"
READY_LINE = "otabench guest is ready"

_HEADER = struct.Struct("!BI")


class Kind(IntEnum):
    """What a frame carries; the comment names who sends it."""

    REQUEST = 1  # client: JSON, see `encode_request`
    STDIN = 2  # client: bytes
    STDIN_EOF = 3  # client: nothing
    SIGNAL = 4  # client: one byte, the signal number, for the command's process group
    WINSIZE = 5  # client: rows and columns, two 16-bit numbers
    CLOSE = 6  # client: one byte, 1 or 2: this output has no reader any more
    STDIN_ACK = 7  # agent: 32-bit count of input bytes handed to the command
    STDOUT = 8  # agent: bytes
    STDERR = 9  # agent: bytes
    EXIT = 10  # agent: one byte, the status as a shell would report it
    ERROR = 11  # agent: text; the request could not be served
    FORWARDED = 12  # agent: 16-bit guest port that leads to the requested one


class ProtocolError(Exception):
    """The other side sent something that is no frame of this protocol."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """Return one frame, ready to be sent."""
    return _HEADER.pack(kind, len(payload)) + payload


def encode_request(request: dict[str, Any]) -> bytes:
    """Return a REQUEST frame. Strings may hold undecodable bytes as surrogates (`os.fsdecode`)."""
    return frame(Kind.REQUEST, json.dumps(request).encode("ascii"))


def decode_request(payload: bytes) -> dict[str, Any]:
    """Return the request of a REQUEST frame.

    Raises:
        ProtocolError: it is not a JSON object.
    """
    try:
        request = json.loads(payload)
    except ValueError as error:
        raise ProtocolError(f"a request that is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise ProtocolError("a request that is not a JSON object")
    return request


class FrameReader:
    """Turns received bytes into frames; keeps the incomplete rest."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """Return the frames completed by `data`.

        Raises:
            ProtocolError: an unknown frame type or an absurd length.
        """
        self._buffer += data
        frames: list[tuple[Kind, bytes]] = []
        offset = 0
        while len(self._buffer) - offset >= _HEADER.size:
            number, length = _HEADER.unpack_from(self._buffer, offset)
            if length > MAX_PAYLOAD_BYTES:
                raise ProtocolError(f"a frame of {length} bytes")
            end = offset + _HEADER.size + length
            if len(self._buffer) < end:
                break
            try:
                kind = Kind(number)
            except ValueError as error:
                raise ProtocolError(f"a frame of unknown type {number}") from error
            frames.append((kind, bytes(self._buffer[offset + _HEADER.size : end])))
            offset = end
        del self._buffer[:offset]
        return frames
