"""Dependencies on other ECUs' versions: what the Director's Targets promise, kept with the slot, judged by FF01, 0210 and every boot.

The ECU under test has image number 1; image 2 is another ECU of the vehicle. A dependency without a promise is not met.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest
from tuf.api._payload import Targets
from tuf.api.metadata import Metadata

from otabench.ecu_firmware_sim.boot import dependencies
from otabench.ecu_firmware_sim.boot.boot_control import BootControl
from otabench.ecu_firmware_sim.boot.bootloader import BootNote
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.factory import factory_memory
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.proto import image_format
from otabench.proto.image_format import ImageVersion
from tests.ecu_firmware_sim.factory import SERIAL, SMALL, VIN, Bench, ImageMaker, Keys, Manifest

MET, NOT_MET = "71 01 FF 01 00", "71 01 FF 01 01"
NEEDS_TWO = "(2,2.0.0)"


def staged(ecu: Bench, image: bytes, *, promised: dict[int, str], version: int = 1) -> int:
    return ecu.stage(image, manifest=Manifest(image, versions=promised, version=version))


def confirmed(ecu: Bench, image: bytes, *, promised: dict[int, str]) -> None:
    """Stage, activate, boot and confirm an image in slot 1."""
    staged(ecu, image, promised=promised)
    ecu.must("31 01 02 10")
    assert ecu.boot().slot == 1
    ecu.unlock()
    ecu.must("31 01 02 11")


def forged(ecu: Bench, **changes: object) -> None:
    """Write a boot control record that no path of this ECU leads to."""
    current = ecu.boot_control.current
    fields = {"states": current.states, "preferred": current.preferred, "boots_left": current.boots_left}
    fields |= {"minimum_security_counter": current.minimum_security_counter, "promised": current.promised}
    ecu.boot_control.commit(BootControl(**(fields | changes)))  # type: ignore[arg-type]


def resigned(image: bytes, keys: Keys, change: Callable[[bytearray], None]) -> bytes:
    """Return the image with something changed in what its digest covers, digest and signature made anew: the signer's mistake."""
    found = image_format.parse(image)
    data = bytearray(image)
    change(data)
    digest = hashlib.sha256(data[: found.hashed_size]).digest()
    for kind, value in ((image_format.TLV_SHA256, digest), (image_format.TLV_ED25519, keys.image.sign(digest))):
        old = found.tlv(kind)
        assert old is not None
        at = data.rindex(old)
        data[at : at + len(old)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("dependency", "promised", "answer"),
    [
        ("(2,2.0.0)", {1: "2.0.0", 2: "2.0.0"}, MET),
        ("(2,2.0.0)", {2: "2.0.1"}, MET),
        ("(2,2.0.0+5)", {2: "2.0.0+4"}, NOT_MET),
        ("(2,2.0.0)", {1: "2.0.0", 2: "1.9.9"}, NOT_MET),
        ("(2,2.0.0)", {1: "2.0.0", 3: "2.0.0"}, NOT_MET),
        ("(2,2.0.0)", {}, NOT_MET),
        ("(2,2.0.0)(3,1.0.0)", {2: "2.0.0", 3: "1.0.0"}, MET),
        ("(2,2.0.0)(3,1.0.1)", {2: "2.0.0", 3: "1.0.0"}, NOT_MET),
        ("(2,1.0.0)(2,2.0.0)", {2: "1.5.0"}, NOT_MET),
        ("(0,1.0.0)(2,2.0.0)", {2: "2.0.0"}, MET),
        ("(0,1.0.1)(2,2.0.0)", {2: "2.0.0"}, NOT_MET),
    ],
)
def test_a_staged_image_is_judged_by_what_the_signed_targets_promise(
    ecu: Bench, make_image: ImageMaker, dependency: str, promised: dict[int, str], answer: str
) -> None:
    assert staged(ecu, make_image("2.0.0", counter=2, dependency=dependency), promised=promised) == 0
    assert ecu.ask("31 01 FF 01") == answer
    # 0210 says the same: an ECU does not rely on a tester that asks FF01 first
    assert ecu.ask("31 01 02 10") == ("71 01 02 10 00" if answer == MET else "7F 31 22")
    assert ecu.states == f"CONFIRMED {'TRIAL' if answer == MET else 'STAGED'}"
    assert ecu.boot().slot == (1 if answer == MET else 0)


def test_what_is_not_met_is_said_in_words_by_a_trouble_code(ecu: Bench, make_image: ImageMaker) -> None:
    staged(ecu, make_image("2.0.0", counter=2, dependency=NEEDS_TWO), promised={2: "1.0.0"})
    ecu.ask("31 01 FF 01")
    found = ecu.dtcs.find(Dtc.IMAGE_REFUSED)
    assert found is not None and found[1] is not None
    assert found[1].text == "image 2.0.0 needs image 2 >= 2.0.0, the Targets it came with promise 1.0.0"


def test_a_later_check_memory_with_newer_targets_judges_anew(ecu: Bench, make_image: ImageMaker) -> None:
    image = make_image("2.0.0", counter=2, dependency=NEEDS_TWO)
    staged(ecu, image, promised={2: "1.0.0"})
    assert ecu.ask("31 01 FF 01") == NOT_MET
    ecu.download_metadata(Manifest(image, versions={2: "2.0.0"}, version=2).signed(ecu.keys.targets))
    assert ecu.ask("31 01 FF 01") == NOT_MET, "metadata that lies in the window is not accepted yet"
    assert ecu.must("31 01 02 02")[4] == 0
    assert ecu.ask("31 01 FF 01") == MET


def test_targets_that_promise_one_image_number_twice_are_refused(ecu: Bench, make_image: ImageMaker) -> None:
    image = make_image("2.0.0", counter=2, dependency=NEEDS_TWO)
    metadata = Metadata[Targets].from_bytes(Manifest(image, versions={2: "2.0.0"}).signed(ecu.keys.targets))
    promised = metadata.signed.unrecognized_fields["custom"]["vehicle"]
    promised.append({**promised[0], "ecu_serial": "S-3", "version": "1.0.0"})
    metadata.sign(ecu.keys.targets)
    ecu.unlock()
    ecu.download_metadata(metadata.to_bytes())
    ecu.erase()
    ecu.download_image(image)
    assert ecu.must("31 01 02 02")[4] == 6


def test_an_image_with_more_dependencies_than_an_ecu_keeps_is_no_image(ecu: Bench, make_image: ImageMaker) -> None:
    most = image_format.MAX_DEPENDENCIES
    numbers = range(2, 2 + most)
    fits = make_image("2.0.0", counter=2, dependency="".join(f"({number},1.0.0)" for number in numbers))
    assert staged(ecu, fits, promised=dict.fromkeys(numbers, "1.0.0")) == 0
    assert ecu.ask("31 01 FF 01") == MET
    over = make_image("2.0.0", counter=2, dependency="".join(f"({number},1.0.0)" for number in range(2, 3 + most)))
    assert staged(ecu, over, promised={}, version=2) == 1
    assert ecu.states == "CONFIRMED INVALID"


def test_an_image_with_a_malformed_dependency_is_no_image(ecu: Bench, make_image: ImageMaker, keys: Keys) -> None:
    def shorten(data: bytearray) -> None:  # two TLVs where one was: a dependency of 4 bytes, and something else
        at = data.index(struct.pack("<HHB3x", image_format.TLV_DEPENDENCY, 12, 2))
        data[at : at + 16] = struct.pack("<HHIHHI", image_format.TLV_DEPENDENCY, 4, 2, 0xA0, 4, 0)

    good = make_image("2.0.0", counter=2, dependency=NEEDS_TWO)
    assert staged(ecu, resigned(good, keys, lambda _: None), promised={2: "2.0.0"}) == 0, "signed anew it is as good"
    assert staged(ecu, resigned(good, keys, shorten), promised={2: "2.0.0"}, version=2) == 1


def test_every_boot_judges_by_the_promises_of_the_slot_that_it_boots(ecu: Bench, make_image: ImageMaker) -> None:
    needs_two = make_image("1.1.0", counter=1, dependency=NEEDS_TWO)
    confirmed(ecu, needs_two, promised={2: "2.0.0"})
    assert [ecu.boot().slot for _ in range(3)] == [1, 1, 1]

    # when: a campaign that promises other things is staged into the other slot, and reverted
    needs_three = make_image("1.2.0", counter=1, dependency="(3,3.0.0)")
    staged(ecu, needs_three, promised={3: "3.0.0"}, version=2)
    ecu.must("31 01 02 10")
    assert (ecu.boot().slot, ecu.states) == (0, "TRIAL CONFIRMED")
    ecu.unlock()
    ecu.must("31 01 02 12")

    # then: the old image runs again, by its own promises
    outcome = ecu.boot()
    assert (outcome.slot, outcome.notes) == (1, ())
    assert ecu.boot_control.current.promised == ((), ((2, ImageVersion(2, 0, 0)),))


def test_a_rollback_by_the_watchdog_goes_back_to_the_old_image_with_its_own_promises(
    ecu: Bench, make_image: ImageMaker
) -> None:
    confirmed(ecu, make_image("1.1.0", counter=1, dependency=NEEDS_TWO), promised={2: "2.0.0"})
    staged(ecu, make_image("1.2.0", counter=1, dependency="(3,3.0.0)"), promised={3: "3.0.0"}, version=2)
    ecu.must("31 01 02 10")
    assert [ecu.boot().slot for _ in range(4)] == [0, 0, 0, 1]
    assert ecu.states == "INVALID CONFIRMED"


def test_a_trial_whose_promises_are_not_enough_is_invalid_and_the_old_image_runs(
    ecu: Bench, make_image: ImageMaker
) -> None:
    staged(ecu, make_image("2.0.0", counter=2, dependency=NEEDS_TWO), promised={2: "1.0.0"})
    forged(ecu, states=(SlotState.CONFIRMED, SlotState.TRIAL), boots_left=3)
    outcome = ecu.boot()
    assert (outcome.slot, outcome.rolled_back_from, outcome.notes[0][0]) == (0, 1, BootNote.DEPENDENCY_NOT_MET)
    assert ecu.states == "CONFIRMED INVALID"


def test_a_confirmed_image_whose_promises_are_lost_gives_way_to_another_confirmed_one(
    ecu: Bench, make_image: ImageMaker
) -> None:
    confirmed(ecu, make_image("1.1.0", counter=1, dependency=NEEDS_TWO), promised={2: "2.0.0"})
    forged(ecu, promised=((), ()))
    outcome = ecu.boot()
    assert (outcome.slot, outcome.notes[0][:2]) == (0, (BootNote.DEPENDENCY_NOT_MET, 1))
    assert ecu.states == "CONFIRMED CONFIRMED", "it is a good image all the same"
    # and it is no way back either: the bootloader would not take it
    ecu.unlock()
    assert ecu.ask("31 01 02 12") == "7F 31 22"


def test_without_any_other_image_the_one_with_unmet_dependencies_boots(keys: Keys, make_image: ImageMaker) -> None:
    image = make_image("1.0.0", counter=1, dependency=NEEDS_TWO)
    policy = Bench(keys, image).policy
    memory = factory_memory(image, layout=SMALL, policy=policy, vin=VIN, serial=SERIAL)
    ecu = Bench(keys, image, memory=memory)
    outcome = ecu.boot()
    assert (outcome.slot, ecu.states) == (0, "CONFIRMED EMPTY")
    assert [note[0] for note in outcome.notes] == [BootNote.DEPENDENCY_NOT_MET]


def test_a_factory_image_boots_by_what_the_factory_built_in(keys: Keys, make_image: ImageMaker) -> None:
    image = make_image("1.0.0", counter=1, dependency=NEEDS_TWO)
    built_in = {1: ImageVersion(1, 0, 0), 2: ImageVersion(2, 0, 0)}
    policy = Bench(keys, image).policy
    memory = factory_memory(image, layout=SMALL, policy=policy, vin=VIN, serial=SERIAL, versions=built_in)
    assert Bench(keys, image, memory=memory).boot().notes == ()


def test_an_ecu_without_a_valid_image_is_rescued_by_one_that_names_itself(ecu: Bench, make_image: ImageMaker) -> None:
    ecu.flash.flip_bit(ecu.layout.slot_offset(0) + 0x300)
    assert ecu.boot().slot is None
    assert staged(ecu, make_image("2.0.0", counter=2, dependency="(0,1.5.0)(2,2.0.0)"), promised={2: "2.0.0"}) == 0
    assert ecu.ask("31 01 FF 01") == MET
    ecu.must("31 01 02 10")
    assert ecu.boot().slot == 1


def test_an_ecu_without_a_valid_image_takes_another_after_one_whose_dependencies_are_not_met(
    ecu: Bench, make_image: ImageMaker
) -> None:
    ecu.flash.flip_bit(ecu.layout.slot_offset(0) + 0x300)
    ecu.boot()
    image = make_image("2.0.0", counter=2, dependency=NEEDS_TWO)
    staged(ecu, image, promised={2: "1.0.0"})
    assert ecu.ask("31 01 02 10") == "7F 31 22"
    assert staged(ecu, image, promised={2: "2.0.0"}, version=2) == 0
    ecu.must("31 01 02 10")
    assert ecu.boot().slot == 1


def test_after_boot_control_is_lost_the_better_image_of_one_counter_is_the_one_that_depends_on_nobody(
    ecu: Bench, make_image: ImageMaker
) -> None:
    factory = make_image("1.0.0", counter=1, dependency=NEEDS_TWO)
    memory = factory_memory(factory, layout=SMALL, policy=ecu.policy, vin=VIN, serial=SERIAL)
    other = Bench(ecu.keys, factory, memory=memory)
    other.boot()
    other.trial(make_image("1.0.1", counter=1))
    for offset in other.layout.boot_control_offsets:
        other.flash.flip_bit(offset + 17)
    assert (other.boot().slot, other.states) == (1, "INVALID CONFIRMED")


def test_a_boot_control_record_of_an_earlier_version_is_read_without_promises(ecu: Bench) -> None:
    current = ecu.boot_control.current
    earlier = struct.pack(">BBBBI", SlotState.CONFIRMED, SlotState.EMPTY, 0, 0, 7)
    assert BootControl.decode(earlier) == BootControl(current.states, 0, 0, 7, ((), ()))


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_cut_short_boot_control_record_is_no_record(cut: int) -> None:
    whole = BootControl(
        (SlotState.CONFIRMED, SlotState.STAGED),
        0,
        0,
        1,
        (((2, ImageVersion(1, 2, 3, 4)),), ((3, ImageVersion(5, 6, 7)),)),
    )
    encoded = whole.encode()
    assert BootControl.decode(encoded) == whole
    shortened = encoded[:-cut]
    if len(shortened) in (0, 8):  # nothing, or a record of an earlier version
        return
    with pytest.raises((ValueError, LookupError, struct.error)):
        BootControl.decode(shortened)


def test_the_record_is_bounded_by_the_image_and_not_by_the_vehicle(make_image: ImageMaker) -> None:
    image = image_format.parse(make_image("2.0.0", counter=2, dependency="(2,1.0.0)(0,1.0.0)(2,1.1.0)(9,1.0.0)"))
    everybody = {number: ImageVersion(1, 1, number) for number in range(1, 200)}
    assert dependencies.kept(image, everybody) == ((2, ImageVersion(1, 1, 2)), (9, ImageVersion(1, 1, 9)))
