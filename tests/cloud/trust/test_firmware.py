"""Images that the cloud accepts, and each way in which one is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.cloud.trust.firmware import FirmwareRefused, verify
from otabench.cloud.trust.keys import load_image_public_key
from tests.cloud.bench import ADAS, ENGINE, ImageMaker


def refusal(content: bytes, keys_dir: Path, *, hardware_id: str = ENGINE) -> str:
    with pytest.raises(FirmwareRefused) as caught:
        verify(content, hardware_id=hardware_id, key=load_image_public_key(keys_dir))
    return str(caught.value)


def test_an_image_signed_by_the_fleets_key_is_accepted(images: ImageMaker, keys_dir: Path) -> None:
    content = images(ENGINE, "2.0.1+5", counter=7)

    firmware = verify(content, hardware_id=ENGINE, key=load_image_public_key(keys_dir))

    assert str(firmware.version) == "2.0.1+5"
    assert firmware.security_counter == 7
    assert firmware.length == len(content)
    assert firmware.sha256 == hashlib.sha256(content).hexdigest()


def test_an_image_signed_by_another_key_is_refused(images: ImageMaker, keys_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )

    assert "not made with this fleet's image key" in refusal(images(key=other), keys_dir)


@pytest.mark.parametrize("offset", [16, 0x200, 0x4000, -300])
def test_one_flipped_bit_is_refused(images: ImageMaker, keys_dir: Path, offset: int) -> None:
    content = bytearray(images())
    content[offset] ^= 0x01

    assert refusal(bytes(content), keys_dir)


def test_an_image_for_other_hardware_is_refused(images: ImageMaker, keys_dir: Path) -> None:
    assert "other hardware" in refusal(images(ENGINE), keys_dir, hardware_id=ADAS)


def test_a_truncated_image_is_refused(images: ImageMaker, keys_dir: Path) -> None:
    assert "cut short" in refusal(images()[:-1], keys_dir)


def test_bytes_after_the_image_are_refused(images: ImageMaker, keys_dir: Path) -> None:
    assert "follow the image's end" in refusal(images() + b"\xff" * 16, keys_dir)


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"hello"])
def test_a_file_that_is_not_an_image_is_refused(content: bytes, keys_dir: Path) -> None:
    assert refusal(content, keys_dir)
