"""Which tests share a worker where several guests share the tests (`-p tests.worker_groups`, see setup/run-tests).

A worker is a guest with a bus of its own. The tests of one file stay together, for their module's fixtures; those that share
the plugin's bench are put together by the plugin.
"""

from __future__ import annotations

import pytest

from bench.pytest_plugin.items import uses_bench


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not uses_bench(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
