"""A bench that was started by sudo has the rights of the user who did it; root's are left for setting up CAN."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.bus import rights
from otabench.bench.bus.rights import InvokingUser, invoking_user
from otabench.bench.errors import BenchError
from tests.needs import needs

BY_SUDO = {"SUDO_UID": "1000", "SUDO_GID": "100"}
STORY = """
import json, os, subprocess, sys
from pathlib import Path
from otabench.bench.bus import rights
folder = Path(sys.argv[1])
user = rights.drop_to_invoking_user()
(folder / "made").write_text("x")
def ids(): return subprocess.run(["id", "-u"], capture_output=True, text=True).stdout.strip()
def child_ids():
    return subprocess.run(["sh", "-c", "grep -E ^Uid: /proc/self/status"], capture_output=True, text=True).stdout.split()[1:]
with rights.elevated():
    inside = (os.geteuid(), ids())
print(json.dumps({"user": [user.uid, user.gid], "euid": os.geteuid(), "child": ids(), "child_ids": child_ids(),
    "elevated": inside, "after": os.geteuid(), "groups": os.getgroups(), "gids": os.getresgid(),
    "owner": (folder / "made").stat().st_uid}))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that everybody may write into. Those above ``tmp_path`` are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.parametrize(
    ("environ", "is_root", "user"),
    [
        (BY_SUDO, True, InvokingUser(1000, 100)),
        (BY_SUDO, False, None),  # sudo -u somebody
        ({}, True, None),  # root of a container
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, True, None),  # root used sudo
        ({**BY_SUDO, "OTABENCH_GUEST": "12-ab34"}, True, None),
    ],
)
def test_the_user_who_called_sudo_is_taken(environ: dict[str, str], is_root: bool, user: InvokingUser | None) -> None:
    assert invoking_user(environ, is_root=is_root) == user


@pytest.mark.parametrize("value", ["", "-1", "root", "4294967295", "1e3", "٣"])
def test_a_number_that_sudo_would_not_set_is_refused(value: str) -> None:
    with pytest.raises(BenchError, match="SUDO_UID="):
        invoking_user({**BY_SUDO, "SUDO_UID": value}, is_root=True)
    with pytest.raises(BenchError, match="SUDO_GID="):
        invoking_user({**BY_SUDO, "SUDO_GID": value}, is_root=True)


@needs(os.geteuid() == 0, "taking another user's rights needs root")
def test_processes_have_the_users_rights_and_root_is_taken_for_commands_alone(open_folder: Path) -> None:
    environ = {**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534"}
    environ.pop("OTABENCH_GUEST", None)
    done = subprocess.run(
        [sys.executable, "-c", STORY, str(open_folder)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["user"] == [65534, 65534]
    assert (seen["euid"], seen["after"], seen["child"]) == (65534, 65534, "65534")
    # A guest's files are in the host's file system, where they belong to whoever started the guest.
    assert seen["owner"] == 65534 or "OTABENCH_GUEST" in os.environ
    assert seen["child_ids"] == ["65534"] * 4  # real, effective, saved: no way back to root
    assert seen["elevated"] == [0, "0"]
    assert (0 in seen["groups"], seen["gids"]) == (False, [65534] * 3)


def test_without_dropped_rights_nothing_is_elevated() -> None:
    before = os.getresuid()
    with rights.elevated():
        assert os.getresuid() == before
    assert not rights.are_dropped()


FORKED = """
import sys
from pathlib import Path
from otabench.bench.bus import rights
from otabench.bench.launcher.fork_server import ForkServer
rights.drop_to_invoking_user()
log = Path(sys.argv[1]) / "log"
server = ForkServer((), is_fork=True)
server.spawn("show_ids", [], log=log).wait(30)
print(log.read_text())
"""


@needs(os.geteuid() == 0, "taking another user's rights needs root")
def test_a_process_that_is_forked_cannot_become_root_again(open_folder: Path) -> None:
    (open_folder / "show_ids.py").write_text("import os\nprint(*os.getresuid(), *os.getresgid())\n")
    environ = {**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534", "PYTHONPATH": str(open_folder)}
    environ.pop("OTABENCH_GUEST", None)
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(open_folder)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["65534"] * 6, done.stderr
