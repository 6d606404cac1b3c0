"""Firmware images: MCUboot's format, the same bytes on every machine, and deltas as large as real ones."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import bsdiff4
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from otabench.bench.errors import FirmwareError, WrongUsage
from otabench.bench.firmware import images, synthetic
from otabench.bench.firmware.images import ImageDetails
from otabench.bench.topology import bench_file
from otabench.proto import image_format
from otabench.proto.image_format import Dependency, ImageVersion

BENCH = bench_file.load()
SIZE = 64 * 1024
V1, V2 = ImageVersion(1, 0, 0), ImageVersion(2, 0, 0)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "image").mkdir()
    key = Ed25519PrivateKey.generate()
    (folder / "image" / "signing.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


def test_contents_are_the_same_on_every_run() -> None:
    code = (
        "import hashlib; from otabench.bench.firmware import synthetic as s; from otabench.proto.image_format import ImageVersion as V;"
        "print(hashlib.sha256(s.build('engine', size_bytes=16384, version=V(2, 1, 3))).hexdigest())"
    )
    digests = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert len(digests) == 1


def test_the_size_is_exact_and_another_name_is_another_program() -> None:
    first = synthetic.build("engine", size_bytes=SIZE, version=V1)
    other = synthetic.build("adas", size_bytes=SIZE, version=V1)
    assert len(first) == len(other) == SIZE
    assert len(bsdiff4.diff(first, other)) > SIZE * 0.4


@pytest.mark.parametrize(("name", "size"), [("engine-mcu-a", 262_144), ("adas-soc-b", 524_288)])
def test_a_major_release_s_delta_is_a_realistic_share_of_the_image(name: str, size: int) -> None:
    before = synthetic.build(name, size_bytes=size, version=V1)
    after = synthetic.build(name, size_bytes=size, version=V2)
    assert 0.03 < len(bsdiff4.diff(before, after)) / size < 0.15


def test_smaller_releases_have_smaller_deltas() -> None:
    before = synthetic.build("engine", size_bytes=262_144, version=V1)
    shares = [
        len(bsdiff4.diff(before, synthetic.build("engine", size_bytes=262_144, version=version)))
        for version in (ImageVersion(1, 0, 1), ImageVersion(1, 1, 0), V2)
    ]
    assert shares == sorted(shares)


def test_contents_compress_as_code_does() -> None:
    body = synthetic.build("engine", size_bytes=262_144, version=V1)
    assert 0.45 < len(zlib.compress(body, 9)) / len(body) < 0.75


def test_everything_behind_a_change_shifts() -> None:
    before = synthetic.build("engine", size_bytes=SIZE, version=V1)
    after = synthetic.build("engine", size_bytes=SIZE, version=V2)
    middle = SIZE // 4
    same = sum(a == b for a, b in zip(before[middle : middle * 2], after[middle : middle * 2], strict=True))
    assert same < middle / 2


def test_an_image_is_what_mcuboot_expects(keys: Path, tmp_path: Path) -> None:
    made = images.build(BENCH, keys_dir=keys, out_dir=tmp_path, versions=("2.0.0",), size_bytes=8192)
    image, data = images.read(made["engine"]["2.0.0"].path)
    assert (image.version, image.security_counter, image.binary_size) == (V2, 2, 8192)
    assert image.class_id == image_format.class_id_of("engine-mcu-a")
    assert image.tlv(image_format.TLV_SHA256) == image_format.digest(data, image)
    signature = image.tlv(image_format.TLV_ED25519)
    assert signature is not None
    key = serialization.load_pem_private_key((keys / "image" / "signing.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    key.public_key().verify(signature, image_format.digest(data, image))


def test_a_user_s_binary_is_packed_unchanged(keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = bytes(range(256)) * 5 + b"odd"
    made = images.pack(
        body,
        ImageDetails("adas", "adas-soc-b", "3.1.4+7", security_counter=9),
        keys_dir=keys,
        out=tmp_path / "x.bin",
    )
    image, data = images.read(made.path)
    assert data[image.header_size : image.header_size + len(body)] == body
    assert (str(image.version), image.security_counter) == ("3.1.4+7", 9)
    assert capsys.readouterr().out == ""
    described = images.describe(made.path, BENCH)
    assert "adas-soc-b" in described["class id"]
    assert "correct" in described["sha-256"]


def test_a_dependency_is_given_by_ecu_and_written_by_image_number(keys: Path, tmp_path: Path) -> None:
    made = images.build(
        BENCH,
        keys_dir=keys,
        out_dir=tmp_path,
        ecus=("engine",),
        versions=("2.0.0",),
        size_bytes=8192,
        requires=("adas>=2.0.0+7", " engine >= 1.5.0 "),
    )
    path = made["engine"]["2.0.0"].path
    image, _ = images.read(path)
    needed = Dependency(2, ImageVersion(2, 0, 0, 7)), Dependency(0, ImageVersion(1, 5, 0))
    assert image.dependencies == needed
    assert images.describe(path, BENCH)["requires"] == "adas >= 2.0.0+7 (image 2), itself >= 1.5.0 (image 0)"


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (["door>=1.0.0"], r"there is no ECU 'door' in the bench file; known: engine, adas"),
        (["adas=1.0.0"], r"expected ECU>=VERSION, such as adas>=2\.0\.0"),
        (["adas>=1.0"], "expected MAJOR.MINOR.REVISION"),
        (["adas>=1.0.0"] * 33, "33 dependencies are more than the 32"),
    ],
)
def test_a_wrong_dependency_is_refused_with_the_reason(requires: list[str], expected: str) -> None:
    with pytest.raises(WrongUsage, match=expected):
        images.parse_requirements(requires, ecu="engine", topology=BENCH)


@pytest.mark.parametrize(
    ("body", "version", "expected"),
    [
        (b"", "1.0.0", "the binary is empty"),
        (b"x", "1.0", "expected MAJOR.MINOR.REVISION"),
        (b"x", "300.0.0", "a number is too large"),
        (
            bytes(0x100000),
            "1.0.0",
            r"1,049,284 bytes with .* a slot of 1,048,576 bytes takes 1,045,456 .* at least 3,828 bytes smaller",
        ),
    ],
)
def test_a_binary_that_cannot_be_packed_is_refused_with_the_reason(
    keys: Path, tmp_path: Path, body: bytes, version: str, expected: str
) -> None:
    with pytest.raises((FirmwareError, WrongUsage), match=expected):
        images.pack(body, ImageDetails("engine", "engine-mcu-a", version), keys_dir=keys, out=tmp_path / "x.bin")


def test_without_a_signing_key_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="otabench keys init"):
        images.pack(b"x", ImageDetails("e", "h", "1.0.0"), keys_dir=tmp_path, out=tmp_path / "x.bin")


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(bytes(100))
    with pytest.raises(FirmwareError, match=r"raw\.bin: header magic .*`otabench firmware pack`"):
        images.read(tmp_path / "raw.bin")


def write_key(folder: Path, key: PrivateKeyTypes) -> None:
    (folder / "image").mkdir()
    (folder / "image" / "signing.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP256R1()), r"ECDSA \(secp256r1\)"),
        (X25519PrivateKey.generate(), "X25519"),
        (Ed448PrivateKey.generate(), "Ed448"),
    ],
)
def test_a_key_of_another_kind_than_the_bootloader_s_is_refused_by_name(
    tmp_path: Path, key: PrivateKeyTypes, kind: str
) -> None:
    write_key(tmp_path, key)
    with pytest.raises(FirmwareError, match=f"a key of the kind {kind}, and the ECUs' bootloaders verify Ed25519"):
        images.pack(bytes(64), ImageDetails("engine", "engine-mcu-a", "2.0.0"), keys_dir=tmp_path, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_what_is_no_key_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "signing.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(FirmwareError, match="not a usable signing key"):
        images.pack(bytes(64), ImageDetails("engine", "engine-mcu-a", "2.0.0"), keys_dir=tmp_path, out=tmp_path / "o")
