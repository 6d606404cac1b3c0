"""The example repository, as its user has it: otabench installed from its wheel, nothing of this checkout on the path."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from otabench.bench.bus.environment import NO_KERNEL_CAN
from tests.installed.environments import UsersEnvironment, run
from tests.test_layering import ROOT

OUTCOMES = {
    "test_an_ecu_tells_its_software_version[engine]": "",
    "test_an_ecu_tells_its_software_version[adas]": "",
    "test_a_wrong_key_is_refused": "",
    "test_a_long_record_uses_an_fd_frame": "feature:canfd: bench bench.yaml has no 'canfd'",
    "test_a_fault_and_its_trouble_code_end_with_the_test[before]": "",
    "test_a_fault_and_its_trouble_code_end_with_the_test[low]": "",
    "test_a_fault_and_its_trouble_code_end_with_the_test[after]": "",
    "test_each_test_has_a_folder_of_its_own[a/b]": "",
    "test_each_test_has_a_folder_of_its_own[a b]": "",
    "test_own_images_follow_one_another_the_second_as_a_patch": "",
    "test_an_update_ends_on_the_new_version": "",
    "test_both_ecus_go_back_when_one_does_not_boot": "",
    "test_a_flipped_bit_in_the_running_slot_is_noticed": "destructive: it may damage a board's contents",
    "test_a_board_keeps_its_version_without_supply": "hil: bench bench.yaml has no real board",
}


# On this kernel by default: a guest kernel takes four times as long to make wheel and environment and to start everything.
@pytest.mark.parametrize(
    "kernel_can",
    [
        pytest.param(False, id="udp-multicast"),
        pytest.param(True, id="vcan0", marks=[pytest.mark.vcan, pytest.mark.exhaustive]),
    ],
)
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_example_repository_passes_from_the_wheel(
    tmp_path: Path, users_environment: UsersEnvironment, monkeypatch: pytest.MonkeyPatch, kernel_can: bool
) -> None:
    monkeypatch.setenv(NO_KERNEL_CAN, "0" if kernel_can else "1")
    repository = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", repository, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs"))
    printed = run(
        users_environment.python, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=junit.xml", cwd=repository
    )
    found = {}
    for case in ElementTree.parse(repository / "junit.xml").iter("testcase"):
        assert all(child.tag == "skipped" for child in case), printed
        found[case.get("name")] = " ".join(str(child.get("message")) for child in case)
    assert found.keys() == OUTCOMES.keys()
    for name, reason in OUTCOMES.items():
        assert found[name].startswith(reason) and bool(found[name]) == bool(reason), (name, found[name])
    assert list((repository / "runs" / "latest" / "can").glob("powertrain.*"))


def test_every_example_is_judged() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "examples" / "tests").glob("*.py"))
    assert {name.partition("[")[0] for name in OUTCOMES} == {
        line.removeprefix("def ").partition("(")[0] for line in text.splitlines() if line.startswith("def test_")
    }
