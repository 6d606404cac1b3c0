"""Encrypted downloads (dataFormatIdentifier 01 and 11): decrypted while they arrive, and refused when anything is wrong.

Every attack ends the same way: 72, check memory says 09, the slot is INVALID, the running slot untouched, and the next
update succeeds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import bsdiff4
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey

from otabench.ecu_firmware_sim.errors import ConfigError
from otabench.ecu_firmware_sim.factory import provision
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SLOT_WINDOW
from otabench.ecu_firmware_sim.programming.decryption import DecryptingDownload, DecryptionRefused, parse_private_key
from otabench.proto.encrypted_artifact import MAX_CHUNK_BYTES, PREFIX_BYTES, ContainerError, Header, parse_header
from tests.ecu_firmware_sim.factory import Bench, Keys, Manifest, patch_facts
from tests.ecu_firmware_sim.process import make_config
from tests.ecu_firmware_sim.sealing import CHUNK_BYTES, KEY, Sealed, seal

STRANGER = PrivateKey(bytes(range(1, 33)))
PUBLIC = KEY.public_key


@pytest.fixture
def ecu(new_ecu: Callable[..., Bench]) -> Bench:
    """An ECU with a key, that runs 1.0.0."""
    return new_ecu(decryption_key=KEY)


def prepare(ecu: Bench, image: bytes, *, data_format: int = 0x01, facts: dict[str, Any] | None = None) -> None:
    """Everything before the first 36."""
    ecu.unlock()
    ecu.download_metadata(Manifest(image, patch=facts).signed(ecu.keys.targets))
    ecu.erase()
    assert ecu.request_download(len(image), data_format=data_format)[0] == 0x74


def update(
    ecu: Bench, image: bytes, artifact: bytes, *, data_format: int = 0x01, facts: dict[str, Any] | None = None
) -> int:
    """Return the programming sequence; gives check memory's status."""
    prepare(ecu, image, data_format=data_format, facts=facts)
    ecu.transfer(artifact)
    ecu.must("37")
    return ecu.must("31 01 02 02")[4]


def offer(ecu: Bench, data: bytes, *, block_bytes: int = 300) -> str:
    """Transfer until an answer is negative, then 37; the last answer."""
    for number, start in enumerate(range(0, len(data), block_bytes), start=1):
        answer = ecu.ask(bytes((0x36, number & 0xFF)) + data[start : start + block_bytes])
        if answer.startswith("7F"):
            return answer
    return ecu.ask("37")


def prove_refused(ecu: Bench, answer: str, old: bytes, new: bytes) -> None:
    assert answer in ("7F 36 72", "7F 37 72")
    assert ecu.ask("31 01 02 02") == "71 01 02 02 09"
    assert ecu.states == "CONFIRMED INVALID"
    assert bytes(ecu.flash.view(ecu.layout.slot_offset(0), len(old))) == old
    assert "06 02 00" in ecu.ask("19 02 08"), "the refused image is a trouble code"
    assert ecu.ask("36 01 00") == "7F 36 24", "the download has ended"
    assert update(ecu, new, seal(new, PUBLIC).data) == 0, "the next update succeeds"


@pytest.mark.parametrize("chunk_bytes", [1, 255, 512, 4096, MAX_CHUNK_BYTES])
def test_an_encrypted_image_is_staged_whatever_its_chunk_size(ecu: Bench, new_image: bytes, chunk_bytes: int) -> None:
    assert update(ecu, new_image, seal(new_image, PUBLIC, chunk_bytes=chunk_bytes).data) == 0
    assert ecu.states == "CONFIRMED STAGED"
    assert bytes(ecu.flash.view(ecu.layout.slot_offset(1), len(new_image))) == new_image


def test_an_encrypted_patch_is_rebuilt_and_boots(ecu: Bench, old_image: bytes, new_image: bytes) -> None:
    patch = bsdiff4.diff(old_image, new_image)
    facts = patch_facts(old_image, patch)
    assert update(ecu, new_image, seal(patch, PUBLIC).data, data_format=0x11, facts=facts) == 0
    ecu.must("31 01 02 10")
    assert str(ecu.boot().image.version) == "2.0.0"  # type: ignore[union-attr]


def test_a_patch_that_decrypts_and_is_none_is_refused_as_a_patch(
    ecu: Bench, old_image: bytes, new_image: bytes
) -> None:
    patch = b"no patch" * 100
    prepare(ecu, new_image, data_format=0x11, facts=patch_facts(old_image, patch))
    assert offer(ecu, seal(patch, PUBLIC, chunk_bytes=64).data) == "7F 36 72"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"


def test_an_encrypted_patch_whose_decoder_is_too_large_for_the_ram_is_refused_as_a_patch(
    new_ecu: Callable[..., Bench], old_image: bytes, new_image: bytes
) -> None:
    ecu = new_ecu(decryption_key=KEY, ram_bytes=1_000_000)
    patch = bsdiff4.diff(old_image, new_image)
    prepare(ecu, new_image, data_format=0x11, facts=patch_facts(old_image, patch))
    assert offer(ecu, seal(patch, PUBLIC).data) == "7F 36 72"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"


def _changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 0x01,)) + data[at + 1 :]


def _with(sealed: Sealed, chunks: list[bytes]) -> bytes:
    return Sealed(sealed.header, sealed.sealed_key, sealed.stream_header, chunks).data


ATTACKS: dict[str, Callable[[bytes], bytes]] = {
    "sealed for another ECU": lambda new: seal(new, STRANGER.public_key).data,
    "not encrypted at all": lambda new: new,
    "another plaintext length": lambda new: seal(new, PUBLIC, plaintext_bytes=len(new) + 1).data,
    "a shorter image than announced": lambda new: seal(new[:-1], PUBLIC).data,
    "a missing chunk": lambda new: _with(s := seal(new, PUBLIC), s.chunks[:3] + s.chunks[4:]),
    "a missing first chunk": lambda new: _with(s := seal(new, PUBLIC), s.chunks[1:]),
    "a repeated chunk": lambda new: _with(s := seal(new, PUBLIC), [*s.chunks[:3], s.chunks[2], *s.chunks[3:]]),
    "two chunks in the other order": lambda new: _with(
        s := seal(new, PUBLIC), [*s.chunks[:2], s.chunks[3], s.chunks[2], *s.chunks[4:]]
    ),
    "a chunk of another artifact": lambda new: _with(
        s := seal(new, PUBLIC), [*s.chunks[:2], seal(new, PUBLIC).chunks[2], *s.chunks[3:]]
    ),
    "cut short behind a chunk": lambda new: _with(s := seal(new, PUBLIC), s.chunks[:-1]),
    "cut short inside the last chunk": lambda new: seal(new, PUBLIC).data[:-1],
    "cut short inside the prefix": lambda new: seal(new, PUBLIC).data[: PREFIX_BYTES - 1],
    "something behind the last chunk": lambda new: seal(new, PUBLIC).data + b"\x00",
    "the last chunk not marked as last": lambda new: seal(new, PUBLIC, final_at=0).data,
    "marked as last too early": lambda new: seal(new, PUBLIC, final_at=2).data,
    "a chunk size beyond what an ECU holds": lambda new: (
        b"OTAE\x01\0\0\0" + (MAX_CHUNK_BYTES + 1).to_bytes(4, "big") + seal(new, PUBLIC).data[12:]
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_artifact_that_is_not_right_is_refused_and_the_slot_is_invalid(
    ecu: Bench, old_image: bytes, new_image: bytes, attack: str
) -> None:
    prepare(ecu, new_image)
    prove_refused(ecu, offer(ecu, ATTACKS[attack](new_image)), old_image, new_image)


def test_one_bit_changed_anywhere_is_refused(ecu: Bench, new_image: bytes) -> None:
    """Every byte of the prefix and of the ends of a chunk, and some of each chunk's inside."""
    sealed = seal(new_image, PUBLIC).data
    edges = set(range(PREFIX_BYTES + 4)) | {
        len(sealed) - 1,
        PREFIX_BYTES + CHUNK_BYTES + 16,
        PREFIX_BYTES + CHUNK_BYTES + 17,
    }
    for at in sorted(edges | set(range(PREFIX_BYTES, len(sealed), 397))):
        prepare(ecu, new_image)
        assert offer(ecu, _changed(sealed, at), block_bytes=4000) in ("7F 36 72", "7F 37 72"), f"byte {at}"
        assert ecu.ask("31 01 02 02") == "71 01 02 02 09", f"byte {at}"
        assert ecu.states == "CONFIRMED INVALID"


def test_a_block_sent_twice_by_the_tester_is_not_decrypted_twice(ecu: Bench, new_image: bytes) -> None:
    prepare(ecu, new_image)
    data = seal(new_image, PUBLIC).data
    for number, start in enumerate(range(0, len(data), 300), start=1):
        block = bytes((0x36, number & 0xFF)) + data[start : start + 300]
        assert ecu.must(block) == ecu.must(block)
    ecu.must("37")
    assert ecu.must("31 01 02 02")[4] == 0


def test_exit_before_the_first_block_is_too_early(ecu: Bench, new_image: bytes) -> None:
    prepare(ecu, new_image)
    assert ecu.ask("37") == "7F 37 24"


@pytest.mark.parametrize("data_format", [0x01, 0x11])
def test_an_ecu_without_a_key_says_that_the_format_is_out_of_range(
    new_ecu: Callable[..., Bench], new_image: bytes, data_format: int
) -> None:
    ecu = new_ecu()
    ecu.unlock()
    ecu.erase()
    assert ecu.request_download(len(new_image), data_format=data_format).hex() == "7f3431"
    assert ecu.request_download(len(new_image))[0] == 0x74, "the plain format is still taken"


@pytest.mark.parametrize("data_format", [0x02, 0x12, 0x20, 0x21, 0xFF])
def test_formats_that_no_one_knows_are_out_of_range(ecu: Bench, new_image: bytes, data_format: int) -> None:
    ecu.unlock()
    ecu.erase()
    assert ecu.request_download(len(new_image), data_format=data_format).hex() == "7f3431"


def test_metadata_is_never_encrypted(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.request_download(100, address=METADATA_WINDOW, data_format=0x01).hex() == "7f3431"


def test_memory_size_is_the_plain_image_s(ecu: Bench, new_image: bytes) -> None:
    ecu.unlock()
    ecu.erase()
    request = b"\x34\x01\x44" + SLOT_WINDOW.to_bytes(4, "big") + (ecu.layout.slot_bytes + 1).to_bytes(4, "big")
    assert ecu.ask(request) == "7F 34 31"


def test_a_power_cut_in_the_middle_leaves_the_slot_invalid_and_nothing_remembered(ecu: Bench, new_image: bytes) -> None:
    prepare(ecu, new_image)
    data = seal(new_image, PUBLIC).data
    ecu.transfer(data[: len(data) // 2])
    assert str(ecu.boot().image.version) == "1.0.0"  # type: ignore[union-attr]
    assert ecu.states == "CONFIRMED INVALID"
    assert update(ecu, new_image, data) == 0


class _Sink:
    """An inner download that keeps what it is given."""

    received_bytes = 0
    is_slot = True
    is_rebuilt = False
    complete = True

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self) -> None:
        """Nothing to do."""


@settings(max_examples=80, deadline=None)
@given(
    plain=st.binary(min_size=1, max_size=3000),
    chunk_bytes=st.integers(1, 700),
    cuts=st.lists(st.integers(0, 6000), max_size=12),
)
def test_any_division_into_blocks_gives_the_plaintext(plain: bytes, chunk_bytes: int, cuts: list[int]) -> None:
    data = seal(plain, PUBLIC, chunk_bytes=chunk_bytes).data
    sink = _Sink()
    download = DecryptingDownload(sink, KEY, plaintext_bytes=len(plain))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        download.write(data[start:end])
    download.finish()
    assert bytes(sink.data) == plain
    assert Header(chunk_bytes, len(plain)).artifact_bytes == len(data)


def test_what_is_held_is_one_chunk_and_one_block_however_long_the_file_is() -> None:
    plain = random.Random(1).randbytes(1 << 20)
    data = seal(plain, PUBLIC, chunk_bytes=4096).data
    sink = _Sink()
    download = DecryptingDownload(sink, KEY, plaintext_bytes=len(plain))
    for start in range(0, len(data), 4093):
        download.write(data[start : start + 4093])
    download.finish()
    assert bytes(sink.data) == plain
    assert download.max_held_bytes <= 4096 + 17 + 4093


def test_nothing_of_a_chunk_is_handed_on_before_it_is_authentic() -> None:
    sealed = seal(bytes(2000), PUBLIC, chunk_bytes=500)
    sink = _Sink()
    download = DecryptingDownload(sink, KEY, plaintext_bytes=2000)
    with pytest.raises(DecryptionRefused, match="chunk 2 of 4"):
        download.write(_changed(sealed.data, PREFIX_BYTES + 2 * 517 + 516))
    assert len(sink.data) == 1000


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "not an encrypted"), (b"OTAX" + bytes(16), "not an encrypted"), (b"OTAE\x02" + bytes(15), "version 2")],
)
def test_what_is_no_header_is_said_to_be_none(data: bytes, why: str) -> None:
    with pytest.raises(ContainerError, match=why):
        parse_header(data)


@pytest.mark.parametrize("content", [None, b"", b"00" * 31, b"\xff" * 64])
def test_an_ecu_does_not_start_with_a_key_file_that_is_none(
    tmp_path: Path, keys: Keys, old_image: bytes, content: bytes | None
) -> None:
    key_file = tmp_path / "engine.x25519"
    if content is not None:
        key_file.write_bytes(content)
    config = make_config(tmp_path, keys, old_image, bus={}, transport="user", decryption_key=key_file)
    with pytest.raises(ConfigError, match=r"decryption_key .*engine\.x25519: "):
        provision(config)


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "00" * 33])
def test_a_key_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError):
        parse_private_key(text)
