"""Which tests share a worker where several guests share the tests (`-p tests.worker_groups`, see setup/run-tests).

A worker is a guest with a bus, and so a bench, of its own. The tests of one file stay together, for their module's fixtures; the
plugin's own group, which would put all bench tests of all files into one worker, is narrowed by the file's name.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
