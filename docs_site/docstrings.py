"""Docstrings as mkdocstrings needs them: in this code base one line may describe several parameters or attributes.

    setup, options: what this run was made from

Google's style has one name a line, and griffe would take "setup," for a name. ``split_names`` writes the line once for each name.
"""

from __future__ import annotations

import re
from typing import Final

_SECTION: Final = re.compile(r"^(\s*)(Args|Attributes):\s*$")
_NAMES: Final = re.compile(r"^(\s+)(\*{0,2}\w+(?:, \*{0,2}\w+)+): (.*)$")


def split_names(docstring: str) -> str:
    """Return a docstring whose sections of parameters and attributes have one name a line. Pure."""
    out: list[str] = []
    lines = docstring.split("\n")
    depth: int | None = None
    while lines:
        line = lines.pop(0)
        section = _SECTION.match(line)
        if section:
            depth = len(section[1])
        elif line.strip() and depth is not None and len(line) - len(line.lstrip()) <= depth:
            depth = None
        names = _NAMES.match(line) if depth is not None else None
        if names is None:
            out.append(line)
            continue
        indent = len(names[1])
        continued = []
        while lines and lines[0].strip() and len(lines[0]) - len(lines[0].lstrip()) > indent:
            continued.append(lines.pop(0))
        for name in names[2].split(", "):
            out += [f"{names[1]}{name}: {names[3]}", *continued]
    return "\n".join(out)
