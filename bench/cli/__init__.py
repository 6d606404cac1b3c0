"""The command line ``otabench``: its entry point.

Our errors leave the program as lines on stderr with the error's exit status, Ctrl-C as 130, never as a traceback. Everything else is
imported once a command needs it, so that ``otabench --help`` is quick.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Entry point of ``otabench``."""
    from otabench.bench.cli.app import app
    from otabench.bench.errors import BenchError

    try:
        app(prog_name="otabench")
    except BenchError as error:
        for line in str(error).splitlines():
            print(f"otabench: {line}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        print("otabench: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # `otabench trace | head`
        sys.stderr.close()
        raise SystemExit(0) from None
