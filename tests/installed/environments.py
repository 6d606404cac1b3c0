"""What the tests of this folder are made of: otabench's wheel, wheels of installed distributions, and users' environments.

A user's environment holds links to distributions of the environment that runs the tests, and what pip installs into it from
files. So nothing is downloaded, and nothing of this checkout is on the path.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_layering import PACKAGES, ROOT

PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints, run without the variables of this Python, this pytest and this suite."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "OTABENCH_RE"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=350,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Return otabench's wheel, built from a copy of the sources in `folder` by the build backend: no network, no isolation."""
    source = folder / "source"
    source.mkdir()
    for package in (*PACKAGES, "otabench", "setup"):  # otabench: the links to the packages, and to setup
        shutil.copytree(ROOT / package, source / package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-c", "from setuptools.build_meta import build_wheel; build_wheel('.')", cwd=source)
    return next(source.glob("otabench-*.whl"))


def wheel_of_installed(name: str, folder: Path) -> Path:
    """Return a wheel in `folder` made from the files of an installed pure Python distribution."""
    distribution = metadata.distribution(name)
    wheel = folder / f"{name.replace('-', '_')}-{distribution.version}-py3-none-any.whl"
    of_the_installer = {"INSTALLER", "REQUESTED", "direct_url.json"}
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in distribution.files or []:
            if "__pycache__" not in file.parts and file.name not in of_the_installer:
                archive.write(str(distribution.locate_file(file)), str(file))
    return wheel


def required_by(wheel: Path) -> set[str]:
    """Return the names of the distributions that pip would install with the wheel and pytest; extras only where required."""
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
    """Return what a distribution has directly in site-packages."""
    tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}
    return {Path(str(distribution.locate_file(top))) for top in tops}


class UsersEnvironment:
    """A virtual environment with links to what a wheel and pytest require, for pip to install into."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        """Make it in `folder`; `wheel` is not installed yet."""
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.scripts = folder / "bin"
        self.python = self.scripts / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site_packages = folder / "lib" / version / "site-packages"
        for entry in {entry for name in required_by(wheel) for entry in entries_of(metadata.distribution(name))}:
            (self.site_packages / entry.name).symlink_to(entry)

    def install(self, wheel: Path) -> None:
        """Install a wheel, without what it requires: that is linked."""
        # Not compiled: what a test imports is compiled once, by the first process that imports it.
        options = ("--no-index", "--no-deps", "--no-compile")
        run(sys.executable, *PIP, "--python", self.python, "install", *options, wheel, cwd=self.folder)

    def uninstall(self, name: str) -> None:
        """Uninstall a distribution that was installed from a wheel."""
        run(sys.executable, *PIP, "--python", self.python, "uninstall", "--yes", name, cwd=self.folder)
