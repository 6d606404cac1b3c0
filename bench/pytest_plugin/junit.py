"""Properties in the JUnit file (``--junitxml``). Their contents are described in ``properties``."""

from __future__ import annotations

from collections.abc import Mapping

import pytest


def add_properties(config: pytest.Config, properties: Mapping[str, str]) -> None:
    """Do what ``record_testsuite_property`` does, without its fixture, which does not work in an xdist worker."""
    from _pytest.junitxml import xml_key

    xml = config.stash.get(xml_key, None)
    if xml is None:
        return
    for name, value in properties.items():
        if (name, value) not in xml.global_properties:
            xml.add_global_property(name, value)
