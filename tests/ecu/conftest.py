"""Fixtures: keys and images made once, a fresh ECU for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ecu.factory import Bench, ImageMaker, Keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def make_image(keys: Keys) -> ImageMaker:
    return ImageMaker(keys)


@pytest.fixture(scope="session")
def old_image(make_image: ImageMaker) -> bytes:
    return make_image("1.0.0", counter=1)


@pytest.fixture(scope="session")
def new_image(make_image: ImageMaker) -> bytes:
    return make_image("2.0.0", counter=2)


@pytest.fixture
def new_ecu(keys: Keys, old_image: bytes) -> Callable[..., Bench]:
    """Makes an ECU that runs 1.0.0."""

    def make(**options: object) -> Bench:
        bench = Bench(keys, old_image, **options)  # type: ignore[arg-type]
        bench.boot()
        return bench

    return make


@pytest.fixture
def ecu(new_ecu: Callable[..., Bench]) -> Bench:
    """An ECU that runs 1.0.0, booted just now."""
    return new_ecu()
