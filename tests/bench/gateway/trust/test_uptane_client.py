"""Two repositories against one ECU: what the Uptane client accepts, and each attack with the reason for which it is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import DelegatedRole  # type: ignore[attr-defined]

from otabench.bench.gateway.trust import uptane_client
from otabench.bench.gateway.trust.tuf_client import target_file_name
from tests.bench.gateway.trust.served import Site, serving
from tests.bench.gateway.trust.tuf_repository import TufRepository, days

ECU, HARDWARE, PATH, IMAGE = "ENG-0001", "engine-mcu-a", "images/engine-2.0.0.bin", b"image" * 100
OURS = {"ecu_serial": ECU, "hardware_id": HARDWARE, "release_counter": 2, "version": "2.0.0"}


class Vehicle:
    """The client with its folders, and the two repositories that it asks."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.site, self.folder = site, folder
        self.director = TufRepository(consistent=False)
        self.images = TufRepository()
        self.target_dir = folder / "targets"
        site.repositories |= {"director": self.director.files, "images": self.images.files}
        for name, repository in (("director", self.director), ("images", self.images)):
            (folder / f"{name}.root").write_bytes(repository.first_root)
        assert self._run("init", str(folder / "director.root"), str(folder / "images.root")) == 0

    def offer(self, director: Any = None, image: Any = None) -> None:
        """List the image in both repositories."""
        self.director.add_target(PATH, IMAGE, custom=OURS if director is None else director)
        self.images.add_target(PATH, IMAGE, custom={**OURS, "ecu_serial": None} if image is None else image)
        self.director.publish()
        self.images.publish()

    def update(self) -> int:
        return self._run(
            *("--director-url", f"{self.site.url}/director", "--image-url", f"{self.site.url}/images"),
            *("--targets-url", f"{self.site.url}/images/targets", "--target-dir", str(self.target_dir)),
            *("--ecu-id", ECU, "--hw-id", HARDWARE, "update"),
        )

    def received(self) -> list[bytes]:
        return [file.read_bytes() for file in self.target_dir.iterdir()] if self.target_dir.exists() else []

    def trusted(self) -> dict[str, bytes]:
        files = [file for name in ("d", "i") for file in (self.folder / name).glob("*.json")]
        return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}

    def _run(self, *arguments: str) -> int:
        folders = ("--director-dir", str(self.folder / "d"), "--image-dir", str(self.folder / "i"))
        return uptane_client.main([*folders, *arguments])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def vehicle(tmp_path: Path, site: Site) -> Vehicle:
    return Vehicle(tmp_path, site)


NOTATIONS: list[tuple[Any, Any]] = [
    (OURS, {"hardware_id": HARDWARE, "release_counter": 2}),
    ({"ecuIdentifiers": {ECU: {"hardwareId": HARDWARE}}}, {"hardwareIds": [HARDWARE, "other"]}),
    ({"ecu_identifier": ECU, "hardware_identifier": HARDWARE, "releaseCounter": 3}, {"releaseCounter": 3}),
    ({"ecu_serial": ECU}, {"hardwareIds": [HARDWARE]}),
    (
        {"ecuIdentifiers": {ECU: {"hardwareId": HARDWARE}, "OTHER": {"hardwareId": "b"}}},
        {"hardwareIds": [HARDWARE, "b"]},
    ),
]


@pytest.mark.parametrize(("director", "image"), NOTATIONS)
def test_an_image_in_both_repositories_is_accepted(vehicle: Vehicle, director: Any, image: Any) -> None:
    vehicle.offer(director, image)
    assert vehicle.update() == 0
    assert vehicle.received() == [IMAGE]
    assert set(vehicle.trusted()) == {
        f"{folder}/{role}.json" for folder in "di" for role in ("root", "timestamp", "snapshot", "targets")
    }
    assert vehicle.update() == 0


def test_an_image_of_a_supplier_is_found_by_delegation(vehicle: Vehicle) -> None:
    vehicle.images.delegate(DelegatedRole("supplier", [], 1, True, paths=["images/*"]))
    vehicle.offer()
    del vehicle.images.targets["targets"].targets[PATH]
    vehicle.images.add_target(PATH, IMAGE, role="supplier", custom={"hardware_id": HARDWARE, "release_counter": 2})
    vehicle.images.publish()
    assert vehicle.update() == 0
    assert vehicle.received() == [IMAGE]


def _only_by_suppliers(vehicle: Vehicle, *names: str, **members: Any) -> None:
    vehicle.offer()
    del vehicle.images.targets["targets"].targets[PATH]
    for name in names:
        vehicle.images.delegate(DelegatedRole(name, [], 1, True, paths=["images/*"], unrecognized_fields=members))
        vehicle.images.add_target(PATH, IMAGE, role=name, custom={"hardware_id": HARDWARE, "release_counter": 2})
    vehicle.images.publish()


def test_two_suppliers_must_agree(vehicle: Vehicle, capsys: pytest.CaptureFixture[str]) -> None:
    group = {"name": "release", "min_roles_in_agreement": 2}
    _only_by_suppliers(vehicle, "maker", "tester", multi_role=group)
    assert vehicle.update() == 0
    assert vehicle.received() == [IMAGE]
    # when: one of them, whose key may be stolen, states something else
    del vehicle.images.targets["tester"].targets[PATH]
    vehicle.images.publish()
    assert vehicle.update() == 1
    assert "(unknown-image)" in capsys.readouterr().err
    assert vehicle.received() == []


@pytest.mark.parametrize(("listed", "status"), [(["adas-soc-b"], 1), (["adas-soc-b", HARDWARE], 0)])
def test_a_supplier_signs_for_its_hardware_only(vehicle: Vehicle, listed: list[str], status: int) -> None:
    _only_by_suppliers(vehicle, "supplier", hardware_ids=listed)
    assert vehicle.update() == status
    assert vehicle.received() == ([] if status else [IMAGE])


def test_without_an_order_nothing_is_downloaded(vehicle: Vehicle) -> None:
    assert vehicle.update() == 0
    assert vehicle.received() == []


def _director_only(vehicle: Vehicle) -> None:
    """The Director's keys are stolen: it names an image that the Image repository does not have."""
    vehicle.director.add_target("images/evil.bin", b"evil", custom={**OURS, "release_counter": 3})
    del vehicle.director.targets["targets"].targets[PATH]
    vehicle.director.publish()


def _other(repository: str, content: bytes = IMAGE, **custom: Any) -> Callable[[Vehicle], None]:
    def attack(vehicle: Vehicle) -> None:
        chosen = vehicle.director if repository == "director" else vehicle.images
        chosen.add_target(PATH, content, custom={**OURS, **custom})
        chosen.publish()

    return attack


def _other_hash(vehicle: Vehicle) -> None:
    """SHA-256 is right in both, SHA-512 is another in the Director's."""
    for repository, content in ((vehicle.director, b"other"), (vehicle.images, IMAGE)):
        target = repository.targets["targets"].targets[PATH]
        target.hashes = {**target.hashes, "sha512": hashlib.sha512(content).hexdigest()}
        repository.publish()


def _other_hash_of_the_director_alone(vehicle: Vehicle) -> None:
    target = vehicle.director.targets["targets"].targets[PATH]
    target.hashes = {**target.hashes, "sha512": hashlib.sha512(b"other").hexdigest()}
    vehicle.director.publish()


def _delegation(vehicle: Vehicle) -> None:
    vehicle.director.delegate(DelegatedRole("friend", [], 1, False, paths=["*"]))
    vehicle.director.publish()


def _twice(vehicle: Vehicle) -> None:
    for repository in (vehicle.director, vehicle.images):
        repository.add_target("images/second.bin", b"second", custom=OURS)
        repository.publish()


def _only_another_ecu(vehicle: Vehicle) -> None:
    _other("director", ecu_serial="ENG-0002")(vehicle)


def _expired(repository: str, role: str) -> Callable[[Vehicle], None]:
    def attack(vehicle: Vehicle) -> None:
        chosen = vehicle.director if repository == "director" else vehicle.images
        signed = {"timestamp": chosen.timestamp, "snapshot": chosen.snapshot} | chosen.targets
        signed[role].expires = days(-1)
        chosen.publish()

    return attack


def _stolen_without_key(repository: str) -> Callable[[Vehicle], None]:
    def attack(vehicle: Vehicle) -> None:
        chosen = vehicle.director if repository == "director" else vehicle.images
        chosen.signers["targets"] = TufRepository().signers["targets"]
        chosen.publish()

    return attack


def _older(repository: str) -> Callable[[Vehicle], None]:
    def attack(vehicle: Vehicle) -> None:
        chosen = vehicle.director if repository == "director" else vehicle.images
        chosen.timestamp.version = 1
        chosen.publish_timestamp(bump=False)

    return attack


def _not_normalized(repository: str) -> Callable[[Vehicle], None]:
    def attack(vehicle: Vehicle) -> None:
        chosen = vehicle.director if repository == "director" else vehicle.images
        chosen.targets["targets"].unrecognized_fields["note"] = "e\u0301"
        chosen.publish()

    return attack


def _changed_file(vehicle: Vehicle) -> None:
    vehicle.images.serve_target(PATH, IMAGE[:-1] + b"!")
    (vehicle.target_dir / target_file_name(PATH)).unlink()


ATTACKS: dict[str, tuple[Callable[[Vehicle], None], str]] = {
    "an image of the Director alone": (_director_only, "unknown-image"),
    "another length": (_other("director", IMAGE + b"."), "repositories-disagree"),
    "another SHA-256": (_other("director", b"IMAGE" * 100), "repositories-disagree"),
    "another SHA-512": (_other_hash, "repositories-disagree"),
    "a SHA-512 of the Director that does not fit": (_other_hash_of_the_director_alone, "mix-and-match"),
    "another release counter": (_other("director", release_counter=9), "repositories-disagree"),
    "no release counter": (_other("director", release_counter=None), "repositories-disagree"),
    "hardware that the image is not for": (_other("images", hardware_id="adas-soc-b"), "other-hardware"),
    "hardware that the ECU is not": (_other("director", hardware_id="adas-soc-b"), "other-hardware"),
    "the Director delegates": (_delegation, "director-delegates"),
    "one ECU twice": (_twice, "ecu-twice"),
    "only another ECU": (_only_another_ecu, "unknown-ecu"),
    "no ECU": (_other("director", ecu_serial=None, ecuIdentifiers={}), "unknown-ecu"),
    "an ECU that is a number": (_other("director", ecu_serial=5), "malformed-metadata"),
    "a counter that is none": (_other("director", release_counter="2"), "malformed-metadata"),
    "Director: expired timestamp": (_expired("director", "timestamp"), "freeze"),
    "Image: expired targets": (_expired("images", "targets"), "freeze"),
    "Director: foreign key": (_stolen_without_key("director"), "arbitrary-software"),
    "Image: foreign key": (_stolen_without_key("images"), "arbitrary-software"),
    "Director: older": (_older("director"), "rollback"),
    "Image: older": (_older("images"), "rollback"),
    "Director: a string that is not normalized": (_not_normalized("director"), "malformed-metadata"),
    "Image: a string that is not normalized": (_not_normalized("images"), "malformed-metadata"),
    "changed on the way": (_changed_file, "mix-and-match"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_for_its_own_reason(
    vehicle: Vehicle, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    # given: an honest update
    vehicle.offer()
    vehicle.offer()
    assert vehicle.update() == 0
    assert vehicle.received() == [IMAGE]
    trusted = vehicle.trusted()
    # when
    attack, kind = ATTACKS[name]
    attack(vehicle)
    # then
    assert vehicle.update() == 1
    told = capsys.readouterr().err
    assert told.startswith(f"uptane_client: refused ({kind}): ") and told.count("\n") == 1
    assert vehicle.received() == []
    assert vehicle.trusted() == trusted


def test_a_lower_release_counter_is_a_rollback(vehicle: Vehicle, capsys: pytest.CaptureFixture[str]) -> None:
    vehicle.offer()
    assert vehicle.update() == 0
    vehicle.offer({**OURS, "release_counter": 1}, {"release_counter": 1})
    assert vehicle.update() == 1
    assert "(rollback)" in capsys.readouterr().err
    assert vehicle.received() == []


def test_after_a_refusal_the_next_honest_update_works(vehicle: Vehicle) -> None:
    vehicle.offer()
    _director_only(vehicle)
    assert vehicle.update() == 1
    del vehicle.director.targets["targets"].targets["images/evil.bin"]
    vehicle.offer()
    assert vehicle.update() == 0
    assert vehicle.received() == [IMAGE]


def test_images_may_be_served_by_their_plain_paths(vehicle: Vehicle) -> None:
    vehicle.offer()
    prefixed = next(name for name in vehicle.images.files if name.startswith("targets/"))
    vehicle.images.files[f"targets/{PATH}"] = vehicle.images.files.pop(prefixed)
    assert vehicle.update() == 0


def test_files_of_others_in_the_target_folder_stay(vehicle: Vehicle) -> None:
    vehicle.target_dir.mkdir()
    (vehicle.target_dir / "mine.txt").write_bytes(b"mine")
    vehicle.offer()
    assert vehicle.update() == 0
    _director_only(vehicle)
    assert vehicle.update() == 1
    assert vehicle.received() == [b"mine"]


@pytest.mark.parametrize(
    "arguments", [[], ["update"], ["--director-dir", "/nowhere", "--image-dir", "/nowhere", "update"]]
)
def test_wrong_usage_is_status_1(arguments: list[str]) -> None:
    assert uptane_client.main(arguments) == 1
