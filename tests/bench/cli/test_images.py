"""``otabench firmware …``: whose keys sign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from typer.testing import CliRunner, Result

from otabench.bench.cli.app import app
from otabench.bench.errors import NoRunningBench, WrongUsage
from otabench.bench.topology import bench_file
from otabench.proto import image_format

WITH_KEYS = "signed with the folder keys, as no bench is up in runs/latest; --keys DIR signs with others\n"


def make_keys(folder: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    (folder / "image").mkdir(parents=True)
    (folder / "image" / "signing.pem").write_bytes(pem(key))
    return key


def pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signature(image: Path) -> bytes:
    """Return an image's signature: one key signs one content always alike."""
    found = image_format.parse(image.read_bytes()).tlv(image_format.TLV_ED25519)
    assert found is not None
    return found


def pack(*options: str) -> str:
    done = CliRunner().invoke(app, ["firmware", "pack", "own.bin", "--version", "2.0.0", *options])
    assert done.exit_code == 0, done.output
    return done.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a binary, keys in ``keys``, and a bench that is up in ``runs/latest`` with its own keys and bench file."""
    monkeypatch.chdir(tmp_path)
    Path("own.bin").write_bytes(bytes(1024))
    make_keys(Path("keys"))
    run = Path("runs") / "latest"
    make_keys(run / "keys")
    Path("own.yaml").write_text(bench_file.default_text().replace("engine-mcu-a", "engine-of-mine"))
    content = {"keys": str((run / "keys").resolve()), "bench_file": str(Path("own.yaml").resolve())}
    (run / "bench.json").write_text(json.dumps(content))
    return tmp_path


def test_the_running_bench_s_keys_sign_and_its_bench_file_counts(folder: Path) -> None:
    printed = pack("--ecu", "engine")
    assert "signed with the keys of the bench in runs/latest" in printed
    pack("--ecu", "engine", "--bench", "own.yaml", "--keys", "runs/latest/keys", "--out", "same.bin")
    pack("--ecu", "engine", "--bench", "own.yaml", "--keys", "keys", "--out", "other.bin")
    mine = Path("engine-of-mine-2.0.0.bin")
    assert signature(mine) == signature(Path("same.bin")) != signature(Path("other.bin"))


def test_without_a_bench_that_is_up_the_folder_keys_signs(folder: Path) -> None:
    (folder / "runs/latest/keys").rename(folder / "gone")
    assert pack("--ecu", "engine") == WITH_KEYS
    pack("--ecu", "engine", "--keys", "keys", "--out", "same.bin")
    assert signature(Path("engine-mcu-a-2.0.0.bin")) == signature(Path("same.bin"))


def test_without_a_bench_and_without_keys_both_are_named(folder: Path) -> None:
    (folder / "runs").rename(folder / "gone")
    (folder / "keys").rename(folder / "gone-too")
    refused = CliRunner().invoke(app, ["firmware", "pack", "own.bin", "--version", "2.0.0", "--ecu", "engine"])
    assert isinstance(refused.exception, NoRunningBench)
    assert "no bench is up in runs/latest, and there is no folder keys; start a bench" in str(refused.exception)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"keys": "/nowhere"}'])
def test_a_bench_json_that_tells_nothing_is_passed_over(folder: Path, content: str) -> None:
    (folder / "runs/latest/bench.json").write_text(content)
    assert pack("--ecu", "engine") == WITH_KEYS


@pytest.fixture
def programs(folder: Path) -> Path:
    """The folder, with a bench file whose adas takes program files, and a program file."""
    before, adas, after = bench_file.default_text().partition("hardware_id: adas-soc-b")
    Path("programs.yaml").write_text(before + adas + after.replace("iso14229-ab", "single-bank", 1))
    Path("app.hex").write_text(":0400000001020304F2\n:00000001FF\n")
    return folder


def firmware(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["firmware", *arguments, "--bench", "programs.yaml"])


def test_a_program_file_is_packed_without_keys_and_info_shows_what_was_stated(programs: Path) -> None:
    (programs / "keys").rename(programs / "gone")
    packed = firmware("pack", "app.hex", "--ecu", "adas", "--version", "2.0.0")
    assert packed.exit_code == 0, packed.output
    assert "app.hex: Intel HEX, 0x00000000 (4 bytes)" in packed.stdout
    shown = json.loads(firmware("info", "adas-soc-b-2.0.0.hex", "--json").stdout)
    assert (shown["format"], shown["version"], shown["hardware"]) == ("Intel HEX", "2.0.0", "adas-soc-b")


@pytest.mark.parametrize(
    ("ecu", "more", "words"),
    [
        ("adas", ["--requires", "engine>=1.0.0"], "--requires: adas takes program files, which do not have it"),
        ("adas", ["--security-counter", "3"], "--security-counter: adas takes program files"),
        ("adas", ["--address", "here"], "--address 'here': expected a number such as 0x08000000"),
        ("adas", ["--version", "V2"], "expected MAJOR.MINOR.REVISION"),
        ("engine", ["--address", "0x100"], "--address: engine takes MCUboot images, which have a slot"),
        ("engine", ["--version", "0.0.0"], "it stands for an ECU that runs nothing"),
    ],
)
def test_an_option_that_an_ecu_s_kind_of_file_does_not_have_is_refused(
    programs: Path, ecu: str, more: list[str], words: str
) -> None:
    refused = firmware("pack", "app.hex", "--ecu", ecu, "--version", "2.0.0", *more)
    assert isinstance(refused.exception, WrongUsage)
    assert words in str(refused.exception)
    assert list(programs.glob("*2.0.0*")) == []
