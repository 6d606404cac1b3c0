"""The wheel's contents, and that it works where other packages have names that otabench's folders have, too."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from otabench.bench.evidence import collect, document, package
from otabench.bench.evidence.verify import derived_parts
from tests.bench.evidence.run_folder import make_run
from tests.installed.environments import UsersEnvironment, required_by, run, wheel_of_installed
from tests.needs import needs
from tests.test_layering import PACKAGES, ROOT
from tests.test_with_can import IN_GUEST, tool_dir
from tests.test_with_can import run as run_with_can

USES = {
    "otabench": "import otabench.bench.cli, otabench.proto.ota_pb2 as ota; assert ota.DESCRIPTOR.services_by_name",
    "proto-plus": (
        "import proto\n"
        "class Note(proto.Message):\n"
        "    text = proto.Field(proto.STRING, number=1)\n"
        "assert Note.deserialize(Note.serialize(Note(text='x'))).text == 'x'"
    ),
}
"""What each distribution must be able to do, as a script."""

MODULES = (
    "otabench.cloud",
    "otabench.bench.gateway",
    "otabench.ecu_firmware_sim",
    "otabench.ecu_firmware_sim.sweep",
)
"""What is started with ``python -m``."""

USERS_PROJECT = {
    "bench.py": "NAME = 'own bench'\n",
    "cloud/__init__.py": "NAME = 'own cloud'\n",
    "proto/__init__.py": "NAME = 'own proto'\n",
    "test_names.py": (
        "import bench, cloud, proto\n"
        "import otabench.bench, otabench.cloud, otabench.proto\n"
        "from otabench.bench.gateway import agent\n"
        "def test_own_modules():\n"
        "    assert [m.NAME for m in (bench, cloud, proto)] == ['own ' + n for n in ('bench', 'cloud', 'proto')]\n"
        "def test_the_plugin(request):\n"
        "    assert request.config.pluginmanager.hasplugin('otabench')\n"
    ),
}


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_one_top_level_package(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"otabench"}


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    files = {
        f"otabench/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # Bench files, the HMI's pages, a UDS profile, the report's template: that `files` is not empty of them.
    assert {Path(name).suffix for name in files} >= {".py", ".yaml", ".css", ".js", ".html", ".j2", ".proto"}
    assert files - names_in(wheel) == set()


TRAVELS = ("with-can", "vcan.sh", "packages.sh", "canline.sh", "progress.sh", "README.md")
"""Of ``setup/`` itself; of its folders, everything but the self-test."""


def test_the_wheel_has_what_gives_a_machine_a_kernel_with_can(wheel: Path) -> None:
    setup = ROOT / "setup"
    files = [setup / name for name in TRAVELS] + [
        path
        for folder in ("guest", "canline")
        for path in (setup / folder).iterdir()
        if path.is_file() and not path.name.startswith("selftest")
    ]
    with zipfile.ZipFile(wheel) as archive:
        for path in files:
            found = archive.getinfo(f"otabench/setup/{path.relative_to(setup)}")
            assert archive.read(found) == path.read_bytes()
            executable = bool(path.stat().st_mode & 0o100)
            assert bool(found.external_attr >> 16 & 0o100) == executable, f"{path.name}: rights are lost"


def test_with_can_is_a_command_of_an_installed_otabench(tmp_path: Path, users_environment: UsersEnvironment) -> None:
    """The guest kernel itself is made by the same files in a checkout; what is tried here is that they are found and run."""
    barren = {"PATH": f"{tool_dir(tmp_path, 'slirp4netns', 'setpriv', 'python3')}", "XDG_CACHE_HOME": str(tmp_path)}
    barren |= {"WITH_CAN_SOURCE_DIR": str(tmp_path), "WITH_CAN": "guest"}
    command: list[str | Path] = [users_environment.scripts / "otabench", "with-can"]
    fallback = run_with_can(
        *command, "--fallback", "--", "sh", "-c", 'echo "$OTABENCH_KERNEL $*"', "sh", "--", "-x", **barren
    )
    if IN_GUEST:  # there is nothing to choose in a guest
        assert fallback.stdout == "guest -- -x\n"
        return
    assert (fallback.returncode, fallback.stdout) == (0, "none -- -x\n")
    refused = run_with_can(*command, "true", **barren)
    assert refused.returncode == 125
    packages = re.search(r"\(Debian, Ubuntu: (\S+/packages.sh) run\)", refused.stderr)
    assert packages is not None and os.access(packages[1], os.X_OK), refused.stderr


@needs(IN_GUEST or shutil.which("slirp4netns"), "slirp4netns is missing: setup/packages.sh run")
def test_with_can_of_an_installed_otabench_gives_a_command_a_bus(users_environment: UsersEnvironment) -> None:
    """The wheel's recipe has the checkout's hash, so the kernel in the cache serves both; the rest is the wheel's own."""
    otabench = users_environment.scripts / "otabench"
    # `can status` reads the bus by the installed otabench itself, on the kernel that it was given
    script = 'echo "$OTABENCH_KERNEL $OTABENCH_WITH_CAN"; exec "$0" can status vcan0'
    shown = run_with_can(otabench, "with-can", "sh", "-c", script, otabench)
    assert shown.returncode == 0, shown.stderr
    kernel, bus = shown.stdout.splitlines()
    assert kernel.split() == [kernel.split()[0], str(users_environment.site_packages / "otabench/setup/with-can")]
    assert kernel.startswith(("guest ", "native ")) and "vcan" in bus and "CAN FD" in bus


def test_doctor_of_an_installed_otabench_says_how_to_get_a_kernel_with_can(
    tmp_path: Path, users_environment: UsersEnvironment
) -> None:
    script = (
        "from otabench.bench.setup_programs import command_of; print(command_of('with-can'), command_of('vcan.sh'))"
    )
    with_can, with_option, vcan = run(users_environment.python, "-c", script, cwd=tmp_path).split()
    assert (with_can, with_option) == ("otabench", "with-can") and os.access(vcan, os.X_OK)
    if not IN_GUEST and not Path("/sys/class/net/vcan0").exists():
        done = run_with_can(users_environment.scripts / "otabench", "doctor")
        assert "run by `otabench with-can`, which provides a kernel with CAN" in done.stdout


def test_a_user_gets_what_the_wheel_requires_and_no_more(wheel: Path, users_environment: UsersEnvironment) -> None:
    required = required_by(wheel)
    assert {"python-can", "udsoncan", "pytest", "markupsafe"} <= required
    assert required.isdisjoint({"otabench", "ruff", "mypy", "hypothesis", "selenium", "pytest-timeout", "proto-plus"})
    script = "from importlib import metadata; print(*(d.name for d in metadata.distributions()))"
    found = run(users_environment.python, "-c", script, cwd=wheel.parent)
    assert {canonicalize_name(name) for name in found.split()} == {*required, "otabench"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_started_from_the_wheel(tmp_path: Path, users_environment: UsersEnvironment, module: str) -> None:
    assert f"python -m {module}" in run(users_environment.python, "-m", module, "--help", cwd=tmp_path)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_started_from_the_checkout(module: str) -> None:
    assert f"python -m {module}" in run(sys.executable, "-m", module, "--help", cwd=ROOT)


def test_the_command_line_is_started_from_the_wheel(tmp_path: Path, users_environment: UsersEnvironment) -> None:
    assert "otabench [OPTIONS] COMMAND" in run(users_environment.scripts / "otabench", "--help", cwd=tmp_path)


def test_the_command_line_is_started_from_the_checkout() -> None:
    assert "otabench [OPTIONS] COMMAND" in run(Path(sys.executable).parent / "otabench", "--help", cwd=ROOT)


def test_evidence_is_verified_where_nothing_but_the_wheel_is(
    tmp_path: Path, users_environment: UsersEnvironment
) -> None:
    made = make_run(tmp_path / "run")
    sources = collect.parts_of(made.folder, None)
    parts = {**sources, **derived_parts(document.derive(sources), sources)}
    package.write(tmp_path / "update.zip", parts, signer=made.signer(), made_at=time.time())
    roots = {"director-root": made.roots.director_root, "image-root": made.roots.image_root, "ca": made.roots.ca}
    options: list[str | Path] = []
    for name, content in roots.items():
        (tmp_path / name).write_bytes(content or b"")
        options += [f"--{name}", tmp_path / name]
    command = [users_environment.scripts / "otabench", "evidence", "verify", tmp_path / "update.zip", *options]
    checks = run(*command, cwd=tmp_path).split()
    assert checks[::2] == ["ok"] * 8 and checks[-1] == "audit"


def test_the_users_environment_imports_its_own_otabench(tmp_path: Path, users_environment: UsersEnvironment) -> None:
    script = "import otabench.bench.pytest_plugin as plugin; print(plugin.__file__)"
    printed = run(users_environment.python, "-c", script, cwd=tmp_path)
    assert Path(printed.strip()).is_relative_to(users_environment.folder)


def test_a_project_with_modules_of_our_folders_names_is_tested(
    tmp_path: Path, users_environment: UsersEnvironment
) -> None:
    for name, text in USERS_PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    pytest_command = (users_environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "2 passed" in run(*pytest_command, cwd=tmp_path)


# Whoever comes second overwrites; whoever is removed deletes. Each distribution is both in the two that are not exhaustive.
@pytest.mark.parametrize(
    ("first", "removed"),
    [
        ("proto-plus", "otabench"),
        ("otabench", "proto-plus"),
        pytest.param("otabench", "otabench", marks=pytest.mark.exhaustive),
        pytest.param("proto-plus", "proto-plus", marks=pytest.mark.exhaustive),
    ],
)
def test_otabench_and_proto_plus_live_side_by_side(tmp_path: Path, wheel: Path, first: str, removed: str) -> None:
    wheels = {"otabench": wheel, "proto-plus": wheel_of_installed("proto-plus", tmp_path)}
    environment = UsersEnvironment(tmp_path / "environment", wheel)
    for name in sorted(wheels, key=lambda name: name != first):
        environment.install(wheels[name])
    for script in USES.values():
        run(environment.python, "-c", script, cwd=tmp_path)

    environment.uninstall(removed)

    (kept,) = set(USES) - {removed}
    run(environment.python, "-c", USES[kept], cwd=tmp_path)
    names = {d.name for d in metadata.distributions(path=[str(environment.site_packages)])}
    assert removed not in names and kept in names
