"""The trace: ``traces/simulation_trace.jsonl``, one event per line, appended by every process of the bench.

    writer = TraceWriter(path, component="gateway", vin="W0L…")
    writer.emit("uds.exchange", job_id=job_id, ecu="engine", request="1003", took_ms=2.1)

    failed = [event for event in read(path) if event.event == "job.state" and event.data["to"] == "FAILED"]

* A line has the keys ``v, seq, ts, mono_ns, component, event, vin, job_id, ecu, data``; docs/contracts.md describes them and the events.
* A line is one ``write`` to a descriptor opened with O_APPEND, so that lines of several processes never mix.
* ``seq`` counts from 1 for each writer. A gap means a lost line.
* ``mono_ns`` is CLOCK_MONOTONIC, which all processes of a machine share. Use it to order events of several components, because ``ts``, the
  wall clock, may jump.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

VERSION: Final = 1


@dataclass(frozen=True)
class TraceEvent:
    """One line of the trace, as ``read`` returns it."""

    v: int
    seq: int
    ts: str
    mono_ns: int
    component: str
    event: str
    vin: str | None = None
    job_id: str | None = None
    ecu: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class TraceWriter:
    """A writer for the events of one component. Threads may share it. An event costs one system call.

    Args:
        path: the trace file, created together with its folder. None: write nothing, for tools without a run.
        component: "gateway", "cloud.control", "ecu.engine", …
        vin: the vehicle of every line, if this writer belongs to one.
    """

    def __init__(self, path: Path | None, *, component: str, vin: str | None = None) -> None:
        self.component = component
        self.vin = vin
        self._lock = threading.Lock()
        self._seq = 0
        self._fd: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # With O_APPEND the kernel moves to the end of the file and writes in one step, even if other processes write, too.
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def emit(
        self, event: str, *, job_id: str | None = None, ecu: str | None = None, vin: str | None = None, **data: Any
    ) -> None:
        """Append one event. In ``data``, bytes are written as hex, and objects that JSON does not support as text.

        Raises:
            OSError: the file cannot be written (disk full).
        """
        # The lock covers number and write, so that lines are in the order of their numbers.
        with self._lock:
            if self._fd is None:
                return
            self._seq += 1
            line = {
                "v": VERSION,
                "seq": self._seq,
                "ts": datetime.now(UTC).isoformat(timespec="microseconds"),
                # Taken inside the lock, so that numbers and times have the same order.
                "mono_ns": time.monotonic_ns(),
                "component": self.component,
                "event": event,
                "vin": vin or self.vin,
                "job_id": job_id,
                "ecu": ecu,
                "data": data,
            }
            os.write(self._fd, (json.dumps(line, default=_as_json, separators=(",", ":")) + "\n").encode())

    def close(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def _as_json(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)


def read(path: Path) -> Iterator[TraceEvent]:
    """Return the events of a trace file, in the order of the file. An incomplete last line is left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: a whole line is not a trace event; the message states the line's number.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                # The last line is incomplete: its writer was killed, or is writing right now.
                return
            try:
                yield TraceEvent(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: not a trace event: {error}") from error
