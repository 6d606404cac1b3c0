"""Flash profiles of both kinds by name: named steps (``profile``) and sequences as data (``sequence.profile``).

    facts_of("single-bank").payload        # "raw"
    isinstance(load("./mine.yaml"), SequenceProfile)

A file with the key ``sequence`` has named steps. Every other file is read as a sequence profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from otabench.bench import yaml_text
from otabench.bench.finding import fail, nearest
from otabench.bench.uds import profile as step_profiles
from otabench.bench.uds.errors import ProfileMistakes
from otabench.bench.uds.profile import Profile, Step, Timing
from otabench.bench.uds.sequence import profile as sequence_profiles
from otabench.bench.uds.sequence.material import BlockKind
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence.sections import Reverting, SlotsKind, VersionOrder, Versions
from otabench.bench.yaml_text import YamlMistake

AnyProfile = Profile | SequenceProfile


@dataclass(frozen=True)
class ProfileFacts:
    """The facts of a flash profile that other parts than the gateway need.

    Attributes:
        payload: ``container``: MCUboot images; ``raw``: program files.
        address: where a binary without an address belongs; None: the profile has none.
        versions: how versions are compared, and which there are.
        takes_deltas: whether the ECU rebuilds images from patches.
        takes_encryption: whether the ECU decrypts what it receives (OTAE-1).
        slots: what holds the ECU's images.
        takes_metadata: whether the ECU receives the signed metadata.
        signs_reports: whether the ECU signs version reports.
        authenticates: whether the tester authenticates itself by a certificate (29).
        metadata_bytes: the size of the window that receives them; None: none, or not known.
        needs_former_image: whether a rollback flashes the former image.
        driver_address: where program files have a driver for RAM; None: nowhere.
        memory: where program files may have data, as first address and the one behind the last. Empty: anywhere.
    """

    payload: Literal["container", "raw"]
    address: int | None
    versions: Versions
    takes_deltas: bool
    takes_encryption: bool
    slots: SlotsKind
    takes_metadata: bool
    needs_former_image: bool
    driver_address: int | None = None
    memory: tuple[tuple[int, int], ...] = ()
    metadata_bytes: int | None = None
    signs_reports: bool = False
    authenticates: bool = False

    @property
    def version_order(self) -> VersionOrder:
        """How two versions are compared."""
        return self.versions.order


def shipped() -> list[str]:
    """Return the names of all profiles in the package."""
    return sorted([*step_profiles.shipped(), *sequence_profiles.shipped()])


@cache
def load(name: str) -> AnyProfile:
    """Return a profile of either kind. Read it once per process.

    Args:
        name: the name of a shipped profile; or a path, if it contains ``/`` or ends in ``.yaml``.

    Raises:
        ProfileMistakes: the profile does not exist, cannot be read, or has mistakes; with all of them.
    """
    if not is_path(name) and name not in shipped():
        near = nearest(name, shipped())
        remedy = f"did you mean {near!r}?" if near else f"known: {', '.join(shipped())}; or give the path of a file"
        raise ProfileMistakes(name, [fail("", "cannot be read (there is none of this name in the package)", remedy)])
    if _has_named_steps(name):
        return step_profiles.load(name)
    return sequence_profiles.load(sequence_profiles.path_of(name))


def timing_of(profile: AnyProfile) -> Timing:
    """Return the times and repeats for single requests to an ECU with this profile."""
    if isinstance(profile, Profile):
        return profile.timing
    times = profile.times
    return Timing(
        p2_s=times.p2_s,
        p2_star_s=times.p2_star_s,
        p2_margin_s=times.margin_s,
        max_pending_s=times.max_pending_s,
        tester_present_s=2.0,
        busy_repeats=10,
        busy_pause_s=0.1,
        poll_p2_s=0.3,
        poll_pause_s=0.1,
    )


def is_path(name: str) -> bool:
    """Return whether a profile is named by its file, and not one that is shipped."""
    return "/" in name or name.endswith(".yaml")


def _has_named_steps(name: str) -> bool:
    if not is_path(name):
        return name in step_profiles.shipped()
    try:
        content = yaml_text.parse(yaml_text.load_text(Path(name))).content
    except (OSError, YamlMistake):
        return False  # the reader words what is wrong
    return isinstance(content, dict) and "sequence" in content and "sequences" not in content


def facts_of(name: str) -> ProfileFacts:
    """Return the facts of a profile.

    Raises:
        ProfileMistakes: see ``load``.
    """
    profile = load(name)
    if isinstance(profile, Profile):
        takes_metadata = Step.DOWNLOAD_METADATA in profile.sequence.programming
        return ProfileFacts(
            payload="container",
            address=profile.memory.image.address,
            versions=Versions(order=VersionOrder.SEMVER),
            takes_deltas=True,
            takes_encryption=True,
            slots=SlotsKind.TABLE,
            takes_metadata=takes_metadata,
            needs_former_image=False,
            metadata_bytes=profile.memory.metadata.size_bytes if takes_metadata else None,
            signs_reports=profile.routines.version_report is not None,
        )
    return ProfileFacts(
        payload=profile.payload.kind,
        address=profile.payload.address,
        versions=profile.versions,
        takes_deltas=profile.takes_deltas,
        takes_encryption=False,  # a sequence has no word for it
        slots=profile.slots.kind,
        takes_metadata=profile.takes_metadata,
        authenticates=profile.authenticates,
        needs_former_image=profile.reverting is Reverting.FLASH_FORMER,
        driver_address=next((area.address for area in profile.layout.areas if area.kind is BlockKind.DRIVER), None),
        memory=tuple((each.address, each.address + each.length) for each in profile.payload.memory),
    )
