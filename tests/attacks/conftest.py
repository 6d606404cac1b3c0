"""Vehicles to be attacked, and a cloud for those attacks that need one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otabench.bench.attacks.cloud_door import CloudDoor
from tests.attacks.rig import OTHER_VIN, VIN, Vehicle, Workshop
from tests.cloud.bench import Cloud


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("attacks"))


@pytest.fixture
def make_vehicle(workshop: Workshop, tmp_path: Path) -> Callable[..., Vehicle]:
    def make(**facts: object) -> Vehicle:
        return Vehicle(workshop, tmp_path, **facts)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def cloud_door(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudDoor]:
    """A cloud process with mutual TLS."""
    with Cloud(tmp_path_factory.mktemp("cloud"), workshop.keys_dir, plane="all") as cloud:
        cloud.start()
        door = CloudDoor(f"localhost:{cloud.grpc_port}", cloud.artifacts_url, workshop.keys_dir / "tls", VIN, OTHER_VIN)
        yield door
        door.close()
