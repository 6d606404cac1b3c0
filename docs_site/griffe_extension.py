"""What griffe, which reads the code for mkdocstrings, calls for every object (`extensions` in mkdocs.yml)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # griffe runs this file by its path

from docs_site.docstrings import split_names


class OneNameALine(griffe.Extension):
    """Applies ``split_names`` to every docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change an object's docstring, before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = split_names(obj.docstring.value)
