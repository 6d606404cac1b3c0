"""Text that comes from somebody else (a vehicle, a caller, a file), made safe for a terminal or a log.

    print(printable(job.reason))

A control character in such a text could move the cursor, change the window's title or begin a new log line. Here it becomes visible as
its escape. So do the characters that turn the direction of text, and line and paragraph separators.
"""

from __future__ import annotations

from typing import Final

MAX_CHARACTERS: Final = 4000


def printable(text: str, *, max_characters: int = MAX_CHARACTERS) -> str:
    """Return the text in one line, with every unprintable character escaped, and cut if it is very long."""
    if len(text) > max_characters:
        text = f"{text[:max_characters]} …"
    # The common case is a printable text, and it is quick.
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
