"""SA2: a byte code that computes the key of security access from its seed. Some flash containers carry it for their ECU. Pure.

    run(bytes.fromhex("93 00000001 4C"), seed)       # the seed plus one

A register of 32 bits holds the seed at the start and the key at the end. There is one carry flag.

    81            rotate left by one bit; the carry is the bit that went round
    82            rotate right by one bit; the same
    93 n n n n    add a number (the highest byte first); the carry is that of the sum
    84 n n n n    subtract a number; the carry shows that it was greater
    87 n n n n    exclusive or; the carry stays
    68 n          the instructions up to the matching 49 are carried out n times
    49            end of the loop
    4A n          skip n bytes if the carry is clear
    6B n          skip n bytes
    4C            end

There is no readable standard: this is how tools of the field read it. No script of any maker is shipped.
"""

from __future__ import annotations

from typing import Final

REGISTER_BYTES: Final = 4
_MASK: Final = 0xFFFF_FFFF
_MAX_STEPS: Final = 100_000
"""A script may loop 255 times in 255 loops; no real one comes near."""
_OPERAND_BYTES: Final = {
    0x81: 0,
    0x82: 0,
    0x93: REGISTER_BYTES,
    0x84: REGISTER_BYTES,
    0x87: REGISTER_BYTES,
    0x68: 1,
    0x49: 0,
    0x4A: 1,
    0x6B: 1,
    0x4C: 0,
}


class ScriptError(ValueError):
    """The script is not SA2, or does not end. The message contains the place."""


def run(script: bytes, seed: bytes) -> bytes:
    """Return the key for a seed.

    Raises:
        ScriptError: an instruction is unknown or cut short, loops do not match, or the script does not end.
        ValueError: the seed does not have 4 bytes.
    """
    if len(seed) != REGISTER_BYTES:
        raise ValueError(f"SA2 computes with seeds of {REGISTER_BYTES} bytes, not {len(seed)}")
    register, carry, at = int.from_bytes(seed, "big"), False, 0
    loops: list[
        tuple[int, int]
    ] = []  # where the body of each open loop begins, and how often it is still to be repeated
    for _ in range(_MAX_STEPS):
        code, operand, behind = _read(script, at)
        at = behind
        match code:
            case 0x4C:
                return register.to_bytes(REGISTER_BYTES, "big")
            case 0x68:
                loops.append((at, operand - 1))
            case 0x49:
                if not loops:
                    raise ScriptError(f"byte {behind - 1}: 49 ends a loop, and none is open")
                start, left = loops.pop()
                if left > 0:
                    loops.append((start, left - 1))
                    at = start
            case 0x4A:
                at += 0 if carry else operand
            case 0x6B:
                at += operand
            case _:
                register, carry = _compute(code, operand, register, carry)
    raise ScriptError(f"it does not end within {_MAX_STEPS} instructions")


def _read(script: bytes, at: int) -> tuple[int, int, int]:
    """Return the instruction at a place: its code, its operand, and the place behind it."""
    if at >= len(script):
        raise ScriptError(f"byte {at}: it runs over its end; 4C ends a script")
    size = _OPERAND_BYTES.get(script[at])
    if size is None:
        raise ScriptError(f"byte {at}: there is no instruction {script[at]:02X}")
    behind = at + 1 + size
    if behind > len(script):
        raise ScriptError(f"byte {at}: the instruction {script[at]:02X} is cut short")
    return script[at], int.from_bytes(script[at + 1 : behind], "big"), behind


def _compute(code: int, operand: int, register: int, carry: bool) -> tuple[int, bool]:
    match code:
        case 0x81:
            carry = bool(register >> 31)
            return (register << 1 | carry) & _MASK, carry
        case 0x82:
            carry = bool(register & 1)
            return register >> 1 | carry << 31, carry
        case 0x93:
            return (register + operand) & _MASK, register + operand > _MASK
        case 0x84:
            return (register - operand) & _MASK, operand > register
        case _:
            return register ^ operand, carry
