"""The gateway judges expiry by attested time, which never goes back, whatever the machine's clock states."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.attested_time import KnownTime, TimeAnswer
from otabench.bench.gateway.trust.manifest import KnownEcu
from otabench.bench.gateway.trust.primary import Primary
from otabench.cloud.trust.keys import raw_public
from otabench.proto.time_attestation import attest
from otabench.proto.uptane import RootCustom, TimeKeys
from tests.bench.gateway.director import Director
from tests.bench.gateway.model_vehicle import ModelVehicle
from tests.bench.gateway.world import ECUS, VIN, World

KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NONCE = bytes(16)
NOW_S = 1_790_000_000
DAY_S = 86_400


def root(*keys: Ed25519PrivateKey) -> Root:
    custom = RootCustom(time=TimeKeys(keys=tuple(map(raw_public, keys)))).model_dump(mode="json") if keys else {}
    return Root(unrecognized_fields={"custom": custom})


def answer(time_s: int, *, key: Ed25519PrivateKey = KEY, nonce: bytes = NONCE) -> TimeAnswer:
    return TimeAnswer(NONCE, attest(time_s=time_s, nonce=nonce, keys=[key]))


def test_time_goes_on_and_never_back() -> None:
    known, problem = KnownTime().after(answer(NOW_S), root(KEY))
    assert (known.time_s, problem) == (NOW_S, "")
    assert known.after(answer(NOW_S + 5), root(KEY))[0].time_s == NOW_S + 5
    assert known.after(answer(NOW_S - 5), root(KEY)) == (known, "the attested time goes back by 5 s")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(NOW_S + 5, key=OTHER_KEY), "signed by 0 of the time keys"),
        (answer(NOW_S + 5, nonce=bytes(15) + b"x"), "another nonce: a replay"),
        (TimeAnswer(NONCE, b"x"), "not a time attestation"),
        (TimeAnswer(NONCE, b""), ""),
        (None, ""),
    ],
)
def test_without_a_good_answer_the_last_time_counts(given: TimeAnswer | None, words: str) -> None:
    known, _ = KnownTime().after(answer(NOW_S), root(KEY))
    after, problem = known.after(given, root(KEY))
    assert after == known
    assert words in problem
    assert bool(words) == bool(problem)


def test_replaced_time_keys_end_a_fast_forward_and_one_more_key_does_not() -> None:
    known, _ = KnownTime().after(answer(NOW_S + 3650 * DAY_S), root(KEY))
    assert known.after(None, root(KEY, OTHER_KEY))[0].time_s == known.time_s
    assert known.after(answer(NOW_S, key=OTHER_KEY), root(OTHER_KEY)) == (
        KnownTime(time_s=NOW_S, keys=(raw_public(OTHER_KEY),)),
        "",
    )


def test_a_root_without_time_keys_attests_nothing() -> None:
    assert KnownTime().after(answer(NOW_S), root()) == (KnownTime(), "")


def test_what_is_kept_is_read_again_and_a_damaged_file_keeps_nothing(tmp_path: Path) -> None:
    known, _ = KnownTime().after(answer(NOW_S), root(KEY))
    assert KnownTime.read(tmp_path / "time.json") == KnownTime()
    known.write(tmp_path / "time.json")
    assert KnownTime.read(tmp_path / "time.json") == known
    (tmp_path / "time.json").write_bytes(b"{")
    assert KnownTime.read(tmp_path / "time.json") == KnownTime()


# The Primary


class Vehicle:
    """A gateway whose Director attests the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder, ModelVehicle.build(folder / "vehicle", ECUS))
        metadata = Metadata[Root].from_bytes(self.world.director.root())
        metadata.signed.unrecognized_fields = dict(root(KEY).unrecognized_fields)
        metadata.sign(self.world.director.signers["root"])
        (folder / "root.json").write_bytes(metadata.to_bytes())
        self.primary = Primary(
            vin=VIN,
            known=[KnownEcu(ecu.name, ecu.serial, ecu.hardware_id) for ecu in ECUS],
            director_root=folder / "root.json",
            metadata_dir=folder / "state",
        )

    def accept(self, time_s: int | None, *, version: int = 1) -> str:
        """Accept a manifest that lives an hour. Return what is wrong with the attested time."""
        given = None if time_s is None else answer(time_s)
        manifest = self.world.manifest(metadata_version=version)
        identities = self.world.vehicle.identify()
        return self.primary.accept(manifest, job_id="job-1", identities=identities, time=given).time_problem


def test_metadata_that_expired_by_attested_time_are_refused_although_the_clock_is_slow(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path)
    now = int(time.time())
    with pytest.raises(ManifestRefused, match="the clock of the vehicle is slow") as refusal:
        vehicle.accept(now + 2 * DAY_S)
    assert refusal.value.kind is RefusalKind.FREEZE
    assert not (tmp_path / "state/director/timestamp.json").exists()
    # and: the refused answer is not kept, so an honest one is accepted afterwards
    assert vehicle.accept(now) == ""


def test_the_last_attested_time_counts_when_nobody_answers(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path)
    assert vehicle.accept(int(time.time())) == ""
    later = KnownTime(time_s=int((datetime.now(UTC) + timedelta(days=2)).timestamp()), keys=(raw_public(KEY),))
    later.write(tmp_path / "state/attested_time.json")
    with pytest.raises(ManifestRefused, match="the clock of the vehicle is slow"):
        vehicle.accept(None, version=2)


def test_a_wrong_answer_is_reported_and_does_not_stop_the_update(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path)
    now = int(time.time())
    vehicle.accept(now)
    assert vehicle.accept(now - 60, version=2) == "the attested time goes back by 60 s"


def test_a_director_that_does_not_attest_the_time_is_as_before(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path)
    (tmp_path / "root.json").write_bytes(Director(vehicle.world.director.signers).root())
    primary = Primary(
        vin=VIN,
        known=[KnownEcu(ecu.name, ecu.serial, ecu.hardware_id) for ecu in ECUS],
        director_root=tmp_path / "root.json",
        metadata_dir=tmp_path / "state",
    )
    given = answer(int(time.time()) + 2 * DAY_S)
    primary.accept(vehicle.world.manifest(), job_id="job-1", identities=vehicle.world.vehicle.identify(), time=given)
