"""Certificates of a run: made for simulated ECUs that the tester authenticates itself to, and for no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.launcher import endpoints, run_end, tester_certificates
from otabench.bench.run_folder import RunFolder
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from otabench.bench.uds.authentication import Credentials, load_certificate
from tests.bench.runs.made import make_run

FILE = Path("tests/benches/certificates.bench.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(make_run(tmp_path / "runs", "20261128T110000Z"))


def with_profile(profile: str) -> Topology:
    topology = bench_file.load(FILE)
    pump = topology.ecus["pump"].model_copy(update={"profile": profile})
    return topology.model_copy(update={"ecus": {"pump": pump}})


def test_a_simulated_ecu_gets_a_root_and_the_tester_a_certificate_of_it(folder: RunFolder) -> None:
    topology = tester_certificates.with_certificates(bench_file.load(FILE), folder)
    given, files = topology.ecus["pump"].authentication, endpoints.authentication(topology, "pump")
    assert given is not None and given.root is not None and files is not None
    load_certificate(files.certificate).verify_directly_issued_by(load_certificate(given.root))
    assert Credentials.load(files.certificate, files.key).sign(b"challenge")
    assert files.key.stat().st_mode & 0o777 == 0o600
    run_end.remove_secrets(folder)
    assert (files.key.exists(), files.certificate.exists()) == (False, True)


@pytest.mark.parametrize("profile", ["single-bank", "iso14229-ab", "./absent.yaml"])
def test_others_get_none(profile: str, folder: RunFolder) -> None:
    assert tester_certificates.with_certificates(with_profile(profile), folder) == with_profile(profile)


def test_certificates_of_the_bench_file_are_used_as_they_are(folder: RunFolder) -> None:
    made = tester_certificates.with_certificates(bench_file.load(FILE), folder)
    other = replace(folder, root=folder.root / "other")
    assert tester_certificates.with_certificates(made, other) is made
