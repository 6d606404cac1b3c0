"""Keys that a passphrase protects: what opens them, and what is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from otabench.proto.sealed_files import (
    PASSPHRASE_FILE,
    Cost,
    SealedFileError,
    Vault,
    WrongPassphrase,
    is_sealed_folder,
    read_key,
    read_passphrase,
)

CHEAP = Cost(opslimit=1, memlimit=8192)
PEM = b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.create(tmp_path, "words", cost=CHEAP)


def write(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def test_the_passphrase_opens_what_it_sealed(tmp_path: Path, vault: Vault) -> None:
    path = write(tmp_path / "a.pem", vault.seal(PEM))
    assert PEM not in path.read_bytes()
    assert vault.seal(PEM) != vault.seal(PEM), "each time with another nonce"
    assert read_key(path, Vault.open(tmp_path, "words")) == PEM
    with pytest.raises(WrongPassphrase, match="this is not the passphrase of"):
        Vault.open(tmp_path, "word")
    with pytest.raises(SealedFileError, match="is sealed with a passphrase, which this command was not given"):
        read_key(path, None)


def test_a_key_that_is_not_sealed_stays_usable(tmp_path: Path, vault: Vault) -> None:
    path = write(tmp_path / "a.pem", PEM)
    assert read_key(path, None) == read_key(path, vault) == PEM
    assert is_sealed_folder(tmp_path) and not is_sealed_folder(tmp_path / "elsewhere")


def test_the_cost_of_a_guess_is_stored(tmp_path: Path, vault: Vault) -> None:
    stored = json.loads((tmp_path / PASSPHRASE_FILE).read_bytes())
    assert (stored["opslimit"], stored["memlimit"]) == (1, 8192)
    assert Cost().memlimit >= 256 * 1024**2, "by default a guess costs memory"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda sealed: sealed[:-20],
    "no base64": lambda sealed: sealed[:30] + b"\xff\xff",
    "changed": lambda sealed: sealed[:40] + (b"A" if sealed[40:41] != b"A" else b"B") + sealed[41:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, vault: Vault, damage: str) -> None:
    path = tmp_path / "a.pem"
    with pytest.raises(SealedFileError, match="is damaged, or was sealed with another passphrase") as refused:
        vault.unseal(DAMAGES[damage](vault.seal(PEM)), path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"salt": "", "opslimit": 1, "memlimit": 8192, "check": ""}']
)
def test_a_damaged_passphrase_file_is_refused(tmp_path: Path, vault: Vault, content: bytes) -> None:
    (tmp_path / PASSPHRASE_FILE).write_bytes(content)
    with pytest.raises(SealedFileError, match="is damaged; bring back a copy"):
        Vault.open(tmp_path, "words")


@pytest.mark.parametrize(("content", "words"), [(b"\nwords", "first line is empty"), (b"\xff\n", "not text")])
def test_a_passphrase_is_the_first_line(tmp_path: Path, content: bytes, words: str) -> None:
    assert read_passphrase(write(tmp_path / "good", b"my words \r\nmore")) == "my words "
    with pytest.raises(SealedFileError, match=words):
        read_passphrase(write(tmp_path / "bad", content))
    with pytest.raises(SealedFileError, match="cannot be read"):
        read_passphrase(tmp_path / "nothing")
