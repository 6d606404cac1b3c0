"""``setup/guest/guests.py`` and ``console.py``: which guest a command joins, and what is quoted of one that does not start.

Pure; what needs a guest that runs is in ``setup/guest/selftest.sh``.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_with_can import SETUP


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"otabench_setup_{name}", SETUP / f"guest/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


guests, console = load("guests"), load("console")


def guest(number: int, folder: str, *command: str) -> Any:
    return guests.Guest(Path(f"/run/user/1/{number}-abcd"), Path(folder), command or ("make", "up"), 1.8e9 + number)


class TestChoose:
    MINE, OTHER = guest(1, "/home/me/mine"), guest(2, "/home/me/other", "pytest", "-k", "a b")

    @pytest.mark.parametrize("started", [[MINE, OTHER], [OTHER, MINE]])
    def test_the_guest_of_this_folder_is_joined_whichever_is_newer(self, started: list[Any]) -> None:
        assert guests.choose(started, "", Path("/home/me/mine")) is self.MINE

    def test_from_a_folder_below_the_nearest_is_joined(self) -> None:
        near, far = guest(3, "/home/me/mine/examples"), self.MINE
        assert guests.choose([far, near], "", Path("/home/me/mine/examples/tests")) is near
        assert guests.choose([far, near], "", Path("/home/me/mine/docs")) is far

    @pytest.mark.parametrize("folder", ["/home/me", "/home/me/mine2", "/"])
    def test_the_only_guest_is_not_joined_from_another_folder(self, folder: str) -> None:
        with pytest.raises(guests.GuestError) as caught:
            guests.choose([self.OTHER], "", Path(folder))
        for said in (folder, "2-abcd", "/home/me/other", "pytest -k 'a b'", "--join=ID", "since 20"):
            assert said in str(caught.value)

    def test_two_guests_of_one_folder_are_listed(self) -> None:
        with pytest.raises(guests.GuestError, match="2 guests run in /home/me/mine") as caught:
            guests.choose([self.MINE, guest(3, "/home/me/mine"), self.OTHER], "", Path("/home/me/mine"))
        assert "1-abcd" in str(caught.value) and "3-abcd" in str(caught.value) and "2-abcd" not in str(caught.value)

    def test_a_guest_is_joined_by_its_id_from_anywhere(self) -> None:
        assert guests.choose([self.MINE, self.OTHER], "2-abcd", Path("/")) is self.OTHER
        with pytest.raises(guests.GuestError, match=r"no guest 9-abcd is running.*\n.*1-abcd"):
            guests.choose([self.MINE], "9-abcd", Path("/home/me/mine"))

    def test_without_any_guest_the_way_to_start_one_is_named(self) -> None:
        with pytest.raises(guests.GuestError, match="make up"):
            guests.choose([], "", Path("/"))

    def test_a_guest_is_one_line_whatever_its_command_holds(self) -> None:
        line = guest(1, "/a", "sh", "-c", "echo a\n\x1b[2J" + "b" * 500).line()
        assert line.isprintable() and len(line) < 160

    def test_an_id_is_told_from_a_command(self) -> None:
        """``with-can --join ID CMD`` and ``--join CMD``: the pattern in with-can is that of the names of run directories."""
        assert guests.ID.pattern in (SETUP / "with-can").read_text()
        assert guests.ID.fullmatch("4377-37ab") and not guests.ID.fullmatch("candump")


PANIC = (
    """<6>VFS: Mounted root (hostfs filesystem).\r
<3>hostfs: Unknown parameter '/home/user/.cache/x'\r
{init}<0>Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r
<4>CPU: 0 PID: 1 Comm: init\r
"""
    + "<4> [<00000000600230f8>] ? panic+0x0/0x3c5\r\n" * 30
    + "\r\n"
)


class TestConsole:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (PANIC.format(init="otabench init: mount failed: why\r\n"), "mount failed: why"),
            (PANIC.format(init=""), "hostfs: Unknown parameter '/home/user/.cache/x'"),
            ("no memory for you\n\n", "no memory for you"),
            ("", "nothing was written"),
            ("Kernel panic - not syncing: at once\n", "Kernel panic - not syncing: at once"),
        ],
    )
    def test_the_reason_is_the_line_that_tells_why(self, text: str, told: str) -> None:
        assert console.reason(text) == told

    def test_the_last_words_end_at_the_panic_not_in_its_trace(self) -> None:
        assert console.last_words(PANIC.format(init="")).splitlines()[-1].startswith("Kernel panic")
        assert "hostfs: Unknown parameter" in console.last_words(PANIC.format(init=""))


class TestInit:
    """The guest's first process, with programs in place of `mount`: one for each pair of kernel and util-linux."""

    @pytest.mark.parametrize("taken", ["hostfs=/run/1-abcd", "/run/1-abcd"])
    def test_the_hosts_directory_is_mounted_by_the_name_of_the_option_or_by_the_path(
        self, tmp_path: Path, taken: str
    ) -> None:
        assert self.mount(tmp_path, taken).returncode == 0

    def test_a_mount_that_fails_both_ways_is_one_line_with_both_reasons(self, tmp_path: Path) -> None:
        done = self.mount(tmp_path, "neither")
        assert done.returncode == 1
        assert console.reason(done.stdout) == (
            "the host's /run/1-abcd cannot be mounted: -o hostfs=PATH: no hostfs=/run/1-abcd here; -o PATH: no /run/1-abcd here"
        )

    @staticmethod
    def mount(tmp_path: Path, taken: str) -> subprocess.CompletedProcess[str]:
        program = tmp_path / "mount"
        program.write_text(f'#!/bin/sh\n[ "$4" = "{taken}" ] && exit 0\necho "no $4\nhere"; exit 32\n')
        program.chmod(0o755)
        functions = (
            (SETUP / "guest/init").read_text().split("\nstep mount")[0].replace("PATH=/usr", f"PATH={tmp_path}:/usr")
        )
        return subprocess.run(
            ["sh", "-c", f"{functions}\nmount_hostfs /run/1-abcd /mnt"], capture_output=True, text=True, check=False
        )
