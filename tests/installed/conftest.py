"""One wheel for all tests of this folder, and one environment for those that do not change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installed.environments import UsersEnvironment, build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """otabench's wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def users_environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> UsersEnvironment:
    """An environment with otabench and pytest."""
    environment = UsersEnvironment(tmp_path_factory.mktemp("environment"), wheel)
    environment.install(wheel)
    return environment
