"""Who may state something about an image: the search through the delegations of an Image repository (Uptane 2.1.0, 5.4.4.7 and 5.4.4.8).

    found = find_target(path, load=load, hardware_ids={"engine-mcu-a"})

``load`` returns a role's Targets, verified by the keys and the threshold of the role that delegates to it. This module uses neither files
nor network. TUF searches by path alone. Uptane adds two things, which TUF's format carries as further members of a delegated role:

* ``hardware_ids``: a list of hardware ids. The delegation applies to images for these only. Without it every hardware id matches.
* ``multi_role``: ``{"name": …, "min_roles_in_agreement": …}``. Delegated roles that follow each other and have the same name here are one
  multi-role delegation (TAP 3): so many of them must state the same about an image, in everything that the Director's Targets are compared
  with. Paths, hardware ids and ``terminating`` are those of the first.

The standard leaves formats to the implementation. A client that knows TUF only would take the roles of a multi-role delegation one by one,
so a repository that uses it is for Uptane clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tuf.api.metadata import DelegatedRole, TargetFile, Targets  # type: ignore[attr-defined]  # its public names

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind

TOP_LEVEL: Final = "targets"
MAX_ROLES: Final = 33
"""As many as python-tuf searches. A hostile supplier could otherwise send a vehicle through thousands of files."""

Load = Callable[[str, str], Targets]
"""Returns the verified Targets of a role, by its name and that of the role that delegates to it."""


class _MultiRole(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    min_roles_in_agreement: int = Field(ge=1)


class _Limits(BaseModel):
    """The members of a delegated role that TUF does not define."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    hardware_ids: list[str] | None = None
    multi_role: _MultiRole | None = None


@dataclass(frozen=True)
class _Delegation:
    """An ordinary delegation (one role), or a multi-role delegation."""

    roles: tuple[str, ...]
    needed: int
    terminating: bool


@dataclass(frozen=True)
class _Result:
    """``is_final``: a terminating delegation was on the way, so the search ends whether it found something or not."""

    target: TargetFile | None
    is_final: bool = False


def find_target(path: str, *, load: Load, hardware_ids: Set[str] | None = None) -> TargetFile | None:
    """Return what the repository states about an image. None: nothing.

    Args:
        path: of the image.
        load: how a role's Targets are read and verified.
        hardware_ids: for which the image is wanted, all of which a delegation must include. None: not known, every delegation includes it.

    Raises:
        ManifestRefused: a delegation is not well-formed, or the search is too long.
    """
    return _Search(path, load, hardware_ids).role(TOP_LEVEL, "root", set()).target


class _Search:
    def __init__(self, path: str, load: Load, hardware_ids: Set[str] | None) -> None:
        self._path = path
        self._load = load
        self._hardware_ids = hardware_ids
        self._loaded = 0

    def role(self, name: str, parent: str, seen: set[str]) -> _Result:
        """Steps 1 to 4 of 5.4.4.7 for one role. ``seen``: the roles that were searched, which are not searched again; it is extended."""
        if name in seen:
            return _Result(None)
        seen.add(name)
        self._loaded += 1
        if self._loaded > MAX_ROLES:
            raise ManifestRefused(
                f"the search for {self._path} goes through more than {MAX_ROLES} roles", kind=RefusalKind.ENDLESS_DATA
            )
        # 1. the file, verified
        targets = self._load(name, parent)
        # 2. this role states something itself
        if self._path in targets.targets:
            return _Result(targets.targets[self._path])
        # 4. its delegations, in their order
        for delegation in _applying(targets, self._path, self._hardware_ids):
            result = self._delegated(delegation, name, seen)
            if result.target is not None or result.is_final or delegation.terminating:
                # 3. nothing found behind a terminating delegation is the end, too
                return _Result(result.target, is_final=True)
        return _Result(None)

    def _delegated(self, delegation: _Delegation, parent: str, seen: set[str]) -> _Result:
        if len(delegation.roles) == 1:
            return self.role(delegation.roles[0], parent, seen)
        # Each member searches for itself: two of them may delegate to the same role, and agree through it.
        searched = [set(seen) for _ in delegation.roles]
        results = [self.role(name, parent, own) for name, own in zip(delegation.roles, searched, strict=True)]
        seen.update(*searched)
        # 5.4.4.8. The roles are in the order of trust: of two sets that are large enough, the one with the earlier role wins.
        found = [result.target for result in results if result.target is not None]
        for candidate in found:
            if sum(_statement(candidate) == _statement(other) for other in found) >= delegation.needed:
                return _Result(candidate)
        return _Result(None)


def _statement(target: TargetFile) -> str:
    """Return everything that a role states about an image. All of ``custom`` here is what the Director's Targets must match."""
    return json.dumps(target.to_dict(), sort_keys=True)


def _applying(targets: Targets, path: str, hardware_ids: Set[str] | None) -> Iterator[_Delegation]:
    delegations = targets.delegations
    if delegations is None:
        return
    if delegations.roles is None:
        for name, terminating in delegations.get_roles_for_target(path):
            yield _Delegation((name,), 1, terminating)
        return
    limited = [(role, _limits(role)) for role in delegations.roles.values()]
    for _, group in groupby(enumerate(limited), key=_group):
        members = [member for _, member in group]
        first, limits = members[0]
        if not first.is_delegated_path(path) or not _is_for(limits.hardware_ids, hardware_ids):
            continue
        names = tuple(role.name for role, _ in members)
        needed = 1 if limits.multi_role is None else limits.multi_role.min_roles_in_agreement
        if needed > len(names):
            raise _malformed(first, f"{needed} of {len(names)} roles must agree")
        yield _Delegation(names, needed, first.terminating)


def _group(numbered: tuple[int, tuple[DelegatedRole, _Limits]]) -> str | int:
    """Return what the roles of one multi-role delegation have in common. An ordinary one is a group of its own."""
    number, (_, limits) = numbered
    return number if limits.multi_role is None else limits.multi_role.name


def _is_for(listed: list[str] | None, wanted: Set[str] | None) -> bool:
    return listed is None or wanted is None or wanted <= set(listed)


def _limits(role: DelegatedRole) -> _Limits:
    members: dict[str, Any] = role.unrecognized_fields
    try:
        return _Limits.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _malformed(role, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _malformed(role: DelegatedRole, problem: str) -> ManifestRefused:
    return ManifestRefused(
        f"the delegation to {role.name} is not well-formed ({problem})", kind=RefusalKind.MALFORMED_METADATA
    )
