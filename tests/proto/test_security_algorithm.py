"""The algorithm of SecurityAccess: the built-in one, a plug-in, and every way in which a plug-in can be wrong."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from otabench.proto.security_algorithm import AlgorithmError, load

SECRET = bytes(range(32))
SEED = bytes(range(16))


def test_the_built_in_algorithm_is_hmac_sha256_of_the_seed() -> None:
    algorithm = load("hmac-sha256", secret=SECRET)
    assert algorithm.key_bytes == 32
    assert algorithm.key_for(SEED, level=1) == hmac.new(SECRET, SEED, hashlib.sha256).digest()


def test_a_plug_in_is_found_by_module_and_function() -> None:
    algorithm = load("tests.proto.plugin:xor_5a", secret=SECRET)
    assert algorithm.key_bytes == 16
    assert algorithm.key_for(SEED, level=1) == bytes(byte ^ 0x5A for byte in SEED)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sha1", "expected hmac-sha256 or module:function"),
        ("tests.proto.nowhere:f", r"module tests.proto.nowhere cannot be imported .* put its folder into PYTHONPATH"),
        ("tests.proto.plugin:nowhere", "tests.proto.plugin has no function nowhere"),
        ("tests.proto.plugin:NO_FUNCTION", "NO_FUNCTION of tests.proto.plugin is not a function"),
        ("tests.proto.plugin:text", "returned 'key', not 1 to 255 bytes"),
        ("tests.proto.plugin:takes_too_little", r"failed \(TypeError: .* it is called as function\(seed, secret=…"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(AlgorithmError, match=why):
        load(name, secret=SECRET)


def test_keys_of_changing_length_are_refused() -> None:
    algorithm = load("tests.proto.plugin:of_changing_length", secret=SECRET)
    with pytest.raises(AlgorithmError, match="all keys must have the same length"):
        algorithm.key_for(b"\x07" * 16, level=1)
