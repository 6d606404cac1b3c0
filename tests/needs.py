"""What tests need of the machine besides the capabilities of the pytest plugin: root, a compiler, kernel headers.

Such a need is treated as a capability is: where something is missing, the test is skipped with the remedy as the reason, and
``--require all`` makes that a failure. A plain ``pytest.skip`` is for what no set-up can bring, such as a kernel without CAN on
a machine whose kernel has it.

Example:
    @needs(shutil.which("gcc"), "gcc is missing: setup/packages.sh test")
    def test_it_compiles() -> None: ...
"""

from __future__ import annotations

import pytest


def needs(present: object, remedy: str) -> pytest.MarkDecorator:
    """Return a marker for tests that need something.

    Args:
        present: true if the machine has it.
        remedy: what is missing, and what to do.
    """
    return pytest.mark.needs("" if present else remedy)


def check_needs(item: pytest.Item) -> None:
    """Skip a test whose needs are not met, or fail it if everything is required."""
    missing = [text for marker in item.iter_markers("needs") for text in marker.args if text]
    if not missing:
        return
    if "all" in str(item.config.getoption("--require")).split(","):
        pytest.fail(f"required, and missing: {'; '.join(missing)}", pytrace=False)
    pytest.skip("; ".join(missing))
