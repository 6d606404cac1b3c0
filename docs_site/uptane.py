"""``docs/uptane.md``: the requirements of the Uptane Standard, where each is enforced, and by which test it is shown.

    python -m docs_site.uptane            # writes docs/uptane.md out of docs_site/uptane.yaml

A test holds that the page is current, and that every file and test that it names exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
REQUIREMENTS: Final = Path(__file__).with_name("uptane.yaml")
PAGE: Final = ROOT / "docs" / "uptane.md"
_HEAD: Final = (
    "# Uptane Standard, clause by clause\n\n"
    "The requirements of the Uptane Standard 2.1.0 (sections 5.2 to 5.4), shortened. What is not met is named. As long as a requirement "
    'with SHALL has a gap, otabench says "Uptane-inspired". What attackers reach is in [Security](security.md#attacks).\n\n'
    "This page is generated: `python -m docs_site.uptane` makes it out of `docs_site/uptane.yaml`.\n\n"
)
_TABLE: Final = (
    "| clause | level | requirement | state | enforced in | shown by | gap |\n|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Requirement:
    """One requirement, what enforces it, and what is missing."""

    clause: str
    level: str
    asks: str
    where: Sequence[str] = ()
    tests: Sequence[str] = ()
    gap: str = ""

    @property
    def state(self) -> str:
        """Whether it is met."""
        if not self.tests:
            return "**not met**"
        return "partly" if self.gap else "met"


def read_requirements(path: Path = REQUIREMENTS) -> list[Requirement]:
    """Return the requirements in the order of the file.

    Raises:
        ValueError: an entry has an unknown key or level, or neither a test nor a gap.
    """
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Requirement)}
    found = []
    for entry in entries:
        name = entry.get("clause")
        if unknown := entry.keys() - known:
            raise ValueError(f"{path}: {name}: unknown keys {', '.join(sorted(unknown))}")
        requirement = Requirement(**(entry | {"clause": str(name)}))
        if requirement.level not in ("SHALL", "SHOULD"):
            raise ValueError(f"{path}: {name}: the level is SHALL or SHOULD, not {requirement.level}")
        if not requirement.tests and not requirement.gap:
            raise ValueError(f"{path}: {name}: give tests, or a gap")
        found.append(requirement)
    return found


def render(requirements: Sequence[Requirement]) -> str:
    """Return the page."""
    states = [each.state for each in requirements]
    shall = [each for each in requirements if each.level == "SHALL"]
    open_ = sum(each.state != "met" for each in shall)
    summary = (
        f"{len(states)} requirements: {states.count('met')} met, {states.count('partly')} partly, "
        f"{states.count('**not met**')} not met. Of {len(shall)} with SHALL, {open_} have a gap.\n\n"
    )
    return _HEAD + summary + _TABLE + "".join(map(_row, requirements))


def _row(each: Requirement) -> str:
    where = "<br>".join(f"`{path}`" for path in each.where)
    tests = "<br>".join(map(_link, each.tests))
    return f"| {each.clause} | {each.level} | {each.asks} | {each.state} | {where} | {tests} | {each.gap} |\n"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../tests/{path})"


if __name__ == "__main__":
    PAGE.write_text(render(read_requirements()), encoding="utf-8")
    print(PAGE)
