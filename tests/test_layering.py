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

ADAPTERS: dict[str, dict[str, tuple[str, ...]]] = {
    # library: package: the modules (or folders) that may import it
    "udsoncan": {
        "bench": (
            "bench/gateway/flashing/",
            "bench/gateway/transport/",
            "bench/pytest_plugin/uds.py",
            "bench/perf/peer.py",
        ),
        "ecu_firmware_sim": (),
    },
    "isotp": {
        "bench": ("bench/gateway/transport/", "bench/perf/peer.py"),
        "ecu_firmware_sim": ("ecu_firmware_sim/user_transport.py",),
    },
    "imgtool": {"bench": ("bench/firmware.py",), "cloud": (), "ecu_firmware_sim": ()},
    "bsdiff4": {
        "bench": ("bench/perf/material.py",),
        "cloud": ("cloud/deltas.py",),
        "ecu_firmware_sim": ("ecu_firmware_sim/delta.py",),
    },
    "fastapi": {"bench": ("bench/gateway/hmi/",), "cloud": ("cloud/artifacts.py",), "ecu_firmware_sim": ()},
    "aiomqtt": {"bench": ("bench/gateway/wakeup.py",), "cloud": ("cloud/events.py",), "ecu_firmware_sim": ()},
    "amqtt": {"bench": (), "cloud": ("cloud/broker.py",), "ecu_firmware_sim": ()},
}


def sources(package: str) -> Iterator[Path]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "_pb2" not in path.name:
            yield path


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            name = node.args[0]
            found.add(str(name.value).partition(".")[0] if isinstance(name, ast.Constant) else "?computed?")
    return frozenset(found)


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
    wrong = [str(path) for package in PACKAGES for path in sources(package) if "?computed?" in imports_of(path)]
    assert wrong == []


def test_the_rule_sees_every_package() -> None:
    assert all(len(list(sources(package))) > 3 for package in PACKAGES)
    assert "proto" in imports_of(ROOT / "bench" / "bench_jobs.py")
