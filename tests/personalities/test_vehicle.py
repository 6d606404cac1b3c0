"""The gateway updates vehicles of other bootloaders, by their shipped profiles, and rolls them back."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from udsoncan.exceptions import TimeoutException

from otabench.bench.gateway.vehicle import Payload
from otabench.bench.uds.errors import EcuRefused, FlashError
from otabench.bench.uds.slot_table import Slot, SlotState
from otabench.bench.uds.transport import open_channel
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.personalities import certificates
from tests.personalities.on_bus import SIZE, BusRig, EcuOnBus, virtual_bus

CUTS = ("torn", "before", "after", "garbage")
SAMPLE = "single-bank"
EACH = [pytest.param(name, marks=[] if name == SAMPLE else pytest.mark.exhaustive) for name in sorted(PERSONALITIES)]


def test_two_banks_without_a_table_are_staged_and_switched_back(tmp_path: Path) -> None:
    with EcuOnBus("two-banks", 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        rig.stage(images)
        staged = rig.vehicle.identify()["two-banks"]
        assert [(slot.state, slot.version) for slot in staged.slots] == [
            (SlotState.CONFIRMED, "1.0.0"),
            (SlotState.STAGED, "2.0.0"),
        ]
        rig.restart()
        rig.stage(images)
        assert rig.requests("two-banks").count("37") == 1, "it was staged already"
        rig.activate(images)
        rig.activate(images)
        assert ecu.runs == "2.0.0"
        assert rig.vehicle.identify()["two-banks"].active.state is SlotState.TRIAL
        rig.verify(images)
        rig.revert(images)
        assert (ecu.runs, rig.requests("two-banks").count("37")) == ("1.0.0", 1), "by a routine, without a transfer"


TABLE = """slots:
  kind: table
  active: {did: 0xFD00, values: {0x41: 0, 0x42: 1}}
  each:
    - state: {did: 0xFD01, at: 0, values: {0x00: EMPTY, 0x5A: STAGED, 0xA5: CONFIRMED, 0xEE: INVALID}}
      version: {did: 0xFD01, at: 1, length: 16}
    - state: {did: 0xFD01, at: 17, values: {0x00: EMPTY, 0x5A: STAGED, 0xA5: CONFIRMED, 0xEE: INVALID}}
      version: {did: 0xFD01, at: 18, length: 16}"""


def test_slots_that_are_reported_in_codes_of_the_makers_own_are_read_by_the_profile(tmp_path: Path) -> None:
    changes = {"slots: {kind: version_only}": TABLE, "success: {by: version}": "success: {by: slot}"}
    with (
        EcuOnBus("two-banks", 1, tmp_path, virtual_bus()) as ecu,
        BusRig(tmp_path, [ecu], changes=changes) as rig,
    ):
        assert rig.vehicle.identify()["two-banks"].slots == (
            Slot(SlotState.CONFIRMED, "1.0.0", 0),
            Slot(SlotState.EMPTY, "", 0),
        )
        images = rig.images("2.0.0")
        rig.stage(images)
        assert rig.vehicle.identify()["two-banks"].slots[1] == Slot(SlotState.STAGED, "2.0.0", 0)
        rig.activate(images)
        rig.verify(images)
        after = rig.confirm(images)["two-banks"]
        assert (after.active_slot, after.software_version) == (1, "2.0.0")
        assert after.active == Slot(SlotState.CONFIRMED, "2.0.0", 0)
        rig.revert(images)
        assert ecu.runs == "1.0.0"


class OtherNode:
    """A node that answers OBD requests on an identifier of its own, with the response identifier of an ECU."""

    def __init__(self, bus: dict[str, Any], *, request_id: int, ecu: EcuOnBus) -> None:
        self.asked: list[str] = []
        self._channel = open_channel(bus, ecu.config.isotp)
        self._line = self._channel.connection(
            request_id=ecu.config.response_id, response_id=request_id, isotp=ecu.config.isotp
        )
        self._line.open()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutException):
                self.asked.append((self._line.specific_wait_frame(timeout=0.02) or b"").hex())
                self._line.specific_send(b"\x44")

    def __enter__(self) -> OtherNode:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._line.close()
        self._channel.close()


def test_a_certificate_opens_an_ecu_that_another_node_had_to_be_asked_for_and_the_way_back_does_too(
    tmp_path: Path,
) -> None:
    bus = virtual_bus()
    asks = "    - session: 0x02\n"
    changes = {asks: f'    - request: "04"\n      request_id: 0x700\n{asks}'}
    with (
        EcuOnBus("certificates", 1, tmp_path, bus) as ecu,
        OtherNode(bus, request_id=0x700, ecu=ecu) as other,
        BusRig(tmp_path, [ecu], changes=changes) as rig,
    ):
        images = rig.images("2.0.0")
        rig.stage(images)
        rig.activate(images)
        rig.verify(images)
        assert ecu.runs == "2.0.0"
        assert other.asked == ["04"]
        requests = rig.requests("certificates")
        assert requests.index("04") < requests.index("1002") < requests.index("2908")
        rig.revert(images)
        assert (ecu.runs, other.asked) == ("1.0.0", ["04", "04"])
        assert len([each for each in rig.requests("certificates") if each.startswith("2903")]) == 2


def test_without_a_certificate_the_update_ends_before_anything_is_sent(tmp_path: Path) -> None:
    with EcuOnBus("certificates", 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        (tmp_path / "tester.key.pem").unlink()
        with pytest.raises(FlashError, match=r"certificates: 29 01 verify certificate.*tester\.key\.pem: No such file"):
            rig.stage(rig.images("2.0.0"))
        assert not {"1002", "8582"} & set(rig.requests("certificates"))


def test_a_certificate_that_is_refused_is_sent_once(tmp_path: Path) -> None:
    with EcuOnBus("certificates", 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        forged = certificates.issued(signed_by=certificates.key("other"))
        (tmp_path / "tester.pem").write_bytes(forged.public_bytes(Encoding.PEM))
        images = rig.images("2.0.0")
        rig.stage(images)
        with pytest.raises(EcuRefused, match="NRC 51 certificateVerificationFailed-invalidSignature"):
            rig.activate(images)
        assert len([each for each in rig.requests("certificates") if each.startswith("2901")]) == 1
        assert ecu.runs == "1.0.0"


@pytest.mark.parametrize("name", EACH)
def test_an_update_and_its_way_back(name: str, tmp_path: Path) -> None:
    with EcuOnBus(name, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        before = rig.vehicle.identify()[name]
        assert (before.serial, before.hardware_id, before.software_version) == ("SN-1", f"{name}-mcu", "1.0.0")
        assert before.active.state is SlotState.CONFIRMED
        assert len(before.slots) == (2 if PERSONALITIES[name].is_dual else 1)
        after = rig.update(rig.images("2.0.0"))[name]
        assert (ecu.runs, after.software_version, after.active.state) == ("2.0.0", "2.0.0", SlotState.CONFIRMED)
        state = ecu.control("state")
        assert state["slots"][state["active_slot"]]["state"] == "CONFIRMED", "as the bench's report reads it"
        images = rig.images("3.0.0")
        rig.stage(images, "job-2")
        assert ecu.runs == "2.0.0", (
            "a single bank is not touched before all others are staged, two are written while it runs"
        )
        rig.activate(images, "job-2")
        assert ecu.runs == "3.0.0"
        reverted = rig.revert(images, "job-2")[name]
        assert (ecu.runs, reverted.software_version) == ("2.0.0", "2.0.0")


@pytest.mark.exhaustive
def test_programming_that_power_interrupts_goes_on_in_the_bootloader(tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        rig.stage(images)
        ecu.control("fault", kind="power-cut", flash_operation=4, off_s=0.1)
        rig.activate(images)
        assert ecu.runs == "2.0.0"
        sent = rig.requests(SAMPLE)
        assert sent.count("31010203") == 1, "the bootloader has no preconditions to check"
        assert any(event.event == "flash.in_bootloader" for event in rig.events())


def test_a_gateway_that_was_killed_goes_on_in_the_bootloader_and_knows_the_way_back(tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        rig.stage(images)
        ecu.control("fault", kind="nrc", service=0x36, nrc=0x72, count=2)
        with pytest.raises(EcuRefused, match=r"36 01 transfer data.*given up after 3 attempts"):
            rig.activate(images)
        assert ecu.runs == "", "there is no application"
        rig.restart()
        identity = rig.vehicle.identify()[SAMPLE]
        assert (identity.software_version, identity.active.state) == ("0.0.0", SlotState.INVALID)
        rig.activate(images)
        assert ecu.runs == "2.0.0"
        rig.restart()
        rig.revert(images)
        assert ecu.runs == "1.0.0"
        assert rig.vehicle.identify()[SAMPLE].software_version == "1.0.0"
        rig.revert(images)
        assert ecu.runs == "1.0.0", "a second reverting has nothing to do"


@pytest.mark.parametrize("nrc", [0x24, 0x33])
def test_an_ecu_that_refuses_what_was_sent_to_all_because_it_was_reset_is_asked_alone(nrc: int, tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        rig.stage(images)
        ecu.control("fault", kind="nrc", service=0x10, nrc=nrc, count=1)
        rig.activate(images)
        assert ecu.runs == "2.0.0"


def test_without_the_image_before_a_rollback_fails_and_names_what_is_missing(tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu], knows_former=False) as rig:
        images = rig.images("2.0.0")
        rig.stage(images)
        rig.activate(images)
        with pytest.raises(FlashError, match=r"revert: the image of 1\.0\.0 is not at hand: have the image flashed"):
            rig.revert(images)
        assert ecu.runs == "2.0.0"


def test_an_image_that_does_not_come_up_leaves_its_bootloader_and_is_reverted(tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        rig.stage(images)
        ecu.control("fault", kind="boot-fail", count=1)
        rig.activate(images)
        with pytest.raises(FlashError, match=r"2\.0\.0 did not come up in time: it is in its bootloader"):
            rig.verify(images)
        rig.revert(images)
        assert ecu.runs == "1.0.0"


def test_an_image_of_another_version_than_was_stated_is_replaced_by_the_former_one(tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        (image,) = rig.images("1.5.0")
        misnamed = [replace(image, version="2.0.0")]
        rig.stage(misnamed)
        rig.activate(misnamed)
        assert ecu.runs == "1.5.0"
        with pytest.raises(FlashError, match=r"2\.0\.0 did not come up in time: it runs 1\.5\.0"):
            rig.verify(misnamed)
        rig.revert(misnamed)
        assert ecu.runs == "1.0.0"


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (Payload("S-record"), "it is Intel HEX, but S-record was signed"),
        (None, "it is an MCUboot image, but flash profile single-bank sends program files"),
        (
            Payload("Intel HEX", None, ((FLASH_BASE, SIZE - 1),)),
            r"its segments are 0x8000000 \(1152 bytes\), but 0x8000000 \(1151 bytes\) were signed",
        ),
    ],
)
def test_an_image_that_does_not_fit_is_refused_before_anything_is_sent(
    payload: Payload | None, problem: str, tmp_path: Path
) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        (image,) = rig.images("2.0.0")
        wrong = replace(image, payload=payload)
        with pytest.raises(FlashError, match=problem):
            rig.stage([wrong])
        assert set(rig.requests(SAMPLE)) == {"22f189"}, "only its version was read"


def test_a_board_that_lacks_nearly_everything_is_updated_beside_one_that_silences_the_bus(tmp_path: Path) -> None:
    bus = virtual_bus()
    with (
        EcuOnBus("minimal", 1, tmp_path, bus) as minimal,
        EcuOnBus(SAMPLE, 2, tmp_path, bus) as other,
        BusRig(tmp_path, [minimal, other]) as rig,
    ):
        rig.update(rig.images("2.0.0"))
        assert (minimal.runs, other.runs) == ("2.0.0", "2.0.0")
        # What the other one has in pre-programming was sent to it alone: a functional request would have reached the board, too.
        functional = [event.data["request"] for event in rig.events() if "functional_id" in event.data]
        assert functional == []
        assert {"8582", "288301"} <= set(rig.requests(SAMPLE))
        assert {each[:2] for each in rig.requests("minimal")} == {"10", "11", "22", "31", "34", "36", "37", "3e"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["single-bank", "minimal", "two-banks", "secondary-bootloader"])
def test_power_that_goes_in_any_flash_operation_of_an_update_and_of_its_way_back(name: str, tmp_path: Path) -> None:
    with EcuOnBus(name, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images, job, cut = rig.images("2.0.0"), 0, 1
        while True:
            job += 1
            before = ecu.control("state")["flash_operations"]
            ecu.control("fault", kind="power-cut", flash_operation=cut, off_s=0.05, mode=CUTS[cut % len(CUTS)])
            rig.stage(images, f"job-{job}")
            rig.activate(images, f"job-{job}")
            assert ecu.runs == "2.0.0", f"cut at operation {cut}"
            rig.revert(images, f"job-{job}")
            assert ecu.runs == "1.0.0", f"cut at operation {cut}"
            if ecu.control("state")["flash_operations"] - before < cut:
                break  # there were fewer operations than that
            cut += 1
        assert cut > 5


def test_an_ecu_that_is_silent_at_first_is_waited_for(tmp_path: Path) -> None:
    with EcuOnBus(SAMPLE, 1, tmp_path, virtual_bus()) as ecu, BusRig(tmp_path, [ecu]) as rig:
        images = rig.images("2.0.0")
        ecu.control("fault", kind="silent", count=2)
        rig.stage(images)
        ecu.control("fault", kind="silent", count=2)
        rig.activate(images)
        assert ecu.runs == "2.0.0"
