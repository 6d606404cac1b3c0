"""The one part of the package's metadata that pyproject.toml cannot say: README.md for a package index.

An index shows the page far from the other files of the repository, so links and pictures that lead there would be dead. Links become
their text. Everything else is in pyproject.toml.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).with_name("README.md")
PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n+", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|#)[^)]*\)")


def for_an_index(markdown: str) -> str:
    """Return the page without pictures and links that lead to files of the repository."""
    return LINK.sub(r"\1", PICTURE.sub("", markdown))


setup(
    long_description=for_an_index(README.read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
