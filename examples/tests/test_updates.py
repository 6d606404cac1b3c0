"""What an update must do, and what must be left when it fails."""

import pytest


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
