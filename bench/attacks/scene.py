"""The target of an attack: the vehicle's verification, its ECUs, the cloud, and the honest images that it had before.

A test makes a scene in its own process, ``live`` makes one of a running bench. Stories use nothing else, so that a story is the same in
both.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from otabench.bench.attacks.cloud_door import CloudDoor
from otabench.bench.attacks.ecu_door import EcuDoor
from otabench.bench.attacks.forge import Files, Forge, Order
from otabench.bench.attacks.hostile_server import Behaviour, hostile_server
from otabench.bench.attacks.parties import ALL_ROLES, IMAGE_OFFLINE, IMAGE_ONLINE, Key
from otabench.bench.errors import BenchError
from otabench.bench.gateway.cloud.downloads import Downloader, DownloadLimits
from otabench.bench.gateway.trust.attested_time import TimeAnswer
from otabench.bench.gateway.trust.manifest import KnownEcu, RemoteFile
from otabench.bench.gateway.trust.primary import Accepted, Primary
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto import metadata_window

LARGEST_VERSION: Final = 2**31 - 1
JOB_ID: Final = "job-attack"
LIMITS: Final = DownloadLimits(
    min_bytes_per_s=4096.0, stall_s=0.1, outage_limit_s=0.3, retry_first_s=0.01, retry_max_s=0.02
)
"""Those of a gateway, a hundred times quicker."""


@dataclass(frozen=True)
class Pinned:
    """The trust anchors with which the vehicle was provisioned."""

    vin: str
    known: tuple[KnownEcu, ...]
    director_root: Path
    image_root: Path | None


@dataclass(frozen=True)
class Firmware:
    """An image of the ECU that is attacked."""

    version: str
    content: bytes
    release_counter: int


@dataclass(frozen=True)
class Scene:
    """Where an attack happens.

    Attributes:
        pinned: what the vehicle was provisioned with.
        trusted: the folder of its accepted metadata.
        downloads: a folder for downloads.
        forge: signs.
        target: the ECU that is attacked.
        other: another ECU of the vehicle; None: the vehicle has one only.
        good: the image that an honest campaign would bring: newer, published, genuine.
        older: an image that is older than what the ECU runs; None: none is at hand.
        make_image: returns an image of another version, signed with the real firmware key or with another one.
        cloud: None: this scene has no cloud.
    """

    pinned: Pinned
    trusted: Path
    downloads: Path
    forge: Forge
    target: EcuDoor
    good: Firmware
    make_image: Callable[[str, bool], Firmware]
    other: EcuDoor | None = None
    older: Firmware | None = None
    cloud: CloudDoor | None = None
    identities: Callable[[], Mapping[str, EcuIdentity]] | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    """What a case's preparation leaves for its attack."""

    # Orders

    def order(self, image: Firmware | None = None, **changes: Any) -> Order:
        """Return what the Director states for the target, with changes to the truth."""
        chosen = image or self.good
        facts: dict[str, Any] = {
            "ecu_serial": self.target.serial,
            "hardware_id": self.target.hardware_id,
            "version": chosen.version,
            "content": chosen.content,
            "release_counter": chosen.release_counter,
        }
        return Order(**(facts | changes))

    def director(self, orders: Sequence[Order] | None = None, **changes: Any) -> Files:
        """Return the Director's files of the next version. ``changes``: see ``Forge.director``."""
        facts: dict[str, Any] = {"job_id": JOB_ID, "real": ALL_ROLES - self.replaced}
        facts |= {"version": self.next_version} if "version" not in changes else {}
        roots: Files = self.memory.get("roots", {})
        return roots | self.forge.director([self.order()] if orders is None else orders, **(facts | changes))

    def images(self, listed: Sequence[Order] | None = None, **changes: Any) -> Files:
        """Return the Image repository's files of the next version. ``changes``: see ``Forge.images``."""
        facts: dict[str, Any] = {"version": self.next_version} if "version" not in changes else {}
        kept = {each.name: each.read_bytes() for each in (self.trusted / "image").glob("supplier-*.json")}
        return self.forge.images([self.order()] if listed is None else listed, kept=kept, **(facts | changes))

    @property
    def next_version(self) -> int:
        """A version of metadata above all that gateway and ECUs have accepted from this forge."""
        files = [each for each in self.trusted.glob("*/*.json") if each.stem != "root"]
        found = [json.loads(each.read_bytes())["signed"]["version"] for each in files]
        # An attack may have used the largest version there is.
        versions = [version for version in found if version < LARGEST_VERSION]
        self.memory["version"] = max([*versions, self.memory.get("version", 0)]) + 1
        return int(self.memory["version"])

    def evil(self, *, signed: bool = False) -> Firmware:
        """Return the attacker's image, which looks newer than the good one.

        Args:
            signed: whether the attacker has the firmware key.
        """
        # As long as the good one's, so that metadata about either have the same length.
        return self.make_image(self.good.version[:-1] + "9", signed)

    @property
    def replaced(self) -> frozenset[Key]:
        """The keys that a new Root has replaced: the honest cloud signs with others now."""
        return frozenset(self.memory.get("replaced", ()))

    def replace_keys(self, keys: Collection[Key]) -> None:
        """Have the Director's offline Root replace keys, as after their theft."""
        root = self.forge.next_director_root(
            self.pinned.director_root.read_bytes(), replace=keys, real={Key.DIRECTOR_ROOT}
        )
        self.memory.update(roots={"2.root.json": root}, replaced=frozenset(keys))

    def window(self, director: Files | None = None) -> bytes:
        """Return what an ECU receives of the Director's files: Targets, and the Roots since the pinned one."""
        files = self.director() if director is None else director
        return metadata_window.pack([files[name] for name in sorted(files) if ".root." in name], files["targets.json"])

    # The vehicle

    def accept(
        self,
        director: Files | None = None,
        images: Files | None = None,
        *,
        job_id: str = JOB_ID,
        time: TimeAnswer | None = None,
    ) -> Accepted:
        """Have the gateway verify metadata. Without arguments: those of the honest cloud, and no attested time.

        Raises:
            ManifestRefused: it refuses them.
        """
        # A gateway that starts again: only what it has stored counts.
        primary = Primary(
            vin=self.pinned.vin,
            known=self.pinned.known,
            director_root=self.pinned.director_root,
            image_root=self.pinned.image_root,
            metadata_dir=self.trusted,
        )
        return primary.accept(
            self.director() if director is None else director,
            job_id=job_id,
            identities=self.read_identities(),
            image_metadata=self.images() if images is None else images,
            time=time,
        )

    def accept_with(self, stolen: Collection[Key], image: Firmware, *, own_supplier: bool = False) -> Accepted:
        """Have the gateway verify what an attacker with these keys makes of an image that nobody published.

        What the attacker cannot sign is the honest document, where one would do, and signed by a key of its own elsewhere.

        Raises:
            ManifestRefused: it refuses it.
        """
        evil = self.order(image)
        director = self.director([evil], real=stolen)
        offline = bool(IMAGE_OFFLINE & set(stolen))
        if not offline and not IMAGE_ONLINE & set(stolen):
            return self.accept(director, self.images())
        # The top-level Targets may stay the honest ones, where only a supplier's key is stolen.
        real = {*stolen, Key.IMAGE_TARGETS}
        if own_supplier:
            real.add(Key.SUPPLIER)
        listed = self.images([self.order(), evil], real=real, own_supplier=own_supplier)
        return self.accept(director, listed)

    def read_identities(self) -> Mapping[str, EcuIdentity]:
        """Return what the ECUs report."""
        if self.identities is not None:
            return self.identities()
        doors = [self.target] + ([self.other] if self.other is not None else [])
        return {door.name: door.identity() for door in doors}

    def trusted_files(self) -> dict[str, bytes]:
        """Return the accepted metadata."""
        files = [each for each in self.trusted.rglob("*") if each.is_file()]
        return {str(each.relative_to(self.trusted)): each.read_bytes() for each in files}

    def download(self, file: RemoteFile, behaviour: Behaviour) -> Path:
        """Have the gateway download a file from a hostile server.

        Raises:
            DownloadError: it gives up.
        """

        async def fetch() -> Path:
            async with hostile_server(behaviour) as url:
                return await Downloader(self.downloads, LIMITS).fetch(file, base_url=url)

        return asyncio.run(fetch())

    def require_cloud(self) -> CloudDoor:
        """Return the cloud. Raises BenchError: there is none."""
        if self.cloud is None:
            raise BenchError("this attack needs a cloud")
        return self.cloud
