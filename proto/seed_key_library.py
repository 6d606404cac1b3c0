"""Call GenerateKeyEx or GenerateKeyExOpt of a shared library: the interface of the field's seed-and-key libraries (.so, .dll).

    python seed_key_library.py LIBRARY LEVEL VARIANT OPTIONS < seed in hex > key in hex

This module is run as a script of its own, in a process of its own: a library that crashes or hangs must not take the gateway with it.
It imports nothing of the project, so that it starts in a few hundredths of a second.

The interface (convention of 2003 and 2009; no standard): ``GenerateKeyEx(seed, seed size, level, variant, key buffer, buffer size,
out: key size)``; ``GenerateKeyExOpt`` takes options behind the variant. The level is the sub-function of requestSeed. Results: 0 done,
1 buffer too small, 2 level invalid, 3 variant invalid, 4 unspecified error.
"""

from __future__ import annotations

import ctypes
import sys

MAX_KEY_BYTES = 255
RESULTS = {1: "the buffer is too small", 2: "the level is invalid", 3: "the variant is invalid", 4: "unspecified error"}


def key_of(library: ctypes.CDLL, seed: bytes, *, level: int, variant: str, options: str) -> bytes:
    """Return the key.

    Raises:
        ValueError: the library has neither function, or it reports an error.
    """
    with_options = getattr(library, "GenerateKeyExOpt", None)
    function = with_options or getattr(library, "GenerateKeyEx", None)
    if function is None:
        raise ValueError("it has neither GenerateKeyEx nor GenerateKeyExOpt")
    buffer = ctypes.create_string_buffer(MAX_KEY_BYTES)
    size = ctypes.c_uint32(0)
    function.restype = ctypes.c_int
    arguments: list[object] = [seed, ctypes.c_uint32(len(seed)), ctypes.c_uint32(level), variant.encode("utf-8")]
    if with_options:
        arguments.append(options.encode("utf-8"))
    result = function(*arguments, buffer, ctypes.c_uint32(MAX_KEY_BYTES), ctypes.byref(size))
    if result:
        raise ValueError(f"it returned {result}: {RESULTS.get(result, 'a result without a meaning')}")
    if not 0 < size.value <= MAX_KEY_BYTES:
        raise ValueError(f"it states a key of {size.value} bytes")
    return buffer.raw[: size.value]


def main(arguments: list[str]) -> int:
    """Entry point: 0 and the key, or 1 and the reason."""
    path, level, variant, options = arguments
    try:
        print(
            key_of(
                ctypes.CDLL(path), bytes.fromhex(sys.stdin.read()), level=int(level), variant=variant, options=options
            ).hex()
        )
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
