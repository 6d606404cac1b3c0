"""The store of plain images of encrypted campaigns: its own folder, closed to others, apart from what is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.cloud.errors import StartError
from otabench.cloud.store.artifact_store import open_private_store, open_store


def test_its_folder_is_closed_and_not_inside_what_is_served(tmp_path: Path) -> None:
    public = (tmp_path / "public").as_uri()
    open_private_store((tmp_path / "private").as_uri(), public_url=public).put("images/a.bin", b"plain")

    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
    for inside in ("public", "public/x"):
        with pytest.raises(StartError, match="lies inside artifact_store"):
            open_private_store((tmp_path / inside).as_uri(), public_url=public)
    open_private_store((tmp_path / "public-not").as_uri(), public_url=public)


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(StartError, match="mode 0777"):
        open_private_store(folder.as_uri(), public_url=(tmp_path / "public").as_uri())


def test_what_an_earlier_version_left_is_moved_once(tmp_path: Path) -> None:
    public = open_store((tmp_path / "public").as_uri())
    public.put("private/images/1/a.bin", b"plain")
    public.put("images/2/b.bin", b"served")
    private = open_store((tmp_path / "private").as_uri())

    public.move_private(private)
    public.move_private(private)

    assert private.read("images/1/a.bin") == b"plain"
    assert not (tmp_path / "public" / "private").exists()
    assert public.read("images/2/b.bin") == b"served"
