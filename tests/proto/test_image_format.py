"""Images as imgtool writes them, and cut short at every byte."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from otabench.proto import image_format
from otabench.proto.image_format import ImageFormatError, ImageVersion


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def image_bytes(key: Ed25519PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("image")
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "in.bin").write_bytes(bytes(range(256)) * 8)
    command = [sys.executable, "-m", "imgtool.main", "sign", "-k", "key.pem", "--header-size", "0x200", "--pad-header"]
    command += ["--slot-size", "0x100000", "--align", "8", "--version", "2.0.1+5", "--security-counter", "7"]
    command += ["--vid", image_format.VENDOR, "--cid", "engine-mcu-a", "in.bin", "out.bin"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return (folder / "out.bin").read_bytes()


def test_an_image_by_imgtool_has_the_fields_that_imgtool_was_given(image_bytes: bytes, key: Ed25519PrivateKey) -> None:
    image = image_format.parse(image_bytes)
    assert image.version == ImageVersion(2, 0, 1, 5)
    assert image.security_counter == 7
    assert image.class_id == image_format.class_id_of("engine-mcu-a")
    assert image.total_size == len(image_bytes)
    digest = image_format.digest(image_bytes, image)
    assert image.tlv(image_format.TLV_SHA256) == digest
    key.public_key().verify(image.tlv(image_format.TLV_ED25519) or b"", digest)


def test_bytes_after_the_image_are_ignored(image_bytes: bytes) -> None:
    assert image_format.parse(image_bytes + b"\xff" * 4096).total_size == len(image_bytes)


def test_an_image_cut_short_anywhere_is_refused(image_bytes: bytes) -> None:
    for length in range(len(image_bytes)):
        with pytest.raises(ImageFormatError):
            image_format.parse(image_bytes[:length])


def test_a_wrong_magic_is_named() -> None:
    with pytest.raises(ImageFormatError, match="0xFFFFFFFF"):
        image_format.parse(b"\xff" * 4096)


@pytest.mark.parametrize("text", ["1", "1.2", "1.2.x", "1.2.3.4", "256.0.0", "1.2.3+x", "-1.0.0", ""])
def test_a_malformed_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="version"):
        ImageVersion.parse(text)


def test_versions_are_ordered_by_their_numbers() -> None:
    texts = ["1.0.0", "1.9.0", "1.10.0", "2.0.0", "2.0.0+1"]
    assert sorted(texts, key=ImageVersion.parse) == texts
    assert [str(ImageVersion.parse(text)) for text in texts] == texts
