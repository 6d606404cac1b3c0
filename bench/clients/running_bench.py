"""Find the bench that runs in a folder, and make clients for it.

    bench = find(Path("runs/latest"))
    print(bench.vin, bench.hmi.url)

The facts come from the bench's bench.json (docs/contracts.md, "A run's folder").
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otabench.bench.clients.hmi import HmiClient
from otabench.bench.clients.sent_images import SentImages
from otabench.bench.errors import NoRunningBench, UnknownName
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.setup_programs import command_of
from otabench.proto.process_config import TlsConfig

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient


@dataclass(frozen=True)
class RunningBench:
    """A bench that runs in another process."""

    folder: Path
    content: dict[str, Any]

    @property
    def vin(self) -> str:
        return str(self.content["vin"])

    @property
    def hmi(self) -> HmiClient:
        return HmiClient(int(self.content["hmi_port"]))

    def operator(self) -> OperatorClient:
        """Return a connection to the cloud. The caller closes it."""
        from otabench.bench.clients.operator import OperatorClient

        cloud = self.content["cloud"]
        return OperatorClient(str(cloud["grpc"]), TlsConfig.model_validate(cloud["operator_tls"]))

    def ecu(self, name: str) -> ControlPort:
        """Return a simulated ECU's control port.

        Raises:
            UnknownName: the bench does not have a simulated ECU of that name.
        """
        ports = self.content["control_ports"]
        if name not in ports:
            raise UnknownName("simulated ECU", name, ports, where="in this bench")
        return ControlPort(name, int(ports[name]))

    @property
    def sent_images(self) -> SentImages:
        """The images that campaigns of this run have sent."""
        return SentImages(self.folder / "firmware")

    def running_image(self, ecu: str, *, hardware_id: str) -> bytes:
        """Return the image that an ECU runs, the base of a patch; empty if it is not known here (the cloud may hold it).

        Raises:
            EndpointError: the ECU's process does not answer.
        """
        if ecu not in self.content["control_ports"]:
            return b""
        state = self.ecu(ecu).state()
        made = {version: Path(path) for version, path in self.content["firmware"].get(ecu, {}).items()}
        return self.sent_images.running(state, hardware_id=hardware_id, made=made)


def find(run_dir: Path) -> RunningBench:
    """Return the bench that runs in that folder.

    Raises:
        NoRunningBench: no bench runs in that folder.
    """
    path = run_dir / "bench.json"
    hint = f"start one by `make up` (or `otabench up`); where it runs in a guest kernel, put `{command_of('with-can')} --join` in front"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoRunningBench(f"{path}: no bench was brought up there; {hint}") from error
    if not _is_alive(int(content["pid"])):
        raise NoRunningBench(f"{path}: that bench does not run here, or has ended; {hint}")
    return RunningBench(run_dir.resolve(), content)


def published_keys(run_dir: Path) -> tuple[Path, Path | None] | None:
    """Return the key folder of the bench that is up in that folder, and its bench file (None: the built-in one).

    The bench may run in another kernel (a guest), so its process is not looked for: keys that a bench made for itself are there as
    long as it is up. None: there is no such bench, or its keys are gone.
    """
    try:
        content = json.loads((run_dir / "bench.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or "keys" not in content or not Path(content["keys"]).is_dir():
        return None
    bench_file = content.get("bench_file")
    return Path(content["keys"]), Path(bench_file) if bench_file else None


def _is_alive(pid: int) -> bool:
    """Return whether the process exists. A number may be reused, so also check that it is a Python process."""
    try:
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except PermissionError:
        return True
    except OSError:
        return False
    return b"python" in command or b"otabench" in command
