"""Which ECUs of a bench sign version reports: simulated ones with a slot table, if the key folder has keys for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.errors import BenchError
from otabench.bench.launcher import registration
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology

BUS = "vehicle: {vin: W0TABENCH00000001}\nbuses: {b: {interface: udp_multicast, channel: 239.74.163.60, port: 43160}}\necus:\n"
ECUS = """\
  engine: {kind: simulated, bus: b, request_id: 0x7E0, response_id: 0x7E8, hardware_id: engine-mcu-a}
  other: {kind: simulated, bus: b, request_id: 0x7E1, response_id: 0x7E9, hardware_id: other-mcu, profile: single-bank}
  board: {kind: board, bus: b, request_id: 0x7E2, response_id: 0x7EA, hardware_id: board-mcu, serial: B-1, security: {secret: ""}}
"""


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    file = tmp_path / "bench.yaml"
    file.write_text(BUS + ECUS)
    return bench_file.load(file)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = tmp_path / "keys"
    for path in ("ecu/engine", "ecu/other", "ecu/board", "gateway/W0TABENCH00000001"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{path}.ed25519.pub").write_text("ab" * 32 + "\n")
    return KeyFolder(folder)


def test_boards_and_other_bootloaders_are_reported_by_the_gateway(topology: Topology, keys: KeyFolder) -> None:
    signers = registration.signers(topology, keys)

    assert signers == {"engine": bytes.fromhex("ab" * 32)}
    registered = registration.ecus(topology, public_keys={}, report_keys=signers)
    assert {ecu.name: bool(ecu.report_key) for ecu in registered} == {"engine": True, "other": False, "board": False}


def test_a_key_folder_of_an_earlier_version_has_no_signers(topology: Topology, keys: KeyFolder) -> None:
    (keys.path / "gateway" / "W0TABENCH00000001.ed25519.pub").unlink()
    assert registration.signers(topology, keys) == {}
    assert keys.gateway_report_key("W0TABENCH00000001") is None


def test_a_damaged_key_is_named(topology: Topology, keys: KeyFolder) -> None:
    (keys.path / "ecu" / "engine.ed25519.pub").write_text("no key")
    with pytest.raises(BenchError, match=r"engine\.ed25519\.pub"):
        registration.signers(topology, keys)
