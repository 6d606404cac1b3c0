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
OF_AN_EXTRA = {"odxtools": "bench/firmware/programs/odx.py"}
"""These modules import them late, and name the extra where they are missing."""


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
