"""An update while other nodes talk: it succeeds, slower, and the report shows the load."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench import run_mark
from otabench.bench.cli import campaigns, faults
from otabench.bench.clients.job_watch import JobView
from otabench.bench.faults.control_port import Fault
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.report import figures
from otabench.bench.report.of_bench import Reporter
from otabench.bench.topology import bench_file
from otabench.proto import trace
from otabench.proto.job_states import JobState
from tests.boards import rig
from tests.command_line import run_otabench
from tests.e2e.living_bench import quick_options, wait_until_confirmed
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.mosquitto,
    needs(not rig.missing(), rig.missing()),
]

IMAGE_SIZE_BYTES = 8 * 1024
CHANNEL = "vcan3"
"""vcan0 is the shared bench's."""
SLOW_BUS = bench_file.default_text().replace("bitrate: 500000", "bitrate: 125000").replace("vcan0", CHANNEL)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A paced, captured bench whose bus is loaded from the start. A slow bus: that is less work for the machine."""
    options = quick_options(
        tmp_path_factory.mktemp("runs"),
        topology=bench_file.parse(SLOW_BUS, name="slow bus"),
        image_size_bytes=IMAGE_SIZE_BYTES,
        pace=True,
        capture=True,
        transfer=TransferPolicy.FULL,
        faults=(Fault.parse("bus:load:60%"),),
    )
    with rig.vcans(CHANNEL), Bench.bring_up(options) as bench:
        assert bench.pacings["powertrain"].applied, bench.pacings
        yield bench


def transfers_of(bench: Bench, job: JobView) -> tuple[figures.TransferReport, ...]:
    bench.processes.stop_captures()
    return figures.transfers(
        list(trace.read(bench.folder.trace)),
        job.job_id,
        topology=bench.topology,
        statistics=figures.read_statistics(bench.folder.can, ["powertrain"]),
        full_image_bytes={},
        pacings=bench.pacings,
    )


def test_an_update_on_a_bus_with_60_percent_load_succeeds_slower(loaded: Bench) -> None:
    assert loaded.bus_ports.load_of().state()["asked_percent"] == 60
    job = loaded.jobs.update()
    assert job.state is JobState.SUCCEEDED, job.reason
    wait_until_confirmed(loaded, "2.0.0")
    transfers = transfers_of(loaded, job)
    assert {one.ecu for one in transfers} == {"engine", "adas"}
    for one in transfers:
        assert one.share_of_limit is not None and one.share_of_limit < 0.5, "the line is taken by others"
        assert one.bus_load is not None and one.bus_load > 0.75, "and all of that is counted"


def test_a_load_is_set_shown_and_cleared_from_another_terminal(
    loaded: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(target: str, *parameters: str) -> str:
        faults.fault(target, parameters[0], list(parameters[1:]), loaded.folder.root)
        return capsys.readouterr().out

    assert fault("bus", "load", "share=20", "seed=7").startswith("load of bus powertrain: asked 20 %, measured ")
    campaigns.status(loaded.folder.root)
    assert re.search(
        r"^  load of bus powertrain: asked 20 %, measured .* 0x400-0x5FF, seed 7$", capsys.readouterr().out, re.M
    )
    assert fault("powertrain", "clear") == "load of bus powertrain: none\n"
    assert fault("bus", "load", "7%").startswith("load of bus powertrain: asked 7 %")
    assert fault("bus", "load", "0%") == "load of bus powertrain: none\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("bus", "load", "-5%"), "share '-5%': expected 0 to 100 per cent"),
        (("body", "load", "5%"), "there is no bus 'body' in this bench; known: powertrain"),
        (("bus", "boot-fail"), "boot-fail is not a fault of a bus"),
    ],
)
def test_a_wrong_load_is_one_line_on_stderr_and_exit_status_2(
    loaded: Bench, arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    done = run_otabench("fault", *arguments, "--run", str(loaded.folder.root), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("otabench: ") and expected in line


def test_the_kinds_of_faults_are_listed_with_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    faults.fault("bus", "list")
    assert re.search(r"^load +other traffic takes a share of a bus's line \(60%", capsys.readouterr().out, re.M)


def secrets_in(keys: Path) -> dict[str, bytes]:
    """Return every secret of a key folder, in each form in which a file may hold it."""
    found = {}
    for path in keys.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if b"PRIVATE KEY" in content:
            base64_lines = b"".join(content.split(b"-----")[2].split())
            found[f"{path.name} as PEM"] = base64_lines[16:64]
            found[f"{path.name} as DER"] = base64.b64decode(base64_lines)[16:48]
        elif path.suffix in (".secret", ".x25519"):
            found[f"{path.name} as hex"] = content.strip()
            found[f"{path.name} as bytes"] = bytes.fromhex(content.decode())
    return found


def test_a_run_leaves_a_report_and_no_private_key(loaded: Bench) -> None:
    secrets = secrets_in(loaded.setup.keys_dir)
    assert len(secrets) > 20
    made = Reporter(loaded).leave(loaded.jobs.current())
    assert made.result in ("SUCCEEDED", figures.NO_CAMPAIGN) and made.exit_status == 0, made.reason
    folder = loaded.folder
    folder.report_json.unlink()
    with pytest.raises(KeyboardInterrupt), Reporter(loaded).left_if_interrupted():
        raise KeyboardInterrupt
    loaded.stop()
    assert folder.report_json.exists() and folder.report_html.exists() and not run_mark.is_up(folder.root)
    leaked = [
        f"{path.relative_to(folder.root)}: {name}"
        for path in folder.root.rglob("*")
        if path.is_file()
        for name, secret in secrets.items()
        if secret in path.read_bytes()
    ]
    assert leaked == []
