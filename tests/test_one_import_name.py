"""Everything is imported as ``otabench.…``, and by no second name: a second copy of a class is another class."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_layering import PACKAGES, ROOT


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_refused_by_its_folders_name(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == f"ImportError: import otabench.{package}, not {package}"


def test_every_folder_of_the_checkout_is_reached_by_a_relative_link() -> None:
    links = {path.name: path.readlink() for path in (ROOT / "otabench").iterdir() if path.is_symlink()}
    assert {name: str(link) for name, link in links.items()} == {name: f"../{name}" for name in (*PACKAGES, "setup")}
