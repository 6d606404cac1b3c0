"""The navigation of the site: ``adr/*`` in mkdocs.yml stands for all files of that folder, in order. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator
from typing import Any


def expanded(entries: Any, files: Collection[str]) -> Any:
    """Return the navigation with every pattern replaced by the list of the files that match it.

    Args:
        entries: ``nav`` of mkdocs.yml, or a part of it.
        files: paths of all pages, below `docs`.
    """
    if isinstance(entries, str):
        return sorted(fnmatch.filter(files, entries)) if "*" in entries else entries
    if isinstance(entries, dict):
        return {title: expanded(inner, files) for title, inner in entries.items()}
    return [expanded(entry, files) for entry in entries]


def pages_in(entries: Any) -> Iterator[str]:
    """Yield the paths of all pages of a navigation."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from pages_in(entry)
