"""The example repository, as its user has it: otabench installed from its wheel, nothing of this checkout on the path."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "cloud", "ecu_firmware_sim", "proto")
OUTCOMES = {
    "test_an_ecu_tells_its_software_version[engine]": "",
    "test_an_ecu_tells_its_software_version[adas]": "",
    "test_a_wrong_key_is_refused": "",
    "test_a_long_record_comes_in_one_fd_frame": "feature:canfd: bench bench.yaml has no 'canfd'",
    "test_an_update_ends_on_the_new_version": "",
    "test_both_ecus_go_back_when_one_does_not_boot": "",
    "test_a_flipped_bit_in_the_running_slot_is_noticed": "destructive: it may damage a board's contents",
    "test_a_board_keeps_its_version_without_supply": "hil: bench bench.yaml has no real board",
}


def run(*command: str | Path, cwd: Path) -> str:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "OTABENCH_RE"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=350,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def required_by(wheel: Path) -> set[str]:
    """The distributions that pip would install with the wheel and pytest, by name; no extras but those that are asked for."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    wanted = [Requirement(line) for line in ["pytest", *lines]]
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        for extra in ("", *requirement.extras):
            key = canonicalize_name(requirement.name), extra
            if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            seen.add(key)
            for line in metadata.requires(requirement.name) or []:
                below = Requirement(line)
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    below.marker = None
                    wanted.append(below)
    return {name for name, _ in seen}


def entries_of(distribution: metadata.Distribution) -> set[Path]:
    """What a distribution has directly in site-packages."""
    tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}
    return {Path(str(distribution.locate_file(top))) for top in tops}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """otabench's wheel, built from a copy of the sources by the build backend itself: no network, no isolation."""
    source = tmp_path / "source"
    source.mkdir()
    for package in (*PACKAGES, "otabench"):  # otabench: the links to the packages
        shutil.copytree(ROOT / package, source / package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-c", "from setuptools.build_meta import build_wheel; build_wheel('.')", cwd=source)
    return next(source.glob("otabench-*.whl"))


@pytest.fixture
def users_python(tmp_path: Path, wheel: Path) -> Path:
    """The interpreter of a clean virtual environment: the wheel, links to what its metadata requires and what that requires, and
    pytest; nothing else that this environment has."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    for entry in {entry for name in required_by(wheel) for entry in entries_of(metadata.distribution(name))}:
        link = site / entry.name
        link.symlink_to(entry)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile")
    run(sys.executable, "-m", "pip", "--python", python, "install", *quiet, wheel, cwd=tmp_path)
    return python


def test_the_users_environment_has_what_the_wheel_requires_and_no_more(wheel: Path, users_python: Path) -> None:
    required = required_by(wheel)
    assert {"python-can", "udsoncan", "pytest", "markupsafe"} <= required
    assert required.isdisjoint({"otabench", "ruff", "mypy", "hypothesis", "selenium", "pytest-timeout"})
    found = run(
        users_python,
        "-c",
        "from importlib import metadata; print(*(d.name for d in metadata.distributions()))",
        cwd=wheel.parent,
    )
    assert {canonicalize_name(name) for name in found.split()} == {*required, "otabench"}


@pytest.mark.vcan
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_example_repository_passes_from_the_wheel(tmp_path: Path, users_python: Path) -> None:
    repository = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", repository, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs"))
    where = run(
        users_python, "-c", "import otabench.bench.pytest_plugin as plugin; print(plugin.__file__)", cwd=repository
    )
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")
    said = run(users_python, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=junit.xml", cwd=repository)
    found = {}
    for case in ElementTree.parse(repository / "junit.xml").iter("testcase"):
        assert all(child.tag == "skipped" for child in case), said
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
