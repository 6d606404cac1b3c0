"""Which tests share a worker where several guests share the tests (`-p tests.worker_groups`, see setup/run-tests).

A worker is a guest with a bus of its own. The tests of one file stay together, for their module's fixtures; the end-to-end
tests stay together as a whole, for the bench they share.
"""

from __future__ import annotations

import pytest

_TOGETHER = ("tests/e2e/",)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        file = item.nodeid.partition("::")[0]
        group = next((folder for folder in _TOGETHER if file.startswith(folder)), file)
        item.add_marker(pytest.mark.xdist_group(group))
