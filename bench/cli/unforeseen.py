"""The last handler of every command: an error that no code foresaw becomes one line for the user and a log file for us.

Every such line is a fault of the bench. The log file has what a bug report needs: the command, the versions and the traceback.
"""

from __future__ import annotations

import os
import platform
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

EXIT_STATUS: Final = 70
"""EX_SOFTWARE of sysexits.h: scripts can tell it from the statuses of a bench that ran."""
_MAX_WORDS: Final = 300
"""Characters of an error's own text. It may quote a whole file."""


def describe(error: BaseException) -> str:
    """Return what happened and where in the source, in one line."""
    own = " ".join(str(error).split()) or "no further text"
    if len(own) > _MAX_WORDS:
        own = own[:_MAX_WORDS] + "…"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"internal error: {type(error).__name__}: {own}{place}"


def write_log(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write the traceback to a new file of the user's own; None if there is no place for it."""
    try:
        installed = version("otabench")
    except PackageNotFoundError:  # run from a checkout that was never installed
        installed = "not installed"
    lines = [
        f"otabench {installed}, Python {platform.python_version()}, {platform.platform()}",
        f"in {os.fsencode(os.environ.get('PWD', '?'))!r}: otabench {shlex.join(arguments)}",
        "",
        *traceback.format_exception(error),
    ]
    try:
        # mkstemp: readable by the user only, because a command or an error may quote what is secret.
        handle, name = tempfile.mkstemp(prefix="otabench-error-", suffix=".log")
        os.close(handle)
        Path(name).write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return None
    return Path(name)


def report(error: BaseException, arguments: Sequence[str]) -> str:
    """Return the line for the user, once the log file is written."""
    log = write_log(error, arguments)
    where = f"the details are in {log}" if log is not None else "there was no place for a file with the details"
    return f"{describe(error)}; {where}: please report it"
