"""Images that the cloud accepts, and each way in which one is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.cloud.errors import StartError
from otabench.cloud.trust.firmware import FirmwareRefused, verify, verify_program
from otabench.cloud.trust.keys import load_image_public_key
from otabench.proto.uptane import PayloadCustom
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


HEX_FILE = b":0400000001020304F2\n:00000001FF\n"


def stated(form: str, length: int = 4, **more: Any) -> PayloadCustom:
    address = more.get("start_address", 0)
    return PayloadCustom.model_validate({"format": form, "segments": [{"address": address, "length": length}], **more})


def test_a_program_file_is_one_more_image_for_each_hardware_and_version_it_is_given_for() -> None:
    made = [
        verify_program(HEX_FILE, hardware_id=hardware_id, version=version, payload=stated("Intel HEX"))
        for hardware_id, version in (("gate", "A"), ("gate", "B"), ("door", "A"))
    ]
    assert {each.sha256 for each in made} == {hashlib.sha256(HEX_FILE).hexdigest()}
    assert len({each.image_id for each in made}) == 3


def test_bytes_that_are_declared_raw_are_taken_whatever_they_look_like() -> None:
    payload = stated("raw binary", len(HEX_FILE), start_address=0x1000)
    assert verify_program(HEX_FILE, hardware_id="gate", version="A", payload=payload).payload is payload


@pytest.mark.parametrize(
    ("data", "version", "payload", "words"),
    [
        (b"", "A", stated("Intel HEX"), "empty"),
        (HEX_FILE, "A\n", stated("Intel HEX"), "printable"),
        (HEX_FILE, "A", stated("S-record"), "stated to be S-record, but its contents are Intel HEX"),
        (bytes(64), "A", stated("Intel HEX"), "stated to be Intel HEX, but its contents are raw binary"),
        (b"%PDF-1.7", "A", stated("Intel HEX"), "a PDF document"),
        (HEX_FILE, "A", stated("Intel HEX", 17), "17 bytes are stated, more than"),
        (bytes(64), "A", stated("raw binary", 63, start_address=0), "63 bytes are stated, but the raw binary has 64"),
        (b"\x7fELF" + bytes(60), "A", stated("ELF", 65), "65 bytes are stated, but the ELF file has only 64"),
    ],
)
def test_a_statement_that_does_not_fit_its_file_is_refused(
    data: bytes, version: str, payload: PayloadCustom, words: str
) -> None:
    with pytest.raises(FirmwareRefused, match=words):
        verify_program(data, hardware_id="gate", version=version, payload=payload)


def test_an_image_signed_by_a_key_of_another_kind_is_refused_by_name(
    images: ImageMaker, keys_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "ecdsa.pem"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    assert "signed by a key of the kind ECDSA, and the fleet's bootloaders verify Ed25519" in refusal(
        images(key=other), keys_dir
    )


def test_a_public_image_key_of_another_kind_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "signing.pub.pem").write_bytes(
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(StartError, match=r"a key of the kind ECDSA \(secp384r1\)"):
        load_image_public_key(tmp_path)
