"""What an update must do, and what must be left when it fails."""

import json

import pytest

from otabench.bench.firmware import images


def versions(ecus):
    return {name: ecu.software_version() for name, ecu in ecus.items()}


def test_an_update_ends_on_the_new_version(campaign, ecus):
    wanted = campaign.next_version()
    job = campaign.install()
    assert job.state == "SUCCEEDED", job.reason
    assert set(versions(ecus).values()) == {wanted}


def test_both_ecus_go_back_when_one_does_not_boot(campaign, ecus, fault):
    before = versions(ecus)
    fault("boot-fail", ecu="engine")
    job = campaign.install()
    assert job.state == "ROLLED_BACK", job.reason
    assert versions(ecus) == before


def own_image(bench, folder, version, binary):
    """Pack a program into an image for the engine, signed with the bench's own key."""
    entry = bench.topology.ecus["engine"]
    details = images.ImageDetails(ecu="engine", hardware_id=entry.hardware_id, version=version)
    packed = images.pack(binary, details, keys_dir=bench.folder.keys, out=folder / f"engine-{version}.bin")
    return packed.path.read_bytes()


def test_own_images_follow_one_another_the_second_as_a_patch(campaign, bench, ecu, tmp_path):
    program = bytes(range(256)) * 80
    for binary, transfer in ((program, "full"), (program + b"one line more", "delta")):
        version = campaign.next_version()
        image = own_image(bench, tmp_path, version, binary)
        job = campaign.install(version, images={"engine": image}, ecus=["engine"], transfer=transfer)
        assert job.state == "SUCCEEDED", job.reason
        assert ecu.software_version() == version
    events = [json.loads(line)["event"] for line in bench.folder.trace.read_text().splitlines()]
    assert "flash.patch_refused" not in events


@pytest.mark.destructive
def test_a_flipped_bit_in_the_running_slot_is_noticed(ecu, fault, power):
    fault("bit-rot", slot=ecu.identity().active_slot, offset=4096)
    power.cycle(wait=False)
    with pytest.raises(Exception, match="session"):
        ecu.wait_until_up()


@pytest.mark.hil
def test_a_board_keeps_its_version_without_supply(ecu, power):
    before = ecu.software_version()
    power.cycle()
    assert ecu.software_version() == before
