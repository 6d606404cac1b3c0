"""What a live run leaves behind fits together: its capture, the Wireshark profile and the DBC made of the same bench file, its trace, and
the signed evidence of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import can
import pytest

from otabench.bench.bus.frame import ERR_FLAG
from otabench.bench.captures import dbc, wireshark
from otabench.bench.captures.formats import parse_candump_line
from otabench.bench.evidence import collect, document, package
from otabench.bench.evidence.verify import derived_parts, read_roots, verify
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.pytest_plugin.can_log import CanLog
from otabench.proto.vehicle_signature import Signer
from tests.bench.captures.test_wireshark import tshark
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto, pytest.mark.tshark]


def test_capture_profile_dbc_and_trace_tell_the_same_update(
    living: LivingBench, can_log: CanLog, can_bus: can.BusABC, tmp_path: Path
) -> None:
    # given an update over the bus, and an error that the interface tells
    topology = living.bench.topology
    bus = topology.ecus["engine"].bus
    has_error = topology.buses[bus].is_vcan  # nobody sends one on a real bus
    job_id = living.start_campaign(transfer=TransferPolicy.FULL)
    if has_error:
        can_bus.send(can.Message(arbitration_id=0x088, is_extended_id=False, is_error_frame=True, data=bytes(8)))
    living.approve()
    living.expect_updated()
    here = {name: entry for name, entry in topology.ecus.items() if entry.bus == bus}
    log, pcap = (path for path in can_log.write() if path.stem == bus)
    # when tshark reads it by the bench's own profile
    wireshark.install(topology, folder=tmp_path / "wireshark")
    rows = tshark(
        tmp_path / "wireshark", pcap, "-Y", "uds.sid == 0x36 && uds.reply == 0",
        "-T", "fields", "-e", "uds.diag_addr_name", "-e", "uds.td.block_sequence_counter", "-e", "iso15765.reassembled.length",
    )  # fmt: skip
    # then every block is whole, with its ECU, counter and length as the trace has it
    seen = Counter((ecu, int(number), int(length)) for ecu, number, length in (row.split("\t") for row in rows))
    told = Counter(
        (event.ecu, event.data["block_sequence_counter"], event.data["request_bytes"])
        for event in living.events(job_id, ["uds.exchange"])
        if event.data["service"] == "36" and event.ecu in here
    )
    assert not seen - told and {ecu for ecu, _, _ in seen} == set(here)
    if topology.buses[bus].interface == "socketcan":  # elsewhere a capture may miss frames, and so blocks
        assert seen == told
    # and services, identifiers and routines have their names
    text = "\n".join(tshark(tmp_path / "wireshark", pcap, "-Y", "uds"))
    for words in ("Security Access", "0xf1a1 (slotTable (OEM))", "0xff00 (eraseMemory)", "all ECUs", *here):
        assert words in text, words
    # when cantools reads it by the bench's own DBC, then it decodes every frame of the applications, and nothing else is theirs
    (tmp_path / "bench.dbc").write_text(dbc.text(topology, bus=bus), newline="")
    frames = [frame for _, frame in map(parse_candump_line, log.read_text().splitlines())]
    decode = [sys.executable, "-m", "cantools", "decode", "--single-line", str(tmp_path / "bench.dbc")]
    decoded = subprocess.run(decode, input=log.read_text(), capture_output=True, text=True, check=True).stdout
    for entry in here.values():
        for periodic in entry.periodic:
            lines = [line for line in decoded.splitlines() if f":: {periodic.name}(" in line]
            assert len(lines) == sum(frame.can_id == periodic.id for frame in frames) > 5
            assert all(f"{signal.name}: " in line for line in lines for signal in periodic.signals)
    # and whatever is neither is the error
    spoken = {can_id for ecu in here.values() for can_id in (ecu.request_id, ecu.response_id, ecu.functional_id)}
    spoken |= {periodic.id for ecu in here.values() for periodic in ecu.periodic}
    assert [frame for frame in frames if not frame.can_id & ERR_FLAG and frame.can_id not in spoken] == []
    if has_error:
        assert [frame.can_id & ~ERR_FLAG for frame in can_log.error_frames(bus)] == [0x088]
    # and the update's evidence, with the driver's consent as the gateway signed it, verifies with the pinned roots alone
    run = living.bench.folder.root
    parts = collect.parts_of(run, job_id)
    facts = document.derive(parts)
    keys = living.bench.setup.keys
    tls = keys.tls(f"vehicle-{facts.vin}")
    signer = Signer(tls.certificate.read_bytes(), tls.key.read_bytes())
    package.write(tmp_path / "e.zip", {**parts, **derived_parts(facts, parts)}, signer=signer, made_at=time.time())
    roots = read_roots(keys.director_root, tls.ca, keys.image_root)
    assert [each for each in verify(tmp_path / "e.zip", roots) if each.problem] == []
    (given,) = facts.consents
    assert given.signature is not None
