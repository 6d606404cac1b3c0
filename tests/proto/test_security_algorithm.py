"""The algorithm of SecurityAccess: the built-in one, a plug-in, and every way in which a plug-in can be wrong."""

from __future__ import annotations

import hashlib
import hmac
import shutil
import subprocess
from pathlib import Path

import pytest

from otabench.proto.security_algorithm import AlgorithmError, load
from tests.needs import needs

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
        ("sha1", "expected hmac-sha256, aes-cmac, xor, add, sa2, module:function or library:PATH"),
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


def test_aes_cmac_is_that_of_rfc_4493() -> None:
    # RFC 4493, section 4, example 2
    algorithm = load("aes-cmac", secret=bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
    seed = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    assert algorithm.key_for(seed, level=1).hex() == "070a16b46b4d4144f79bdd9dd04a287c"
    with pytest.raises(AlgorithmError, match="aes-cmac: failed"):
        load("aes-cmac", secret=b"short")


def test_xor_and_add_combine_the_seed_with_the_secret() -> None:
    seed = bytes.fromhex("01ff10")
    assert _xor(seed).hex() == "04f915"
    assert (
        load("add", secret=b"\x05\x06").key_for(bytes.fromhex("01ff10").ljust(16, b"\0"), level=1)[:3].hex() == "060515"
    )


def _xor(seed: bytes) -> bytes:
    return load("xor", secret=b"\x05\x06").key_for(seed.ljust(16, b"\0"), level=1)[: len(seed)]


LIBRARY_SOURCE = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int GenerateKeyEx%(suffix)s(const uint8_t *seed, uint32_t n, uint32_t level, const char *variant,
    %(options)s uint8_t *key, uint32_t max, uint32_t *used) {
    if (!strcmp(variant, "crash")) abort();
    if (!strcmp(variant, "hang")) sleep(60);
    if (!strcmp(variant, "wrong")) return 3;
    if (level > 3) return 2;
    if (max < n) return 1;
    for (uint32_t i = 0; i < n; i++) key[i] = seed[i] ^ level %(more)s;
    *used = strcmp(variant, "empty") ? n : 0;
    return 0;
}
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libraries of both kinds, and one that has neither function."""
    folder = tmp_path_factory.mktemp("libraries")
    sources = {
        "plain": LIBRARY_SOURCE % {"suffix": "", "options": "", "more": ""},
        "with_options": LIBRARY_SOURCE % {"suffix": "Opt", "options": "const char *options,", "more": "^ options[0]"},
        "other": "int nothing(void) { return 0; }",
    }
    for name, source in sources.items():
        (folder / f"{name}.c").write_text(source)
        command = ["gcc", "-shared", "-fPIC", "-o", str(folder / f"{name}.so"), str(folder / f"{name}.c")]
        subprocess.run(command, check=True)
    return folder


@needs(shutil.which("gcc"), "gcc is missing: setup/packages.sh test")
class TestLibraries:
    """Shared libraries with the field's seed-and-key interface, called in a process of their own."""

    def test_generate_key_ex_gets_seed_level_and_variant(self, libraries: Path) -> None:
        algorithm = load(f"library:{libraries}/plain.so", secret=b"")
        assert algorithm.key_for(b"\x10\x20\x30", level=1).hex() == "112131"
        assert algorithm.key_for(bytes(16), level=3) == b"\x03" * 16

    def test_generate_key_ex_opt_gets_the_options_too(self, libraries: Path) -> None:
        algorithm = load(f"library:{libraries}/with_options.so?variant=V1&options=A", secret=b"")
        assert algorithm.key_for(b"\x00", level=1) == bytes((1 ^ ord("A"),))

    @pytest.mark.parametrize(
        ("name", "level", "why"),
        [
            ("plain.so?variant=crash", 1, r"the library crashed \(signal 6\)"),
            ("plain.so?variant=wrong", 1, "it returned 3: the variant is invalid"),
            ("plain.so", 5, "it returned 2: the level is invalid"),
            ("plain.so?variant=empty", 1, "it states a key of 0 bytes"),
            ("other.so", 1, "it has neither GenerateKeyEx nor GenerateKeyExOpt"),
            ("other.c", 1, "other.c: file too short"),
            ("plain.so?varaint=x", 1, "unknown: varaint; known: variant, options"),
            ("missing.so", 1, "there is no file .*missing.so; check the path"),
        ],
    )
    def test_a_library_that_fails_ends_by_name(self, libraries: Path, name: str, level: int, why: str) -> None:
        with pytest.raises(AlgorithmError, match=why):
            load(f"library:{libraries}/{name}", secret=b"").key_for(b"\x01", level=level)

    def test_a_library_that_hangs_is_given_up(self, libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("otabench.proto.security_algorithm.LIBRARY_TIMEOUT_S", 0.2)
        with pytest.raises(AlgorithmError, match=r"the library did not return within 0\.2 s"):
            load(f"library:{libraries}/plain.so?variant=hang", secret=b"").key_for(b"\x01", level=1)
