"""The command line ``otabench``: its entry point.

Rules:

* Our errors leave the program as lines on stderr with the error's exit status, Ctrl-C as 130. No error leaves it as a traceback:
  ``unforeseen`` turns what nothing else handled into one line and a log file.
* Arguments are UTF-8. They end up in JSON, in metadata and in file names that are printed; a byte that is not text would fail there.
* Everything else is imported once a command needs it, so that ``otabench --help`` is quick.
"""

from __future__ import annotations

import atexit
import gc
import io
import sys
from collections.abc import Sequence
from typing import Final

INTERRUPTED = 130
_OBJECTS_BEFORE_COLLECTION: Final = 100_000
"""New objects until the garbage collector looks for some that are not used. Python's 700 suit long-lived servers: it would look a
thousand times while modules are imported, which leaves nothing to find."""
_MAX_LINE = 2000
"""Characters of a line of an error. A file or an argument that is quoted may be as long as it likes."""


def main() -> None:
    """Entry point of ``otabench``."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    atexit.register(gc.freeze)  # the last collection, at exit, would go through everything that was imported
    from otabench.bench.errors import BenchError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal's encoding may not have every character
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["with-can"]:  # its options and its `--` are its own, and those of the command that it runs
            from otabench.bench.cli import with_can

            with_can.become(arguments[1:])
        _require_text(arguments)
        from otabench.bench.cli.app import app

        app(prog_name="otabench")
    except BenchError as error:
        for line in str(error).splitlines():
            _print_error(line)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        _print_error("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # `otabench trace | head`
        sys.stderr.close()
        raise SystemExit(0) from None
    except Exception as error:  # noqa: BLE001 - reported with a log file
        from otabench.bench.cli import unforeseen

        _print_error(unforeseen.report(error, arguments))
        raise SystemExit(unforeseen.EXIT_STATUS) from None


def _require_text(arguments: Sequence[str]) -> None:
    from otabench.bench.errors import WrongUsage

    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise WrongUsage(
                f"argument {argument!a} is not UTF-8; rename the file, or write the text in UTF-8"
            ) from error


def _print_error(line: str) -> None:
    print(f"otabench: {line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + '…'}", file=sys.stderr)
