"""Flash profiles: what can be said in one has an effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from otabench.bench import uds
from otabench.bench.gateway import flashing
from otabench.bench.uds.profile import Profile

SOURCES = [
    path for room in (flashing, uds) for path in Path(room.__path__[0]).rglob("*.py") if path.name != "profile.py"
]


def values_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from values_of(field.annotation)
        else:
            yield name


def test_every_value_of_a_profile_is_read() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    through_the_model = {"address_bytes", "length_bytes", "full", "patch", "encrypted_full", "encrypted_patch", "name"}
    through_the_model |= {"trial_limit_s"}  # Soak.require_fits
    unread = {name for name in values_of(Profile) if f".{name}" not in code}
    assert unread <= through_the_model
