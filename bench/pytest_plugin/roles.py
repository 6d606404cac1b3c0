"""What this process is where pytest-xdist runs several: a worker, the controller of some, or neither."""

from __future__ import annotations

from typing import Final

import pytest

OUTPUT_KEY: Final = "otabench_properties"
"""Under this key a worker sends its run's properties to the controller."""


def is_worker(session: pytest.Session) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    if not session.config.pluginmanager.hasplugin("xdist"):
        return False
    import xdist

    return bool(xdist.is_xdist_worker(session))


def worker_count(config: pytest.Config) -> int:
    """Return the number of workers that this process controls."""
    return len(config.getoption("tx", None) or [])
