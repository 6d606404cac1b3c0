"""Attacks on the manifest. Each test: the attacker acts, the gateway refuses with a reason, downloads nothing, and keeps its metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.gateway.errors import ManifestRefused, StartError
from otabench.bench.gateway.hmi.model import Decision
from otabench.bench.gateway.trust.manifest import KnownEcu
from otabench.bench.gateway.trust.primary import Primary
from otabench.proto.job_states import JobState
from tests.bench.gateway.director import Director
from tests.bench.gateway.world import ECUS, OLD, VIN, World, shown

Bundle = dict[str, bytes]


@dataclass(frozen=True)
class Attack:
    """What the attacker sends instead of the manifest of job 2, and the expected refusal."""

    name: str
    bundle: Callable[[World, Bundle], Bundle]
    """Makes the attack from the world and the manifest of job 1, which was accepted."""
    reason: str


def _forged(**manifest: Any) -> Callable[[World, Bundle], Bundle]:
    return lambda world, _: world.manifest(**manifest)


def _other_director(*roles: str) -> Callable[[World, Bundle], Bundle]:
    def forge(world: World, _: Bundle) -> Bundle:
        foreign = Director()
        signers = {role: (foreign if role in roles else world.director).signers[role] for role in foreign.signers}
        return world.manifest(director=Director(signers))

    return forge


def _changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[World, Bundle], Bundle]:
    def forge(world: World, _: Bundle) -> Bundle:
        bundle = world.manifest()
        return {**bundle, name: change(bundle[name])}

    return forge


def _vehicle(**versions: str) -> list[dict[str, Any]]:
    """Return a Director's statements about the versions in the whole vehicle."""
    return [
        {
            "image_number": number,
            "ecu": ecu.name,
            "ecu_serial": ecu.serial,
            "version": versions.get(ecu.name, "2.0.0"),
        }
        for number, ecu in enumerate(ECUS, start=1)
    ]


ATTACKS = [
    Attack(
        "signed by another Director",
        _other_director("root", "timestamp", "snapshot", "targets"),
        "manifest refused: signed by a key that the pinned Director root does not list for timestamp",
    ),
    Attack(
        "targets signed by another key",
        _other_director("targets"),
        "manifest refused: signed by a key that the pinned Director root does not list for targets",
    ),
    Attack(
        "snapshot signed by another key",
        _other_director("snapshot"),
        "manifest refused: signed by a key that the pinned Director root does not list for snapshot",
    ),
    Attack("expired", _forged(lifetime_s=-10.0), "manifest refused: it has expired (timestamp.json is expired)"),
    Attack("older", lambda _, old: old, "manifest refused: it belongs to job job-1, not to job-2"),
    Attack(
        "older version of the metadata",
        lambda world, _: world.manifest(metadata_version=3),
        "manifest refused: older than one that was accepted before, or a mixture of two (timestamp.json: New timestamp version 3 must be",
    ),
    Attack(
        "mixed with an older Targets",
        lambda world, old: {**world.manifest(), "targets.json": old["targets.json"]},
        "manifest refused: targets.json is not the file that was signed for",
    ),
    Attack(
        "for another vehicle",
        _forged(custom={"vin": "W0TABENCH00000002"}),
        f"manifest refused: it is for vehicle W0TABENCH00000002, this is {VIN}",
    ),
    Attack(
        "for other hardware",
        _forged(target={"hardware_id": "adas-soc-b"}),
        "manifest refused: its image for engine is for hardware adas-soc-b, engine is engine-mcu-a",
    ),
    Attack(
        "for an ECU that is not here",
        _forged(target={"ecu_serial": "ENG-9999"}),
        "manifest refused: it names ECU serial ENG-9999, which this vehicle does not have",
    ),
    Attack(
        "one ECU twice",
        _forged(target={"ecu_serial": "ADA-0001", "hardware_id": "adas-soc-b"}),
        "manifest refused: it names ECU ADA-0001 twice",
    ),
    Attack(
        "release counter rolled back",
        _forged(target={"release_counter": 0}),
        "manifest refused: its image for engine has release counter 0, lower than 1 of the active slot",
    ),
    Attack(
        "an older image",
        _forged(target={"version": "0.9.0"}),
        "manifest refused: its image for engine is 0.9.0, engine runs 1.0.0 already",
    ),
    Attack(
        "one byte changed",
        _changed("targets.json", lambda b: b.replace(b"2.0.0", b"9.0.0", 1)),
        "manifest refused: targets",
    ),
    Attack(
        "a file missing",
        lambda w, _: _without(w.manifest(), "snapshot.json"),
        "manifest refused: the cloud sent no snap",
    ),
    Attack("no metadata at all", lambda _w, _b: {}, "manifest refused: the cloud sent no timestamp.json"),
    Attack(
        "not JSON", _changed("timestamp.json", lambda _: b"\xff\x00"), "manifest refused: timestamp.json is not valid"
    ),
    Attack(
        "nested without end",
        _changed("timestamp.json", lambda _: b"[" * 10_000),
        "manifest refused: timestamp.json is not",
    ),
    Attack(
        "endless", _changed("timestamp.json", lambda b: b + b" " * 20_000), "manifest refused: timestamp.json is longer"
    ),
    Attack(
        "a path that leads out",
        _forged(
            target={
                "patch": {
                    "path": "../../etc/passwd",
                    "length": 1,
                    "sha256": "0" * 64,
                    "base_version": "1.0.0",
                    "base_sha256": "0" * 64,
                    "base_length": 1,
                }
            }
        ),
        "manifest refused: its path '../../etc/passwd' leads out of the artifact server's folder",
    ),
    Attack(
        "longer than an ECU's metadata window",
        _forged(custom={"release_notes": "x" * 80_000}),
        "manifest refused: Targets and Roots have 8",
    ),
    Attack("custom without VIN", _forged(custom={"vin": None}), "manifest refused: its custom field vin is wrong"),
    Attack(
        "a dependency that the vehicle will not meet",
        _forged(target={"requires": [{"image_number": 2, "version": "3.0.0"}]}, custom={"vehicle": _vehicle()}),
        "manifest refused: its image 2.0.0 for engine needs adas >= 3.0.0 (adas would run 2.0.0)",
    ),
    Attack(
        "a dependency on an ECU that it says nothing of",
        _forged(target={"requires": [{"image_number": 5, "version": "1.0.0"}]}, custom={"vehicle": _vehicle()}),
        "manifest refused: its image 2.0.0 for engine needs image 5 >= 1.0.0 (the manifest does not state a version",
    ),
    Attack(
        "an image for an ECU that runs a newer one",
        _forged(target={"requires": [{"image_number": 0, "version": "1.0.1"}]}),
        "manifest refused: its image 2.0.0 for engine needs engine >= 1.0.1 before the update (engine runs 1.0.0)",
    ),
    Attack(
        "a promise that its own image breaks",
        _forged(custom={"vehicle": _vehicle(adas="3.0.0")}),
        "manifest refused: it states that adas will run 3.0.0, but its image for adas is 2.0.0",
    ),
    Attack(
        "one image number for two ECUs",
        _forged(custom={"vehicle": [*_vehicle(), {**_vehicle()[0], "ecu_serial": "X"}]}),
        "manifest refused: its custom field  is wrong: Value error, vehicle: an image number occurs twice",
    ),
    Attack("a version that is none", _forged(target={"version": "two"}), "manifest refused: engine: version 'two'"),
]


WHOLE_STORY = {
    "signed by another Director",
    "expired",
    "older version of the metadata",
    "for another vehicle",
    "for other hardware",
}


@pytest.mark.clause("R156 7.2.1.1")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_and_moves_nothing(tmp_path: Path, attack: Attack) -> None:
    # given: metadata version 5 was accepted with job 1
    world, primary = _alone(tmp_path)
    accepted = world.manifest(metadata_version=5)
    primary.accept(accepted, job_id="job-1", identities=world.vehicle.identify())
    trusted = world.trusted()
    assert set(trusted) == {"timestamp.json", "snapshot.json", "targets.json"}
    # when
    forged = _as_job_two(world, attack, accepted)
    with pytest.raises(ManifestRefused) as refusal:
        primary.accept(forged, job_id="job-2", identities=world.vehicle.identify())
    # then
    assert f"manifest refused: {refusal.value}".startswith(attack.reason)
    assert "\n" not in str(refusal.value)
    assert world.trusted() == trusted
    # and: the next honest manifest is taken
    honest = world.manifest(metadata_version=6, custom={"job_id": "job-3"})
    primary.accept(honest, job_id="job-3", identities=world.vehicle.identify())


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.name in WHOLE_STORY], ids=lambda attack: attack.name)
def test_an_attack_is_refused_before_anything_is_downloaded(tmp_path: Path, attack: Attack) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            # given: metadata version 5 was accepted with job 1
            accepted = world.manifest(metadata_version=5)
            world.offer(accepted)
            await world.decide(agent, Decision.DECLINE)
            await world.reported(JobState.REJECTED)
            await world.closed(agent)
            trusted = world.trusted()
            assert set(trusted) == {"timestamp.json", "snapshot.json", "targets.json"}
            # when: job 2 comes with the attacker's metadata
            world.jobs = 5
            world.cloud.metadata = {}
            forged = _as_job_two(world, attack, accepted)
            world.cloud.offer("job-2", forged)
            # then
            await world.until(lambda: shown(agent).job_id == "job-2" and shown(agent).job_state is JobState.REJECTED)
            await world.reported(JobState.REJECTED)
            assert world.cloud.reason.startswith(attack.reason)
            assert "\n" not in world.cloud.reason
            assert world.artifacts.requests == []
            assert world.trusted() == trusted
            assert world.vehicle.running() == OLD
            await world.closed(agent)
            # and: the next honest manifest is taken
            world.cloud.offer("job-3", world.manifest(metadata_version=6, custom={"job_id": "job-3"}))
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_an_endless_manifest_is_refused_by_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer({**world.manifest(), "2.root.json": b" " * 5_000_000})
            await world.reported(JobState.REJECTED)
            assert world.cloud.reason == "manifest refused: it is longer than 4,194,304 bytes"
            await world.closed(agent)

    asyncio.run(story())


def test_an_older_manifest_is_refused_after_a_restart_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            old = world.manifest(metadata_version=4, custom={"job_id": "job-2"})
            async with world.gateway() as agent:
                world.offer(metadata_version=5)
                await world.decide(agent, Decision.DECLINE)
                await world.reported(JobState.REJECTED)
                await world.closed(agent)
            world.offer(old)
            async with world.gateway():
                await world.reported(JobState.REJECTED)
            assert "older than one that was accepted before" in world.cloud.reason
            assert world.artifacts.requests == []

    asyncio.run(story())


# The Primary alone


def test_a_new_root_signed_by_the_old_one_is_followed_and_kept(tmp_path: Path) -> None:
    world, primary = _alone(tmp_path)
    rotated = Director({**world.director.signers, "targets": Director().signers["targets"]})
    second = rotated.root(version=2, signed_by=world.director)
    bundle = {**world.manifest(director=rotated), "2.root.json": second}
    primary.accept(bundle, job_id="job-1", identities=world.vehicle.identify())
    assert (tmp_path / "state/director/root_history/2.root.json").read_bytes() == second
    with pytest.raises(ManifestRefused, match="does not list for targets"):  # the revoked key no longer works
        primary.accept(world.manifest(metadata_version=2), job_id="job-1", identities=world.vehicle.identify())


def test_a_new_root_that_the_old_one_did_not_sign_is_refused(tmp_path: Path) -> None:
    world, primary = _alone(tmp_path)
    foreign = Director()
    bundle = {**world.manifest(director=foreign), "2.root.json": foreign.root(version=2)}
    with pytest.raises(ManifestRefused, match="does not list for root"):
        primary.accept(bundle, job_id="job-1", identities=world.vehicle.identify())
    assert world.trusted() == {}
    assert not (tmp_path / "state/director").exists()


def test_the_same_manifest_is_accepted_again(tmp_path: Path) -> None:
    world, primary = _alone(tmp_path)
    bundle = world.manifest()
    first = primary.accept(bundle, job_id="job-1", identities=world.vehicle.identify())
    assert primary.accept(bundle, job_id="job-1", identities=world.vehicle.identify()) == first


def test_an_ecu_that_is_not_the_provisioned_one_is_refused(tmp_path: Path) -> None:
    world, primary = _alone(tmp_path)
    swapped = {name: identity for name, identity in world.vehicle.identify().items() if name == "adas"}
    with pytest.raises(ManifestRefused, match="what engine runs is not known"):
        primary.accept(world.manifest(), job_id="job-1", identities=swapped)
    foreign = (tmp_path / "vehicle" / "engine.json").read_text().replace("ENG-0001", "ENG-0666")
    (tmp_path / "vehicle" / "engine.json").write_text(foreign)
    with pytest.raises(ManifestRefused, match=r"engine reports serial ENG-0666 \(engine-mcu-a\), but ENG-0001"):
        primary.accept(world.manifest(), job_id="job-1", identities=world.vehicle.identify())


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no such file"), (b"{}", "not a valid TUF root"), (b"\xff", "not a valid")]
)
def test_a_pinned_root_that_is_none_stops_the_start(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "root.json").write_bytes(content)
    with pytest.raises(StartError, match=f"director_root .*root.json: .*{says}"):
        _primary(tmp_path)


def _alone(folder: Path) -> tuple[World, Primary]:
    from tests.bench.gateway.model_vehicle import ModelVehicle

    world = World(folder, ModelVehicle.build(folder / "vehicle", ECUS))
    (folder / "root.json").write_bytes(world.director.root())
    return world, _primary(folder)


def _primary(folder: Path, **more: Any) -> Primary:
    known = [KnownEcu(ecu.name, ecu.serial, ecu.hardware_id, metadata_bytes=65_536) for ecu in ECUS]
    return Primary(vin=VIN, known=known, director_root=folder / "root.json", metadata_dir=folder / "state", **more)


def _as_job_two(world: World, attack: Attack, accepted: Bundle) -> Bundle:
    """The attacker uses the right job id, so that only the attack itself is wrong."""
    honest = world.manifest

    def for_job_two(**manifest: Any) -> Bundle:
        custom = {"job_id": "job-2"} | manifest.pop("custom", {})
        return honest(**{"metadata_version": 6, **manifest, "custom": custom})

    world.manifest = for_job_two  # type: ignore[method-assign]
    try:
        return attack.bundle(world, accepted)
    finally:
        world.manifest = honest  # type: ignore[method-assign]


def _without(bundle: Bundle, name: str) -> Bundle:
    return {key: value for key, value in bundle.items() if key != name}
