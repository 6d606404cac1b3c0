"""Tests of the project: capabilities, ``--require`` and the bench fixtures are the pytest plugin's (``bench.pytest_plugin``)."""

from __future__ import annotations

pytest_plugins = ["pytester"]
