"""What a package index shows of otabench."""

from __future__ import annotations

import email
import re
import zipfile
from email.message import Message
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


def test_the_description_has_only_links_that_an_index_can_follow(metadata: Message) -> None:
    text = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert text.startswith("# otabench") and "## Read on" in text
    assert [
        target for target in re.findall(r"\]\(([^)]*)\)", text) if not target.startswith(("https://", "http://", "#"))
    ] == []


def test_the_metadata_names_authors_licence_and_each_python(metadata: Message) -> None:
    assert (
        metadata["Author"] == "otabench developers" and metadata["License-Expression"] == "Apache-2.0 AND GPL-2.0-only"
    )
    classifiers = metadata.get_all("Classifier", [])
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)} <= set(classifiers)
    assert metadata["Requires-Python"] == ">=3.11"
    assert "docs" in metadata.get_all("Provides-Extra", [])
