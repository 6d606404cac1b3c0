"""What a test leaves when it failed: frames, the trace, logs and trouble codes, each since the test began.

One run has one trace and one log for each process, which go on through all tests. A test's part is what was appended since its
beginning. Only whole lines are taken; files to which nothing was written are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from otabench.bench.pytest_plugin.can_log import CanLog

_TRACE: Final = "trace.jsonl"
_TROUBLE_CODES: Final = "trouble-codes.txt"

TroubleCodes = Mapping[str, Sequence[str]]
"""By ECU: one text for each code, or one with the reason why they were not read."""


@dataclass(frozen=True)
class AppendedLines:
    """The lines that were appended to a file since this object was made."""

    path: Path
    offset: int

    @classmethod
    def since_now(cls, path: Path) -> AppendedLines:
        return cls(path, path.stat().st_size if path.exists() else 0)

    def read(self) -> bytes:
        """Return them; empty if there are none, or no such file."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return b""
        return data[: data.rfind(b"\n") + 1]


@dataclass(frozen=True)
class Evidence:
    """The evidence of one test, from its beginning on.

    Args:
        folder: where it is written.
        can_log: the frames.
        trace: the run's trace.
        logs: by the name of the file that they are written to.
    """

    folder: Path
    can_log: CanLog
    trace: AppendedLines
    logs: Mapping[str, AppendedLines] = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: Path, *, can_log: CanLog, trace: Path, logs: Sequence[Path]) -> Evidence:
        """Begin with what is written from now on."""
        return cls(
            folder,
            can_log=can_log,
            trace=AppendedLines.since_now(trace),
            logs={path.name: AppendedLines.since_now(path) for path in logs},
        )

    def write(self, trouble_codes: TroubleCodes) -> list[Path]:
        """Write everything into the folder; return the files.

        Raises:
            OSError: the folder cannot be written.
        """
        written = self.can_log.write()  # first: it waits for the recorder, and logs may still grow meanwhile
        parts = {_TRACE: self.trace.read()} | {name: lines.read() for name, lines in self.logs.items()}
        if trouble_codes:
            parts[_TROUBLE_CODES] = _as_text(trouble_codes).encode()
        for name, content in parts.items():
            if content:
                (self.folder / name).write_bytes(content)
                written.append(self.folder / name)
        return written


def _as_text(trouble_codes: TroubleCodes) -> str:
    lines = [f"{ecu}: {text}" for ecu, texts in trouble_codes.items() for text in (texts or ["none"])]
    return "".join(f"{line}\n" for line in lines)
