"""Who takes part in an attack: what the attacker may have stolen, who may stop it, and where it happens."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Key(StrEnum):
    """A key or certificate that an attacker may have stolen."""

    DIRECTOR_ROOT = "two keys of Director Root"
    ONE_ROOT_KEY = "one key of Director Root"
    DIRECTOR_TARGETS = "Director Targets"
    DIRECTOR_SNAPSHOT = "Director Snapshot"
    DIRECTOR_TIMESTAMP = "Director Timestamp"
    DIRECTOR_TIME = "Director time"
    IMAGE_TARGETS = "Image Targets"
    SUPPLIER = "supplier Targets"
    IMAGE_SNAPSHOT = "Image Snapshot"
    IMAGE_TIMESTAMP = "Image Timestamp"
    FIRMWARE = "firmware signing"
    GATEWAY = "the gateway"
    """The gateway itself: its bus and the secrets of security access."""
    VEHICLE = "a vehicle's certificate"
    VIEWER = "a viewer's certificate"


DIRECTOR_ONLINE: Final = frozenset({Key.DIRECTOR_TARGETS, Key.DIRECTOR_SNAPSHOT, Key.DIRECTOR_TIMESTAMP})
IMAGE_ONLINE: Final = frozenset({Key.IMAGE_SNAPSHOT, Key.IMAGE_TIMESTAMP})
IMAGE_OFFLINE: Final = frozenset({Key.IMAGE_TARGETS, Key.SUPPLIER})
ALL_ROLES: Final = DIRECTOR_ONLINE | IMAGE_ONLINE | IMAGE_OFFLINE


class Guard(StrEnum):
    """The party that stops an attack."""

    GATEWAY = "gateway"
    DOWNLOAD = "gateway, download"
    ECU = "ECU"
    CLOUD = "cloud"
    ARTIFACT_SERVER = "artifact server"
    DESIGN = "no part asks for it"
    """What the attacker made is read by nobody, so nothing has to be refused."""


class Place(StrEnum):
    """What a case needs of a scene."""

    GATEWAY = "gateway"
    """The gateway's verification and downloads."""
    ECU = "ECU"
    CLOUD = "cloud"
