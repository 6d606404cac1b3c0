"""A power supply with a command: ``python -m tests.boards.switch PORT on|off|cycle`` switches the simulator behind that control port.

What a relay board's own program is to a real board: the bench knows it by its command line and exit status only.
"""

from __future__ import annotations

import sys

from otabench.bench.errors import EndpointError
from otabench.bench.faults.control_port import ControlPort


def main(arguments: list[str]) -> int:
    """Entry point. Exit status 1 where nobody answers, 2 for a wrong call."""
    if len(arguments) != 2 or not arguments[0].isdigit() or arguments[1] not in ("on", "off", "cycle"):
        print("switch: usage: python -m tests.boards.switch PORT on|off|cycle", file=sys.stderr)
        return 2
    try:
        ControlPort("board", int(arguments[0])).power(arguments[1])
    except EndpointError as error:
        print(f"switch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
