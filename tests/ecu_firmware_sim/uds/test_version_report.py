"""Routine 0220: the ECU signs what it runs. Its counter rises over resets and power cuts, and costs one write for many reports."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.ecu_firmware_sim.flash.nvm import REPORT_BLOCK
from otabench.proto.version_report import EcuVersionReport, open_ecu_report
from tests.ecu_firmware_sim.factory import HARDWARE_ID, SERIAL, VIN, Bench, ImageMaker, Keys, Manifest

KEY = Ed25519PrivateKey.generate()
NONCE = bytes(range(16))
REQUEST = b"\x31\x01\x02\x20" + NONCE


def reporting(keys: Keys, factory_image: bytes, *, memory: bytearray | None = None) -> Bench:
    bench = Bench(keys, factory_image, report_key=KEY, memory=memory)
    bench.boot()
    return bench


def read(bench: Bench) -> EcuVersionReport:
    return open_ecu_report(bench.must(REQUEST)[4:], KEY.public_key())


def test_the_report_states_what_runs_in_the_default_session(keys: Keys, old_image: bytes) -> None:
    image = old_image

    report = read(reporting(keys, image))

    assert (report.vin, report.serial, report.hardware_id) == (VIN, SERIAL, HARDWARE_ID)
    assert (report.version, report.state, report.nonce, report.attack) == ("1.0.0", "CONFIRMED", NONCE.hex(), "")
    assert (report.length, report.hashes) == (len(image), {"sha256": hashlib.sha256(image).hexdigest()})


def test_an_image_on_trial_is_reported_as_trial_until_it_is_confirmed(
    keys: Keys, old_image: bytes, new_image: bytes
) -> None:
    bench = reporting(keys, old_image)
    new = new_image
    bench.trial(new)
    on_trial = read(bench)
    bench.unlock("10 03")
    bench.must("31 01 02 11")

    confirmed = read(bench)

    assert (on_trial.state, confirmed.state) == ("TRIAL", "CONFIRMED")
    assert on_trial.hashes == confirmed.hashes == {"sha256": hashlib.sha256(new).hexdigest()}


def test_an_ecu_without_a_key_and_a_nonce_of_another_length_are_refused(keys: Keys, old_image: bytes) -> None:
    image = old_image
    keyless = Bench(keys, image)
    keyless.boot()

    assert keyless.ask(REQUEST) == "7F 31 31"
    assert reporting(keys, image).ask(REQUEST[:-1]) == "7F 31 13"
    assert reporting(keys, image).ask(REQUEST + b"\0") == "7F 31 13"


def test_what_check_memory_refused_last_is_reported_until_it_accepts(
    keys: Keys, old_image: bytes, new_image: bytes, make_image: ImageMaker
) -> None:
    bench = reporting(keys, old_image)
    forged = make_image("2.0.0", counter=2, key="stranger")
    assert bench.stage(forged) != 0
    bench.boot()
    assert read(bench).attack == "SIGNATURE_WRONG"

    new = new_image
    assert bench.stage(new, manifest=Manifest(new)) == 0

    assert read(bench).attack == ""


def test_the_counter_rises_with_each_report_and_over_resets(keys: Keys, old_image: bytes) -> None:
    bench = reporting(keys, old_image)
    counters = [read(bench).counter for _ in range(3)]
    bench.boot()
    counters += [read(bench).counter for _ in range(REPORT_BLOCK + 2)]

    assert counters == sorted(set(counters))


def test_flash_is_written_once_for_a_whole_block_of_reports(keys: Keys, old_image: bytes) -> None:
    bench = reporting(keys, old_image)
    read(bench)
    before = bytes(bench.flash.memory)
    for _ in range(REPORT_BLOCK - 1):
        read(bench)

    assert bytes(bench.flash.memory) == before
    read(bench)
    assert bytes(bench.flash.memory) != before


@pytest.mark.parametrize("cut", list(Cut))
def test_no_power_cut_makes_the_counter_go_back(keys: Keys, old_image: bytes, cut: Cut) -> None:
    image = old_image
    bench = reporting(keys, image)
    last = read(bench).counter
    memory = bytes(bench.flash.memory)
    for number in itertools.count():
        bench = reporting(keys, image, memory=bytearray(memory))
        done = itertools.count()
        bench.flash.on_operation = lambda _, done=done, number=number: cut if next(done) == number else None
        try:
            read(bench)
        except PowerLost:
            bench.flash.on_operation = None
            bench.boot()
            assert read(bench).counter > last
            continue
        assert number >= 4, "two copies are erased and programmed before the number is given out"
        break
