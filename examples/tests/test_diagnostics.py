"""What a tester may ask the ECUs, and what it may not."""

import pytest
from udsoncan.exceptions import NegativeResponseException

SOFTWARE_VERSION = 0xF189
LOW_VOLTAGE = 0x056200
INVALID_KEY = 0x35
CONFIRMED = 0x08


@pytest.mark.parametrize("ecu", ["engine", "adas"], indirect=True)
def test_an_ecu_tells_its_software_version(ecu, uds_client):
    answer = uds_client.read_data_by_identifier(SOFTWARE_VERSION)
    version = answer.service_data.values[SOFTWARE_VERSION]
    assert version == ecu.active_slot().version


def test_a_wrong_key_is_refused(uds_client, can_log):
    uds_client.change_session(0x03)
    uds_client.request_seed(0x01)
    with pytest.raises(NegativeResponseException) as refusal:
        uds_client.send_key(0x02, bytes(32))
    assert refusal.value.response.code == INVALID_KEY
    can_log.wait_for(lambda frame: frame.data[1:4] == bytes((0x7F, 0x27, INVALID_KEY)))


def trouble_codes(uds_client):
    return [dtc.id for dtc in uds_client.get_dtc_by_status_mask(CONFIRMED).service_data.dtcs]


@pytest.mark.parametrize("nominal", [True, False, True], ids=["before", "low", "after"])
def test_a_fault_and_its_trouble_code_end_with_the_test(uds_client, fault, nominal):
    if not nominal:
        fault("voltage", volts=7.5)
    assert trouble_codes(uds_client) == ([] if nominal else [LOW_VOLTAGE])


# Both names have the same readable form in a path; the folders must still differ.
@pytest.mark.parametrize("name", ["a/b", "a b"])
def test_each_test_has_a_folder_of_its_own(artifacts_dir, name):
    assert list(artifacts_dir.iterdir()) == []
    (artifacts_dir / "name.txt").write_text(name)


@pytest.mark.feature("canfd")
def test_a_long_record_uses_an_fd_frame(isotp, can_log):
    isotp.request(bytes.fromhex("22F1A1"))
    assert any(len(frame.data) > 8 for frame in can_log.frames())
