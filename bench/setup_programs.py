"""The programs of ``setup/``, which make a machine ready: where they are, and how a message names them.

In a checkout they are called by their paths. An installed otabench has them in its package, and the one that is used again and again
is a command: ``otabench with-can``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "setup"
"""In a checkout a link to the folder ``setup`` beside the package."""


def command_of(name: str) -> str:
    """Return how a program is called from the checkout's folder, or from anywhere if otabench is installed from its wheel.

    Args:
        name: its file in ``setup/``, such as ``vcan.sh``.
    """
    if _is_checkout():
        return f"setup/{name}"
    return "otabench with-can" if name == "with-can" else str(FOLDER / name)


@cache
def _is_checkout() -> bool:
    return FOLDER.is_symlink()
