"""What the packages import stands among the dependencies of pyproject.toml: a user has what the wheel requires, and no more."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_layering import PACKAGES, ROOT, imports_of, sources

OF_THE_PLUGIN = dict.fromkeys(("pytest", "_pytest", "xdist"), "bench/pytest_plugin/")
"""Whoever loads the plugin has pytest: otabench does not bring it. xdist is imported where it is one of pytest's plugins."""
OF_AN_EXTRA = {"odxtools": "bench/firmware/programs/odx.py", "psycopg": "cloud/store/notifications.py"}
"""These modules import them late. Where one is missing, the user reads which (psycopg: when the database is opened)."""


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_imported_distribution_is_declared(package: str) -> None:
    distributions = metadata.packages_distributions()
    undeclared: dict[str, set[str]] = {}
    for path in sources(package):
        at = str(path.relative_to(ROOT))
        for name in imports_of(path) - set(PACKAGES) - sys.stdlib_module_names - {"?computed?"}:
            if name in OF_THE_PLUGIN and at.startswith(OF_THE_PLUGIN[name]):
                continue
            if OF_AN_EXTRA.get(name) == at:
                continue
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [f"nobody's {name}"])}
            if not owners & declared():
                undeclared.setdefault(name, set()).add(at)
    assert undeclared == {}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.partition(" #")[0]) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}


def contradictions(pins: dict[str, str]) -> list[str]:
    """Return the requirements of installed distributions that a list of pinned versions does not meet: pip refuses the list."""
    found = []
    for name, version in pins.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        # What is installed may be another version than the pinned one, with other requirements.
        if distribution.version != version:
            continue
        for line in distribution.requires or ():
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            pinned = pins.get(canonicalize_name(wanted.name))
            if pinned is not None and not wanted.specifier.contains(pinned, prereleases=True):
                found.append(f"{name} {version} requires {wanted.name}{wanted.specifier}, pinned is {pinned}")
    return found


def test_no_pinned_version_contradicts_another_pinned_package() -> None:
    assert contradictions(locked()) == []


def test_a_pinned_version_that_another_package_refuses_is_found() -> None:
    pins = {**locked(), "packaging": "1.0"}
    assert any(line.endswith("pinned is 1.0") for line in contradictions(pins))
