"""Find the bench that is up, and make clients for it.

    bench = find(Path("runs/latest"))
    print(bench.vin, bench.hmi.url)

Rules:

* Whether a bench is up, and on which kernel, is read from its mark (``bench.run_mark``). A process number proves nothing: guests give
  the same numbers to other programs.
* ``runs/latest`` means the bench that is up. It leads to the newest run, which may have ended while an older one is still up; then the
  older one is taken, and the caller's ``say`` receives a line about it. A run that is named itself is never exchanged for another.
* The facts come from the bench's bench.json (docs/contracts.md, "A run's folder").
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otabench.bench import run_folder, run_mark
from otabench.bench.ancestors import ancestors
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.clients.sent_images import SentImages
from otabench.bench.errors import NoRunningBench, UnknownName
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.run_mark import Whereabouts
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
        return HmiClient(int(self.content["hmi_port"]), code=str(self.content["hmi_pairing_code"]))

    def operator(self) -> OperatorClient:
        """Return a connection to the cloud. The caller closes it."""
        from otabench.bench.clients.operator import OperatorClient

        cloud = self.content["cloud"]
        return OperatorClient(str(cloud["grpc"]), TlsConfig.model_validate(cloud["operator_tls"]))

    def approver(self) -> OperatorClient:
        """Return a connection to the cloud with an approver's certificate. The caller closes it.

        Raises:
            EndpointError: the key folder has none: it was made before there were any.
        """
        from otabench.bench.clients.operator import OperatorClient

        folder = Path(self.content["keys"]) / "tls"
        tls = TlsConfig(ca=folder / "ca.pem", certificate=folder / "approver.pem", key=folder / "approver.key")
        return OperatorClient(str(self.content["cloud"]["grpc"]), tls)

    def ecu(self, name: str) -> ControlPort:
        """Return a simulated ECU's control port.

        Raises:
            UnknownName: the bench does not have a simulated ECU of that name.
        """
        ports = self.content["control_ports"]
        if name not in ports:
            raise UnknownName("simulated ECU", name, ports, where="in this bench")
        is_board = name in self.content.get("boards", ())
        return ControlPort(name, int(ports[name]), token="" if is_board else str(self.content["control_token"]))

    def runs(self, process: str) -> bool:
        """Return whether one of the bench's processes runs. Its number may have been given to another program since it ended."""
        return int(self.content["pid"]) in ancestors(int(self.content["processes"][process]["pid"]))

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


def find(run_dir: Path, *, say: Callable[[str], None] = lambda _: None) -> RunningBench:
    """Return the bench that is up in that folder, on this kernel.

    Args:
        run_dir: a run's folder, or the link ``latest``.
        say: receives a line if another run than the latest is taken.

    Raises:
        NoRunningBench: there is none, or ``latest`` may mean several; the message contains where one is up.
        BenchError: whether one is up cannot be found out.
    """
    where = run_mark.whereabouts(run_dir)
    if where is Whereabouts.HERE:
        return _opened(run_dir)
    if run_folder.is_link(run_dir):
        others = benches_up(run_dir.parent, Whereabouts.HERE)
        if len(others) > 1:
            raise NoRunningBench(
                f"{_state(run_dir, where)}, and several others are up: {', '.join(map(str, others))}; name one by --run"
            )
        if others:
            say(f"{_state(run_dir, where)}; this is the bench of {others[0]}")
            return _opened(others[0])
    raise NoRunningBench(f"{_state(run_dir, where)}; {_remedy(run_dir, where)}")


def benches_up(runs_dir: Path, *wanted: Whereabouts) -> list[Path]:
    """Return the folders of the runs whose bench is up, oldest first.

    Args:
        runs_dir: the folder of the runs.
        wanted: only those that are there; none given: wherever.

    Raises:
        BenchError: the folder or a mark cannot be read.
    """
    places = wanted or (Whereabouts.HERE, Whereabouts.ELSEWHERE)
    found = [runs_dir / run.root.name for run in run_folder.runs_in(runs_dir)]
    return [run for run in found if run_mark.whereabouts(run) in places]


def published(run_dir: Path) -> dict[str, Any] | None:
    """Return a run's bench.json; None if there is none that can be read."""
    try:
        content = json.loads((run_dir / "bench.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@dataclass(frozen=True)
class PublishedKeys:
    """The keys of a bench, for whoever signs images for it.

    Attributes:
        run: the run's folder.
        folder: the key folder.
        bench_file: None: the built-in one.
    """

    run: Path
    folder: Path
    bench_file: Path | None


def published_keys(run_dir: Path) -> PublishedKeys | None:
    """Return the keys of the bench that is up in that folder, on whatever kernel; None if there is no such bench, or its keys are gone.

    A run that has ended and kept its keys (--keep-keys) counts too, unless ``latest`` leads to it and another run is up.

    Raises:
        NoRunningBench: ``latest`` may mean several.
        BenchError: whether one is up cannot be found out.
    """
    runs = [run_dir]
    if run_folder.is_link(run_dir) and not run_mark.is_up(run_dir):
        runs = benches_up(run_dir.parent) or runs
    if len(runs) > 1:
        raise NoRunningBench(
            f"{run_dir} has ended, and several others are up: {', '.join(map(str, runs))}; name one by --run, or give --keys"
        )
    content = published(runs[0])
    if content is None or "keys" not in content or not Path(content["keys"]).is_dir():
        return None
    bench_file = content.get("bench_file")
    return PublishedKeys(runs[0], Path(content["keys"]), Path(bench_file) if bench_file else None)


def _opened(run_dir: Path) -> RunningBench:
    content = published(run_dir)
    if content is None:
        raise NoRunningBench(f"{run_dir}: that bench is still coming up; try again in a moment")
    return RunningBench(run_dir.resolve(), content)


def _state(run_dir: Path, where: Whereabouts) -> str:
    """Return in words what became of a run whose bench is not up here."""
    if not (run_dir / "bench.json").exists() and where is Whereabouts.ENDED:
        return f"{run_dir / 'bench.json'}: no bench was brought up there"
    name = f"{run_dir} ({run_dir.resolve().name})" if run_dir.is_symlink() else str(run_dir)
    if where is Whereabouts.ENDED:
        return f"{name}: that bench has ended"
    return f"{name}: that bench is up on another kernel{_guest_of(run_dir)}"


def _guest_of(run_dir: Path) -> str:
    guest = run_mark.guest_of(run_dir)
    return f", the guest {guest}" if guest else ""


def _remedy(run_dir: Path, where: Whereabouts) -> str:
    """Return how to reach a bench that is up elsewhere, this one or another of the same folder; else how to start one."""
    elsewhere = [run_dir] if where is Whereabouts.ELSEWHERE else benches_up(run_dir.parent, Whereabouts.ELSEWHERE)
    if not elsewhere:
        return f"start one by `make up` (or `otabench up`); if it runs in a guest kernel, put `{command_of('with-can')} --join` in front"
    newest = elsewhere[-1]
    guest = run_mark.guest_of(newest)
    way = (
        f"put `{command_of('with-can')} --join={guest}` in front" if guest else "run this command outside of this guest"
    )
    return way if newest == run_dir else f"{newest} is up on another kernel{_guest_of(newest)}: {way}"
