"""All stories, in the order of the table."""

from __future__ import annotations

from typing import Final

from otabench.bench.attacks.stories import (
    clocks,
    clouds,
    consents,
    downloads,
    ecus,
    metadata,
    reports,
    software,
    stolen_keys,
)
from otabench.bench.attacks.story import Story
from otabench.bench.errors import UnknownName

STORIES: Final[tuple[Story, ...]] = (
    ecus.EAVESDROP,
    downloads.DROP_REQUEST,
    downloads.SLOW_RETRIEVAL,
    metadata.FREEZE,
    clocks.CLOCK,
    clouds.DENIAL_OF_SERVICE,
    downloads.PARTIAL_BUNDLE,
    metadata.ROLLBACK,
    metadata.ENDLESS_METADATA,
    downloads.ENDLESS_ARTIFACT,
    downloads.TAMPERED,
    metadata.MIX_AND_MATCH,
    metadata.MIXED_BUNDLE,
    software.ARBITRARY_SOFTWARE,
    software.COMPROMISED_GATEWAY,
    stolen_keys.FAST_FORWARD,
    stolen_keys.REVOKED_KEYS,
    metadata.REPLAY,
    ecus.SEED_REPLAY,
    reports.FORGED_REPORT,
    consents.CONSENT_REPLAY,
    metadata.OTHER_VEHICLE,
    metadata.OTHER_HARDWARE,
    clouds.STOLEN_CERTIFICATE,
    metadata.TRAVERSAL,
    clouds.SERVER_TRAVERSAL,
    ecus.BOMBS,
)


def find(name: str) -> Story:
    """Return a story by its name.

    Raises:
        UnknownName: there is none.
    """
    for story in STORIES:
        if story.name == name:
            return story
    raise UnknownName("attack", name, [story.name for story in STORIES])
