"""An ECU's application alone, in a process of its own, as the bench never imports the ECU's code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from otabench.proto.periodic import PeriodicFrame
from tests.waiting import PATIENCE_S

_TALK = """
import json, sys
from types import SimpleNamespace
from otabench.ecu_firmware_sim.bus.application import Application
from otabench.proto.periodic import PeriodicFrame
told = json.loads(sys.argv[1])
application = Application(SimpleNamespace(
    name="engine", bus={"interface": "socketcan", "channel": told["channel"]},
    periodic=tuple(PeriodicFrame.model_validate(frame) for frame in told["frames"]),
))
application.talk(True)
print(application.running, flush=True)
sys.stdin.readline()
application.stop()
print(application.running, flush=True)
sys.stdin.readline()
"""


@contextmanager
def talking(frames: Sequence[PeriodicFrame], *, channel: str) -> Iterator[None]:
    """While inside, the frames are sent; afterwards they are stopped, though the process lives on to the end."""
    told = json.dumps({"channel": channel, "frames": [frame.model_dump() for frame in frames]})
    process = subprocess.Popen(
        [sys.executable, "-c", _TALK, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "True\n"
        yield
        process.stdin.write("\n")
        assert process.stdout.readline() == "False\n"
    finally:
        process.stdin.close()
        process.wait(PATIENCE_S)
        process.stdout.close()
