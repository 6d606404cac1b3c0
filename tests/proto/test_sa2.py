"""SA2 byte code, instruction by instruction."""

from __future__ import annotations

import pytest

from otabench.proto import security_algorithm
from otabench.proto.sa2 import ScriptError, run
from otabench.proto.security_algorithm import AlgorithmError


def key(script: str, seed: int) -> int:
    return int.from_bytes(run(bytes.fromhex(script), seed.to_bytes(4, "big")), "big")


@pytest.mark.parametrize(
    ("script", "seed", "expected"),
    [
        ("4C", 0x12345678, 0x12345678),
        ("93 00000001 4C", 0x12345678, 0x12345679),
        ("93 00000001 4C", 0xFFFFFFFF, 0x00000000),
        ("84 00000001 4C", 0x00000000, 0xFFFFFFFF),
        ("87 FF00FF00 4C", 0x12345678, 0xED34A978),
        ("81 4C", 0x80000001, 0x00000003),
        ("82 4C", 0x80000001, 0xC0000000),
        # loops, one in another
        ("68 04 81 49 4C", 0x00000001, 0x00000010),
        ("68 03 68 02 93 00000001 49 93 00000010 49 4C", 0, 3 * (2 + 16)),
        # a skip depends on the carry: of a rotation, a sum, a difference; exclusive or leaves it
        ("81 4A 05 87 000000FF 4C", 0x80000000, 0x000000FE),
        ("81 4A 05 87 000000FF 4C", 0x40000000, 0x80000000),
        ("93 00000001 4A 01 81 4C", 0xFFFFFFFE, 0xFFFFFFFF),
        ("93 00000002 4A 01 81 4C", 0xFFFFFFFF, 0x00000002),
        ("84 00000002 4A 01 81 4C", 0x00000001, 0xFFFFFFFF),
        ("81 87 00000000 4A 05 93 00000001 4C", 0x80000000, 0x00000002),
        ("6B 05 93 00000001 4C", 7, 7),
        ("4C FF", 7, 7),
    ],
)
def test_a_script_computes_the_key(script: str, seed: int, expected: int) -> None:
    assert key(script, seed) == expected


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "byte 0: it runs over its end"),
        ("81", "byte 1: it runs over its end"),
        ("93 0000", "byte 0: the instruction 93 is cut short"),
        ("81 FF 4C", "byte 1: there is no instruction FF"),
        ("49 4C", "byte 0: 49 ends a loop, and none is open"),
        ("6B FF 4C", "it runs over its end"),
        ("68 FF 68 FF 68 FF 81 49 49 49 4C", "does not end within 100000 instructions"),
    ],
)
def test_what_is_no_script_is_refused_with_the_place(script: str, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        key(script, 1)


def test_it_is_an_algorithm_whose_secret_is_the_script() -> None:
    algorithm = security_algorithm.load("sa2", secret=bytes.fromhex("93 00000001 4C"))
    assert algorithm.key_for(bytes(4), level=0x11) == bytes((0, 0, 0, 1))
    with pytest.raises(AlgorithmError, match="seeds of 4 bytes, not 8"):
        algorithm.key_for(bytes(8), level=0x11)
    with pytest.raises(AlgorithmError, match="byte 0: there is no instruction 00"):
        security_algorithm.load("sa2", secret=bytes(32))
