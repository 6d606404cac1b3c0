"""A place of a lab: what labgrid's client says, judged; and a place of a real coordinator, taken, switched and given back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from otabench.bench import ports
from otabench.bench.errors import BenchFileError, LabError, PlaceInUse, PowerError
from otabench.bench.finding import fail, ok
from otabench.bench.launcher import labgrid, lock, power
from otabench.bench.launcher.labgrid import Answer, LabgridClient, Outcome, Place
from otabench.bench.launcher.power import LabgridPower
from otabench.bench.topology import bench_file
from otabench.bench.topology.entries import LabEntry, PowerEntry
from tests.needs import needs
from tests.waiting import eventually

PROGRAMS = Path(sys.executable).parent.parent / "labgrid" / "bin"
"""Made by setup/labgrid.sh: labgrid does not share an environment with pyserial."""
LAB = LabEntry(place="bench-1")

# What labgrid-client 26.0.1 printed.
HELD = (
    "labgrid-client: Error: Place bench-1 is already acquired by lab2.example.org/other. To work simultaneously, other can execute "
    "'labgrid-client -p bench-1 allow vm/root' on lab2.example.org.\n"
)
HELD_ELSEWHERE = (
    "labgrid-client: Error: You have already acquired place bench-1 on lab3. To work simultaneously, execute "
    "'labgrid-client -p bench-1 allow vm/root' on lab3.\n"
)
NO_COORDINATOR = (
    "ERROR              root: coordinator is unavailable: failed to connect to all addresses; last error: UNKNOWN: "
    "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused\n"
    "Server error: Error: Could not connect to coordinator\n"
)
SEVERAL_RESOURCES = (
    "labgrid-client: error: binding NetworkPowerDriver failed: multiple resources matching NetworkPowerPort found in "
    "Target(name='bench-1', env=None)\nThis may be caused by disconnected exporter or wrong match entries.\n"
    "You can use the 'show' command to review all matching resources.\n"
)
TRACEBACK = (
    "Traceback (most recent call last):\n  File \"client.py\", line 2362, in main\n    args.func(session)\n"
    "requests.exceptions.ConnectionError: Failed to establish a new connection\n"
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, "acquired place bench-1\n", Answer(Outcome.TAKEN)),
        (1, "labgrid-client: Error: You have already acquired place bench-1.\n", Answer(Outcome.OURS)),
        (1, HELD, Answer(Outcome.HELD, "lab2.example.org/other")),
        (1, HELD_ELSEWHERE, Answer(Outcome.HELD, "you on lab3")),
        (0, "acquired place bench-10\n", Answer(Outcome.OTHER_NAME, "bench-10")),
        (1, HELD.replace("bench-1", "my-bench-1"), Answer(Outcome.OTHER_NAME, "my-bench-1")),
        (1, NO_COORDINATOR, Answer(Outcome.FAILED, "Could not connect to coordinator")),
        (
            1,
            "labgrid-client: Error: place pattern bench-1 matches nothing\n",
            Answer(Outcome.FAILED, "place pattern bench-1 matches nothing"),
        ),
        (0, "", Answer(Outcome.FAILED, "it printed nothing")),
    ],
)
def test_what_the_client_says_of_an_attempt_is_judged(status: int, said: str, expected: Answer) -> None:
    assert labgrid.outcome("bench-1", status, said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (SEVERAL_RESOURCES, "binding NetworkPowerDriver failed: multiple resources matching NetworkPowerPort found in"),
        (TRACEBACK, "requests.exceptions.ConnectionError: Failed to establish a new connection"),
        ("", "it printed nothing"),
    ],
)
def test_the_reason_of_a_failure_is_one_sentence(said: str, expected: str) -> None:
    assert labgrid.reason(said).startswith(expected) and "\n" not in labgrid.reason(said)


def with_lab(lab: str, power_of_engine: str) -> str:
    text = bench_file.default_text().replace("buses:", f"{lab}\nbuses:", 1)
    return text.replace("hardware_id: engine-mcu-a", f"hardware_id: engine-mcu-a, power: {power_of_engine}", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            with_lab("", "{driver: labgrid}"),
            "ecus.engine.power.driver: labgrid needs a place; add `lab: {place: NAME}`",
        ),
        (with_lab("lab: {place: b}", "{resource: adas}"), "ecus.engine.power: resource needs driver: labgrid"),
        (with_lab("lab: {place: '+token'}", "{}"), "lab.place: '+token' does not fit; expected 1 to 64 letters"),
        (with_lab("lab: {plaec: b}", "{}"), "lab.plaec: unknown key; did you mean 'place'?"),
        (with_lab("lba: {place: b}", "{}"), "lba: unknown key; did you mean 'lab'?"),
    ],
)
def test_mistakes_of_the_bench_file_are_named(text: str, expected: str) -> None:
    with pytest.raises(BenchFileError, match=re.escape(expected)):
        bench_file.parse(text, name="x")


def test_a_place_is_locked_on_this_machine_and_its_driver_switches_the_ecu() -> None:
    topology = bench_file.parse(with_lab("lab: {place: bench-1}", "{driver: labgrid, resource: r}"), name="x")
    assert ("labgrid", "bench-1") in lock.buses_of(topology) and len(lock.buses_of(topology)) == 2
    chosen = power.driver("engine", topology.ecus["engine"], None, lab=topology.lab)
    assert isinstance(chosen, LabgridPower) and chosen.client.lab == LAB


def test_a_missing_client_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labgrid, "find_client", lambda: None)
    with pytest.raises(LabError, match=r"^place bench-1: there is no program labgrid-client; pip install labgrid"):
        Place(LAB).acquire()
    with pytest.raises(PowerError, match=r"power of adas: labgrid, place bench-1: there is no program"):
        LabgridPower("adas", PowerEntry(driver="labgrid"), LabgridClient(LAB)).on()
    assert labgrid.finding(LAB) == fail("place bench-1", "there is no program labgrid-client", labgrid.INSTALL)


# With labgrid's own coordinator and exporter.

EXPORTED = """
rack:
  adas: {cls: NetworkPowerPort, model: simplerest, host: 'http://127.0.0.1:PORT/relay/{index}/{value}', index: 4}
  brakes: {cls: NetworkPowerPort, model: simplerest, host: 'http://127.0.0.1:PORT/relay/{index}/{value}', index: 5}
"""
HOLD = """
import sys, time
from otabench.bench.launcher.labgrid import Place
from otabench.bench.topology.entries import LabEntry
Place(LabEntry(place="bench-1", coordinator=sys.argv[1])).acquire()
print("taken", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class Lab:
    """A coordinator with the place bench-1, and the requests that its relay has received."""

    entry: LabEntry
    switched: list[str]

    def client(self, *arguments: str, user: str = "") -> str:
        environment = {**os.environ, **({"LG_USERNAME": user, "LG_HOSTNAME": "lab2"} if user else {})}
        program = str(PROGRAMS / "labgrid-client")
        command = [program, "-x", str(self.entry.coordinator), "-p", self.entry.place, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=True).stdout

    def other_acquires(self) -> bool:
        """Try to acquire the place for somebody else."""
        try:
            return "acquired place bench-1" in self.client("acquire", user="other")
        except subprocess.CalledProcessError:  # it matches no resource yet
            return False

    def is_free(self) -> bool:
        return labgrid.finding(self.entry) == ok("place bench-1", "is free")


@contextmanager
def relay() -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a relay that is switched by HTTP, and the paths that it was asked for."""
    asked: list[str] = []

    class Relay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Relay) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name in [name for name in os.environ if name.startswith("LG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(labgrid, "find_client", lambda: str(PROGRAMS / "labgrid-client"))
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
    (port,) = ports.free_ports(1)
    address = f"127.0.0.1:{port}"
    with relay() as (relay_port, asked), (tmp_path / "labgrid.log").open("w") as log:
        (tmp_path / "exported.yaml").write_text(EXPORTED.replace("PORT", str(relay_port)))
        started = [
            subprocess.Popen([PROGRAMS / "labgrid-coordinator", "-l", address], cwd=tmp_path, stdout=log, stderr=log)
        ]
        try:
            eventually(lambda: ports.is_listening(port), "the coordinator listens", timeout_s=20)
            exporter = ["labgrid-exporter", "-c", address, "--name", "exporter", "--hostname", "localhost"]
            started.append(
                subprocess.Popen(
                    [PROGRAMS / exporter[0], *exporter[1:], "exported.yaml"], cwd=tmp_path, stdout=log, stderr=log
                )
            )
            found = Lab(LabEntry(place="bench-1", coordinator=address), asked)
            found.client("create")
            found.client("add-match", "exporter/rack/*")
            yield found
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(20)


@needs((PROGRAMS / "labgrid-client").exists() and shutil.which("sh"), "labgrid is missing: setup/labgrid.sh")
def test_a_place_is_taken_switched_and_given_back_even_by_a_bench_that_is_killed(lab: Lab) -> None:
    # given a place that somebody else holds, when a bench wants it, then one sentence names who holds it
    eventually(lab.other_acquires, "the exporter has come up", timeout_s=20)
    with pytest.raises(
        PlaceInUse, match=r"^place bench-1: in use by lab2/other; wait for it with --bench-wait"
    ) as refused:
        Place(lab.entry).acquire()
    assert refused.value.holder == "lab2/other"
    assert labgrid.finding(lab.entry) == ok("place bench-1", "is in use by lab2/other")
    # given that they release it, when a bench takes it, then its ECUs are switched by the place's own driver
    lab.client("release", user="other")
    bench = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lab.entry.coordinator)], stdout=subprocess.PIPE, text=True
    )
    assert bench.stdout is not None and bench.stdout.readline() == "taken\n"
    board = LabgridPower("adas", PowerEntry(driver="labgrid", resource="adas", off_s=0.1), LabgridClient(lab.entry))
    board.cycle()
    assert lab.switched == ["/relay/4/0", "/relay/4/1"]
    with pytest.raises(PowerError, match=r"^power of adas: labgrid cannot switch it 'off': .*multiple resources"):
        LabgridPower("adas", PowerEntry(driver="labgrid"), LabgridClient(lab.entry)).off()
    # when the bench is killed, then the place is given back all the same
    bench.kill()
    bench.communicate()
    eventually(lab.is_free, "the place is free", timeout_s=20)
    # and a part of its name is not taken for it
    with pytest.raises(LabError, match=r"the lab has no such place; did you mean 'bench-1'\?"):
        Place(lab.entry.model_copy(update={"place": "bench"})).acquire()
    assert lab.is_free()
