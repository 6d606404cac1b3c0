"""What a guest's kernel and its first process wrote, as the user reads it when the guest does not come up.

Pure: text in, text out. A kernel whose first process ends prints a panic with a call trace of thirty lines, behind the one
line that tells why.
"""

from __future__ import annotations

import re

INIT_LINE = "otabench init: "
PANIC = "Kernel panic"
MAX_LINES = 15
NOTHING = "nothing was written"


def lines(text: str) -> list[str]:
    """Return the console's lines up to a panic, without blank ones and without the kernel's level marks."""
    clean = [re.sub(r"^<\d>", "", line).rstrip() for line in text.replace("\r", "").splitlines()]
    written = [line for line in clean if line]
    panics = [number for number, line in enumerate(written) if PANIC in line]
    return written[: panics[0] + 1] if panics else written


def last_words(text: str) -> str:
    """Return the last lines up to a panic."""
    return "\n".join(lines(text)[-MAX_LINES:]) or f"({NOTHING})"


def reason(text: str) -> str:
    """Return the most informative line: init's own, else the last before a panic, else the last."""
    written = lines(text)
    of_init = [line for line in written if line.startswith(INIT_LINE)]
    if of_init:
        return of_init[-1].removeprefix(INIT_LINE)
    before_panic = [line for line in written if PANIC not in line]
    return (before_panic or written or [NOTHING])[-1]
