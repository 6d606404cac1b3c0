"""Files that only their owner may read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from otabench.proto import private_files
from otabench.proto.private_files import PrivateFileError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_written_file_is_its_owners_only_also_where_a_wider_one_was(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    private_files.write(path, "new\n")
    assert (mode_of(path), private_files.read(path)) == (0o600, "new\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o666, 0o644, 0o640, 0o620, 0o601])
def test_a_secret_that_others_may_use_is_refused_by_name(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(mode)
    for check in (private_files.read, private_files.require_private):
        with pytest.raises(PrivateFileError, match=rf"mode {mode:04o}\); `chmod 600 .*secret`"):
            check(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        private_files.write(path, "")
        path.write_bytes(content)
    with pytest.raises(PrivateFileError, match=r"secret: cannot be read: (No such file|not text)"):
        private_files.read(path)


def test_a_folder_is_closed_to_others_and_refused_where_they_could_write(tmp_path: Path) -> None:
    private_files.make_folder(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a" / "b") == 0o700
    readable = tmp_path / "readable"
    readable.mkdir()
    readable.chmod(0o755)
    private_files.make_folder(readable)
    assert mode_of(readable) == 0o700
    writable = tmp_path / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    with pytest.raises(PrivateFileError, match="others may write"):
        private_files.make_folder(writable)
