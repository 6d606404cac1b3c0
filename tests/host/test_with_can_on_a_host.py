"""`setup/with-can` where it has to choose: on a kernel that is not a guest already.

Collected only there (see conftest): the PATH and the directories the scripts look into are made up so that no kernel with
CAN is to be had. What boots real guests is in `setup/guest/selftest.sh` (`make guest-selftest`).
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import needs
from tests.test_with_can import SETUP, WITH_CAN, run, tool_dir

BUILD_TOOLS = ("gcc", "make", "flex", "bison", "bc")
"""Of a guest kernel."""
HEADERS = [path.parent for path in sorted(Path("/usr/src").glob("linux-headers-*/Module.symvers"))]
"""Headers of kernels, of this one or of others: canline is to compile, it is not loaded."""


@pytest.fixture
def barren(tmp_path: Path) -> dict[str, str]:
    """Surroundings in which no guest kernel can be had: nothing cached, no source, no compiler."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return {
        "PATH": str(tool_dir(tmp_path, "slirp4netns", "setpriv", "python3")),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "WITH_CAN_SOURCE_DIR": str(empty),
        "WITH_CAN": "guest",
    }


class TestWithoutAKernel:
    def test_which_says_none(self, barren: dict[str, str]) -> None:
        answer = run(WITH_CAN, "--which", **barren)
        assert (answer.returncode, answer.stdout) == (0, "none\n")

    def test_a_command_is_refused_with_the_reason_and_the_remedy(self, barren: dict[str, str], tmp_path: Path) -> None:
        answer = run(WITH_CAN, "touch", tmp_path / "ran", **barren)
        assert answer.returncode == 125
        assert "no kernel source in" in answer.stderr
        assert "setup/packages.sh run" in answer.stderr
        assert not (tmp_path / "ran").exists()

    def test_without_a_compiler_the_missing_tools_are_named(self, barren: dict[str, str]) -> None:
        Path(barren["WITH_CAN_SOURCE_DIR"], "linux-source-6.1.tar.gz").touch()
        answer = run(WITH_CAN, "true", **barren)
        assert answer.returncode == 125
        for tool in ("gcc", "make", "flex", "bison", "bc"):
            assert tool in answer.stderr

    def test_without_slirp4netns_it_is_named(self, barren: dict[str, str]) -> None:
        Path(barren["PATH"], "slirp4netns").unlink(missing_ok=True)
        assert "slirp4netns" in run(WITH_CAN, "true", **barren).stderr

    def test_fallback_runs_the_command_and_says_so_in_one_line(self, barren: dict[str, str]) -> None:
        answer = run(
            WITH_CAN, "--fallback", "sh", "-c", 'echo "$OTABENCH_NO_KERNEL_CAN $OTABENCH_KERNEL"; exit 7', **barren
        )
        assert (answer.returncode, answer.stdout) == (7, "1 none\n")
        assert len(answer.stderr.splitlines()) == 1
        assert "udp_multicast" in answer.stderr

    def test_the_command_does_not_receive_the_name_by_which_with_can_was_called(self, barren: dict[str, str]) -> None:
        answer = run(
            *(WITH_CAN, "--fallback", "sh", "-c", 'echo "${OTABENCH_CALLED_AS-unset}"'),
            **{**barren, "OTABENCH_CALLED_AS": "otabench with-can"},
        )
        assert answer.stdout.strip() == "unset"

    def test_fallback_has_nothing_to_build_and_is_no_failure(self, barren: dict[str, str]) -> None:
        assert run(WITH_CAN, "--fallback", "--build-only", **barren).returncode == 0
        assert run(WITH_CAN, "--build-only", **barren).returncode == 125

    def test_forced_native_names_the_reason_of_this_kernel(self, barren: dict[str, str]) -> None:
        if run(WITH_CAN, "--which", WITH_CAN="native").stdout == "native\n":
            pytest.skip("this kernel has CAN")
        answer = run(WITH_CAN, "true", **{**barren, "WITH_CAN": "native"})
        assert answer.returncode == 125
        assert "kernel" in answer.stderr

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="guest kernels are for x86_64 only")
    @needs(all(map(shutil.which, BUILD_TOOLS)), f"one of {', '.join(BUILD_TOOLS)} is missing: setup/packages.sh test")
    def test_a_build_that_fails_shows_its_log_and_leaves_nothing(self, barren: dict[str, str], tmp_path: Path) -> None:
        """The source is not an archive: tar fails, as the compiler would."""
        Path(barren["WITH_CAN_SOURCE_DIR"], "linux-source-6.1.tar.gz").write_text("no archive")
        answer = run(WITH_CAN, "true", **{**barren, "PATH": os.environ["PATH"]})
        assert answer.returncode == 125
        assert "tar" in answer.stderr
        assert ".log" in answer.stderr
        assert not list((tmp_path / "cache/otabench").glob("build.??????"))
        assert not list((tmp_path / "cache/otabench").glob("kernel-*/linux"))

    def test_options_after_the_command_belong_to_the_command(self, barren: dict[str, str]) -> None:
        answer = run(WITH_CAN, "--fallback", "--", "env", "printf", "%s|", "--which", "a b", **barren)
        assert (answer.returncode, answer.stdout) == (0, "--which|a b|")

    def test_a_kernel_without_can_is_told_apart(self) -> None:
        answer = run(SETUP / "vcan.sh", "--check", "vcan7")
        if answer.returncode in (0, 4):
            pytest.skip("this kernel has CAN")
        assert answer.returncode == 3
        assert "no vcan in this kernel" in answer.stdout


class TestCanlineScript:
    def test_a_wrong_call_is_told(self) -> None:
        answer = run(SETUP / "canline.sh", "--install")
        assert answer.returncode == 2
        assert "--build" in answer.stderr

    def test_without_headers_it_names_the_package_and_what_works_without(self, tmp_path: Path) -> None:
        answer = run(
            SETUP / "canline.sh", "--build", XDG_CACHE_HOME=str(tmp_path), CANLINE_KERNEL_BUILD=str(tmp_path / "none")
        )
        assert answer.returncode == 3
        assert f"linux-headers-{os.uname().release}" in answer.stderr
        assert "mean frame length" in answer.stderr

    @needs(shutil.which("make") and shutil.which("gcc"), "make or gcc is missing: setup/packages.sh test")
    def test_a_build_that_fails_shows_its_log_and_leaves_no_module(self, tmp_path: Path) -> None:
        headers = tmp_path / "headers"
        headers.mkdir()
        (headers / "Makefile").write_text("modules:\n\t@echo these are no headers; exit 1\n")
        answer = run(SETUP / "canline.sh", "--build", XDG_CACHE_HOME=str(tmp_path), CANLINE_KERNEL_BUILD=str(headers))
        assert answer.returncode == 1
        assert "these are no headers" in answer.stderr
        assert not list(tmp_path.glob("otabench/**/*.ko"))

    @needs(HEADERS, "no kernel headers in /usr/src: setup/packages.sh test")
    def test_it_builds_against_kernel_headers(self, tmp_path: Path) -> None:
        answer = run(
            SETUP / "canline.sh", "--build", XDG_CACHE_HOME=str(tmp_path), CANLINE_KERNEL_BUILD=str(HEADERS[-1])
        )
        assert answer.returncode == 0, answer.stderr
        assert Path(answer.stdout.strip()).read_bytes()[:4] == b"\x7fELF"

    def test_a_changed_source_is_another_guest_kernel(self, tmp_path: Path) -> None:
        setup = tmp_path / "setup"
        shutil.copytree(SETUP, setup)
        before = run(setup / "guest/build.sh", "--target", "6.1").stdout
        (setup / "canline/sch_canline.c").write_text("/* another one */")
        assert run(setup / "guest/build.sh", "--target", "6.1").stdout != before


@needs(shutil.which("slirp4netns"), "slirp4netns is missing: setup/packages.sh run")
class TestBeforeAGuestBoots:
    """The kernel here is a file that would betray itself by a mark: these runs must end before it starts."""

    @pytest.fixture
    def runtime_dir(self) -> Iterator[Path]:
        """A short one: the path of a socket in it has a limit."""
        with tempfile.TemporaryDirectory(prefix="otabench-", dir="/tmp") as directory:
            yield Path(directory)

    @pytest.fixture
    def fake(self, tmp_path: Path, runtime_dir: Path) -> dict[str, str]:
        variables = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "WITH_CAN": "guest"}
        variables["XDG_RUNTIME_DIR"] = str(runtime_dir)
        source = tmp_path / "source"
        source.mkdir()
        variables["WITH_CAN_SOURCE_DIR"] = str(source)
        target = run(SETUP / "guest/build.sh", "--target", "6.1", **variables).stdout.strip()
        assert target.startswith(str(tmp_path))
        kernel = Path(target)
        kernel.parent.mkdir(parents=True)
        kernel.write_text(f'#!/bin/sh\ntouch "{tmp_path}/booted"\necho "no memory for you"\nexit 1\n')
        kernel.chmod(0o755)
        return variables

    def test_a_port_in_use_is_named(self, fake: dict[str, str], tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            answer = run(WITH_CAN, "--forward", port, "true", **fake)
        assert answer.returncode == 125
        assert f"port {port}" in answer.stderr
        assert "in use" in answer.stderr
        assert not (tmp_path / "booted").exists()

    def test_a_memory_size_that_is_none_is_named(self, fake: dict[str, str], tmp_path: Path) -> None:
        answer = run(WITH_CAN, "true", **fake, WITH_CAN_MEMORY="lots")
        assert (answer.returncode, "WITH_CAN_MEMORY=lots" in answer.stderr) == (125, True)
        answer = run(WITH_CAN, "true", **fake, WITH_CAN_MEMORY="900000G")
        assert (answer.returncode, "no directory has room" in answer.stderr) == (125, True)
        assert not (tmp_path / "booted").exists()

    def test_join_of_a_guest_that_does_not_run_is_refused(self, fake: dict[str, str]) -> None:
        answer = run(WITH_CAN, "--join=none-of-this-name", "true", **fake)
        assert answer.returncode == 125
        assert "is running" in answer.stderr

    def test_a_kernel_that_dies_shows_its_last_words_and_leaves_nothing(
        self, fake: dict[str, str], tmp_path: Path, runtime_dir: Path
    ) -> None:
        answer = run(WITH_CAN, "true", **fake)
        assert answer.returncode == 125
        assert (tmp_path / "booted").exists()
        assert "no memory for you" in answer.stderr
        assert list((runtime_dir / "otabench/guests").iterdir()) == []

    def test_fallback_covers_a_guest_that_does_not_start(self, fake: dict[str, str]) -> None:
        answer = run(WITH_CAN, "--fallback", "sh", "-c", "echo $OTABENCH_NO_KERNEL_CAN", **fake)
        assert (answer.returncode, answer.stdout) == (0, "1\n")
        assert len(answer.stderr.splitlines()) == 1
