"""Trouble codes: their text, the meaning of their records, and ECUs that answer differently."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otabench.bench.uds import profile as profiles
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.dtcs import DtcRecord, format_dtc, parse_records, read_dtcs
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import EcuContradicts, FlashError
from otabench.bench.uds.transport import open_channel
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SLOT_WINDOW
from otabench.proto.process_config import EcuTiming, IsoTpConfig
from otabench.proto.security_algorithm import DEFAULT
from otabench.proto.trace import TraceWriter
from tests.bench.gateway.scripted_ecu import SECRET, ScriptedEcu
from tests.ecu_firmware_sim.factory import ImageMaker, Keys, Manifest
from tests.ecu_firmware_sim.line import Line, Rig

_numbers = itertools.count()
RECORDS = bytes.fromhex("01 02 69 55 B9 00") + b"\x02\x05job-7" + b"\x03\x0fwrong signature"


@pytest.mark.parametrize(
    ("code", "text"), [(0x060200, "P0602-00"), (0x160111, "P1601-11"), (0x512345, "C1123-45"), (0xC10055, "U0100-55")]
)
def test_a_code_is_written_as_workshops_do(code: int, text: str) -> None:
    assert format_dtc(code) == text


def test_records_give_count_time_job_and_text() -> None:
    record = parse_records(0x060200, 0x2F, RECORDS)
    assert record == DtcRecord(0x060200, 0x2F, 2, datetime(2026, 1, 1, tzinfo=UTC), "job-7", "wrong signature")
    assert str(record) == (
        "P0602-00 an image was refused: wrong signature (job job-7, 2026-01-01 00:00:00 UTC, 2 times)"
    )
    assert str(DtcRecord(0x512345, 8)) == "C1123-45"


@pytest.mark.parametrize("records", ["01 02", "02", "02 05 41", "77 00"])
def test_a_record_that_is_cut_short_or_unknown_is_no_record(records: str) -> None:
    with pytest.raises(ValueError, match="unknown or cut short"):
        parse_records(1, 8, bytes.fromhex(records))


Connect = Callable[..., EcuClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a client of an ECU that answers by a table of requests and responses, and with NRC 11 to all other requests."""
    with ExitStack() as opened:

        def make(answers: dict[str, bytes], *, security_algorithm: str = DEFAULT) -> EcuClient:
            table = {bytes.fromhex(request): answer for request, answer in answers.items()}
            channel = f"dtcs-{next(_numbers)}"
            opened.enter_context(ScriptedEcu(channel, script=lambda request, _: table.get(request, True)))
            bus = {"interface": "virtual", "channel": channel}
            endpoint = EcuEndpoint(
                name="engine",
                bus=bus,
                request_id=0x7E0,
                response_id=0x7E8,
                serial="SN-1",
                hardware_id="engine-mcu-a",
                security_secret=SECRET.hex(),
                security_algorithm=security_algorithm,
            )
            tester = open_channel(bus, IsoTpConfig(transport="user"))
            opened.callback(tester.close)
            connection = tester.connection(request_id=0x7E0, response_id=0x7E8, isotp=IsoTpConfig())
            profile = profiles.load("iso14229-ab")
            return opened.enter_context(EcuClient(endpoint, profile, connection, TraceWriter(None, component="test")))

        yield make


def test_codes_are_read_with_their_records(connect: Connect) -> None:
    codes = bytes.fromhex("59 02 2F 06 02 00 2F 51 23 45 08")
    client = connect({"19 02 08": codes, "19 06 06 02 00 FF": bytes.fromhex("59 06 06 02 00 2F") + RECORDS})
    first, second = read_dtcs(client)
    assert first.job_id == "job-7" and first.count == 2
    assert second == DtcRecord(0x512345, 0x08), "this ECU has no extended data for it"


def test_an_ecu_without_service_19_has_none(connect: Connect) -> None:
    assert read_dtcs(connect({})) == ()


@pytest.mark.parametrize("answer", ["59 02", "59 02 2F 06 02", "59 0A 2F"])
def test_an_answer_that_makes_no_sense_is_named(connect: Connect, answer: str) -> None:
    with pytest.raises(EcuContradicts, match="19 02 08 read DTCs"):
        read_dtcs(connect({"19 02 08": bytes.fromhex(answer)}))


# -- the security algorithm, named by the endpoint


def test_the_key_is_made_by_the_algorithm_that_the_endpoint_names(connect: Connect) -> None:
    key = b"\x27\x02" + bytes(byte ^ 0x5A for byte in range(1, 17))
    client = connect({key.hex(): b"\x67\x02"}, security_algorithm="tests.proto.plugin:xor_5a")
    client.request(b"\x10\x02", step="programming session")
    client.unlock()


def test_an_algorithm_that_is_not_there_is_one_clear_error(connect: Connect) -> None:
    client = connect({}, security_algorithm="tests.proto.plugin:nowhere")
    client.request(b"\x10\x02", step="programming session")
    with pytest.raises(FlashError, match=r"engine: 27 02 send key: .*plugin has no function nowhere"):
        client.unlock()


def test_a_refused_image_is_read_with_job_time_and_reason(
    tmp_path: Path,
) -> None:
    """The simulated ECU in this process. As in every update, DTC setting is off while it is programmed."""
    keys, line = Keys(tmp_path), Line("user", "normal", False)
    make_image = ImageMaker(keys)
    old_image, new_image = make_image("1.0.0", counter=1), make_image("2.0.0", counter=2)
    rig = Rig(line, tmp_path, keys, old_image, timing=EcuTiming(boot_s=0.0))
    try:
        started = datetime.now(UTC).replace(microsecond=0)
        assert rig.ask("10 03").startswith("50") and rig.ask("85 02") == "C5 02"
        rig.unlock()
        manifest = Manifest(old_image, job_id="job-9").signed(keys.targets)
        rig.download(METADATA_WINDOW, manifest)
        rig.erase()
        rig.download(SLOT_WINDOW, new_image)
        assert rig.ask("31 01 02 02") == "71 01 02 02 02", "the SHA-256 differs from the manifest's"
        assert rig.ask("10 01").startswith("50")
        facts = {"name": "engine", "bus": line.bus, "isotp": line.isotp, "serial": "x", "hardware_id": "x"}
        endpoint = EcuEndpoint.model_validate(facts | line.ids | {"security_secret": "00" * 32})
        client = EcuClient(endpoint, profiles.load("iso14229-ab"), rig.connection, TraceWriter(None, component="test"))
        (found,) = read_dtcs(client)
    finally:
        rig.close()
    assert str(found).startswith(
        "P0602-00 an image was refused: the image's SHA-256 differs from the manifest's (job job-9, "
    )
    assert found.set_at is not None and started <= found.set_at <= datetime.now(UTC)
