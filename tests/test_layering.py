"""Who may import whom, read from the source: the layering rule, and one importer for each library that is an adapter's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("proto", "cloud", "bench", "ecu_firmware_sim")
MAY_IMPORT: dict[str, set[str]] = {
    "proto": set(),
    "cloud": {"proto"},
    "bench": {"proto"},
    "ecu_firmware_sim": {"proto"},
}

ROOMS: tuple[tuple[str, ...], ...] = (
    # Each line: rooms (folders, or modules outside them) that may import those of the lines below, and never each other.
    ("bench.cli",),
    ("bench.attacks", "bench.fleet"),
    ("bench.perf", "bench.pytest_plugin", "bench.doctor", "bench.evidence"),
    ("bench.report",),
    ("bench.runs",),
    ("bench.launcher",),
    ("bench.clients",),
    ("bench.faults",),
    ("bench.captures", "bench.keys"),
    ("bench.gateway.__main__",),
    ("bench.gateway.process",),
    ("bench.gateway.agent",),
    ("bench.gateway.jobs",),
    ("bench.gateway.cloud", "bench.gateway.flashing", "bench.gateway.hmi"),
    ("bench.gateway.trust",),
    ("bench.gateway", "bench.firmware", "bench.bus"),  # gateway: config, errors, store, vehicle
    ("bench.uds", "bench.topology"),
    (
        "bench.ancestors",
        "bench.backoff",
        "bench.deadline",
        "bench.ports",
        "bench.run_folder",
        "bench.run_mark",
        "bench.yaml_text",
    ),
    ("bench.errors",),
    ("bench.model_words",),
    ("bench.finding", "bench.setup_programs"),
    ("cloud.__main__",),
    ("cloud.process",),
    ("cloud.control", "cloud.artifacts", "cloud.events"),
    ("cloud.campaigns",),
    ("cloud.store",),
    ("cloud.trust",),
    ("cloud.ports", "cloud.names", "cloud.rollout", "cloud.vehicle_filter"),
    ("cloud.errors",),
    ("ecu_firmware_sim.__main__", "ecu_firmware_sim.sweep"),
    ("ecu_firmware_sim.personalities",),
    ("ecu_firmware_sim.control_port",),
    ("ecu_firmware_sim.ecu",),
    ("ecu_firmware_sim.runtime",),
    ("ecu_firmware_sim.startup",),
    ("ecu_firmware_sim.factory", "ecu_firmware_sim.uds"),
    ("ecu_firmware_sim.programming",),
    ("ecu_firmware_sim.boot", "ecu_firmware_sim.bus"),
    ("ecu_firmware_sim.faults", "ecu_firmware_sim.unforeseen", "ecu_firmware_sim.event_trace"),
    ("ecu_firmware_sim.flash",),
    ("ecu_firmware_sim.errors",),
    ("proto",),
)
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}

ADAPTERS: dict[str, dict[str, tuple[str, ...]]] = {
    # library: package: the modules (or folders) that may import it
    "udsoncan": {
        "bench": (
            "bench/uds/",
            "bench/pytest_plugin/uds.py",
        ),
        "ecu_firmware_sim": (),
    },
    "isotp": {
        "bench": ("bench/uds/transport/",),
        "ecu_firmware_sim": ("ecu_firmware_sim/bus/user_space_isotp.py",),
    },
    "imgtool": {"bench": ("bench/firmware/images.py",), "cloud": (), "ecu_firmware_sim": ()},
    "bsdiff4": {
        "bench": ("bench/perf/material.py",),
        "cloud": ("cloud/store/deltas.py",),
        "ecu_firmware_sim": ("ecu_firmware_sim/programming/delta.py",),
    },
    "fastapi": {"bench": ("bench/gateway/hmi/",), "cloud": ("cloud/artifacts/app.py",), "ecu_firmware_sim": ()},
    "aiomqtt": {
        "bench": ("bench/gateway/cloud/wakeup.py",),
        "cloud": ("cloud/events/publisher.py",),
        "ecu_firmware_sim": (),
    },
    "amqtt": {"bench": (), "cloud": ("cloud/events/broker.py",), "ecu_firmware_sim": ()},
}


def sources(package: str) -> Iterator[Path]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "_pb2" not in path.name:
            yield path


@cache
def modules_imported_by(path: Path) -> frozenset[str]:
    """All modules that a file imports, wherever in it (type checking and late imports included), as ``a.b.c``.

    ``from a.b import c`` counts as ``a.b.c`` where that is a module of ours, else as ``a.b``.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in our_modules() else node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            name = node.args[0]
            found.add(str(name.value) if isinstance(name, ast.Constant) else "?computed?")
    return frozenset(found)


@cache
def our_modules() -> dict[str, Path]:
    """Every module's name, as it is imported, and its file."""
    return {name_of(path): path for package in PACKAGES for path in sources(package)}


def name_of(path: Path) -> str:
    return "otabench." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Top-level names of all modules that a file imports; of ours, the package (``bench``, ``cloud``, …)."""
    return frozenset(name.removeprefix("otabench.").partition(".")[0] for name in modules_imported_by(path))


def room_of(module: str) -> str:
    """The longest entry of ``ROOMS`` that a module lies in."""
    name = module.removeprefix("otabench.")
    while name not in RANKS:
        assert name, f"{module} lies in none of the rooms: add it to ROOMS"
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = {
        str(path.relative_to(ROOT)): sorted((imports_of(path) & set(PACKAGES)) - allowed)
        for path in sources(package)
        if (imports_of(path) & set(PACKAGES)) - allowed
    }
    assert wrong == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_rooms_run_one_way(package: str) -> None:
    wrong = []
    for path in sources(package):
        if path == ROOT / package / "__init__.py":
            continue
        here = room_of(name_of(path))
        for module in modules_imported_by(path):
            if module.startswith("otabench.") and module.removeprefix("otabench.") not in PACKAGES:
                there = room_of(module)
                if there != here and RANKS[there] <= RANKS[here]:
                    wrong.append(f"{name_of(path)} imports {module}: {here} may not import {there}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    imported = {name: modules_imported_by(path) & our_modules().keys() for name, path in our_modules().items()}
    order: list[str] = []
    while loose := [name for name in imported if name not in order and imported[name] - {name} <= set(order)]:
        order += loose
    assert sorted(imported.keys() - set(order)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_core_never_imports_scapy_nor_the_tests(package: str) -> None:
    wrong = [str(path.relative_to(ROOT)) for path in sources(package) if imports_of(path) & {"scapy", "tests"}]
    assert wrong == []


@pytest.mark.parametrize(
    ("library", "package"), [(library, package) for library, where in ADAPTERS.items() for package in where]
)
def test_an_adapter_s_library_is_imported_by_the_adapter_alone(library: str, package: str) -> None:
    allowed = ADAPTERS[library][package]
    importers = [str(path.relative_to(ROOT)) for path in sources(package) if library in imports_of(path)]
    assert [path for path in importers if not path.startswith(allowed or "\0")] == []


def test_no_import_is_computed() -> None:
    computed = [path for package in PACKAGES for path in sources(package) if "?computed?" in imports_of(path)]
    # The fork server imports for processes of all packages, as the interpreter does for `python -m`.
    assert computed == [ROOT / "bench" / "launcher" / "fork_server.py"]


def test_the_rule_sees_every_package() -> None:
    assert all(len(list(sources(package))) > 3 for package in PACKAGES)
    assert "proto" in imports_of(ROOT / "bench" / "launcher" / "jobs.py")
    assert "otabench.bench.launcher.jobs" in modules_imported_by(ROOT / "bench" / "launcher" / "bench.py")
