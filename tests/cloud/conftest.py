"""A real cloud process for the tests of this folder, its keys, and signed images.

One process with mutual TLS serves most tests, each with a vehicle of its own; tests that stop or break a cloud start their
own (``start_cloud``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otabench.cloud.trust.keys import init_keys
from tests.cloud.bench import Cloud, ImageMaker, Vehicle, free_port
from tests.cloud.postgres import PostgreSQL
from tests.cloud.swift import SwiftServer

VINS = [f"W0TCLOUD{number:09d}" for number in range(600)]


@pytest.fixture(scope="session")
def keys_dir(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    vehicles = len(VINS) if pytestconfig.getoption("--exhaustive") else 240
    init_keys(folder, vins=VINS[:vehicles], ecus=["engine", "adas"])
    return folder


@pytest.fixture(scope="session")
def images(keys_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageMaker:
    return ImageMaker(keys_dir / "image" / "signing.pem", tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def s3() -> Iterator[SwiftServer]:
    """A running S3 server, whose access is in the environment. Tests that ask for it have the marker ``s3``."""
    server = SwiftServer()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment.items():
            environment.setenv(name, value)
        try:
            server.start()
            yield server
        finally:
            server.remove()


SERVERS = (pytest.mark.postgresql, pytest.mark.s3, pytest.mark.exhaustive)
_stores = itertools.count(1)


@pytest.fixture(scope="session", params=["files", pytest.param("servers", marks=SERVERS)])
def storage(request: pytest.FixtureRequest) -> Callable[[], dict[str, str]]:
    """Return the settings of a new cloud's storage: its own files, and with ``--exhaustive`` PostgreSQL and an S3 server too."""
    if request.param == "files":
        return dict
    server: PostgreSQL = request.getfixturevalue("postgresql")
    request.getfixturevalue("s3")
    return lambda: {
        "database_url": server.new_database(),
        "artifact_store": f"s3://artifacts/{next(_stores)}",
        "private_store": f"s3://private/{next(_stores)}",
    }


@pytest.fixture(scope="session")
def shared_cloud(
    keys_dir: Path, storage: Callable[[], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), keys_dir, plane="all") as running:
        running.config |= {"metrics_port": free_port(), **storage()}
        running.start()
        yield running


@pytest.fixture
def make_cloud(keys_dir: Path, storage: Callable[[], dict[str, str]], tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    made: list[Cloud] = []

    def make(**settings: object) -> Cloud:
        cloud = Cloud(tmp_path / f"cloud{len(made)}", keys_dir, **settings)  # type: ignore[arg-type]
        cloud.config |= storage()
        made.append(cloud)
        return cloud

    yield make
    for cloud in made:
        cloud.kill()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running server. Tests that ask for it have the marker ``postgresql``."""
    server = PostgreSQL()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def each_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database, once of each kind, in every run: for what the two kinds do differently."""
    return _new_database(request, tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=(pytest.mark.postgresql, pytest.mark.exhaustive))])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database: SQLite, and PostgreSQL too with ``--exhaustive``."""
    return _new_database(request, tmp_path)


def _new_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/cloud.db"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


_numbers = itertools.count()


@pytest.fixture
def vehicle() -> Vehicle:
    """Return a vehicle that no other test uses, not registered yet."""
    return Vehicle(VINS[next(_numbers)])


@pytest.fixture
def other_vehicle() -> Vehicle:
    return Vehicle(VINS[next(_numbers)])
