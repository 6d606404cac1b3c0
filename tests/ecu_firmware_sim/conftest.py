"""Fixtures: keys and images made once, a fresh ECU for each test; an ECU on each line for behaviour tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from otabench.proto.process_config import EcuTiming
from tests.ecu_firmware_sim.factory import Bench, ImageMaker, Keys
from tests.ecu_firmware_sim.line import LINES, PAIRWISE_LINES, TIMING, Line, Rig, on


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
    """Make an ECU that runs 1.0.0."""

    def make(**options: object) -> Bench:
        bench = Bench(keys, old_image, **options)  # type: ignore[arg-type]
        bench.boot()
        return bench

    return make


@pytest.fixture
def ecu(new_ecu: Callable[..., Bench]) -> Bench:
    """An ECU that runs 1.0.0, booted just now."""
    return new_ecu()


@pytest.fixture(scope="module")
def line_timing() -> EcuTiming:
    """Times of the ECU on a line; a module may have others."""
    return TIMING


@pytest.fixture(scope="module", params=on(LINES, sample=PAIRWISE_LINES))
def whole_rig(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    keys: Keys,
    old_image: bytes,
    line_timing: EcuTiming,
) -> Iterator[Callable[[], Rig]]:
    line: Line = request.param
    made: list[Rig] = []

    def get() -> Rig:
        if not made:
            made.append(Rig(line, tmp_path_factory.mktemp(str(line)), keys, old_image, timing=line_timing))
        return made[0]

    yield get
    for rig in made:
        rig.close()


@pytest.fixture
def rig(whole_rig: Callable[[], Rig]) -> Iterator[Rig]:
    """The ECU of the line as delivered; it must be well after every test."""
    rig = whole_rig()
    yield rig
    rig.renew()  # new for the next test
    assert rig.ask("22 F1 89") == "62 F1 89 31 2E 30 2E 30"
