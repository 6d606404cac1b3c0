"""The search through delegations: paths, hardware ids, terminating delegations, and roles that must agree (multi-role delegations)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, TargetFile, Targets  # type: ignore[attr-defined]

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.delegations import MAX_ROLES, find_target

PATH = "images/engine.bin"


class Suppliers:
    """Roles with their Targets, and what was loaded."""

    def __init__(self) -> None:
        self.roles: dict[str, Targets] = {"targets": Targets()}
        self.loaded: list[str] = []

    def delegate(
        self, name: str, *, parent: str = "targets", terminating: bool = False, paths: str = "images/*", **members: Any
    ) -> None:
        delegations = self.roles[parent].delegations or Delegations({}, {})
        assert delegations.roles is not None
        delegations.roles[name] = DelegatedRole(name, [], 1, terminating, [paths], unrecognized_fields=members)
        self.roles[parent].delegations = delegations
        self.roles.setdefault(name, Targets())

    def both(self, *names: str, needed: int = 2, parent: str = "targets", terminating: bool = False) -> None:
        for name in names:
            group = {"name": "release", "min_roles_in_agreement": needed}
            self.delegate(name, parent=parent, terminating=terminating, multi_role=group)

    def state(self, role: str, content: bytes, **custom: Any) -> None:
        target = TargetFile.from_data(PATH, content, ["sha256"])
        target.unrecognized_fields["custom"] = custom
        self.roles[role].targets[PATH] = target

    def find(self, *hardware_ids: str) -> int | None:
        """Return the length of what is found, which tells the roles' statements apart."""
        found = find_target(PATH, load=self._load, hardware_ids=set(hardware_ids) or None)
        return None if found is None else found.length

    def _load(self, role: str, parent: str) -> Targets:
        self.loaded.append(role)
        return self.roles[role]


@pytest.fixture
def suppliers() -> Suppliers:
    return Suppliers()


@pytest.mark.parametrize(
    ("hardware_ids", "found"), [(["engine-a"], 2), (["engine-b"], 1), (["engine-a", "engine-b"], None), ([], 1)]
)
def test_a_delegation_is_for_its_hardware_ids(suppliers: Suppliers, hardware_ids: list[str], found: int | None) -> None:
    suppliers.delegate("b", hardware_ids=["engine-b", "engine-c"])
    suppliers.delegate("a", hardware_ids=["engine-a"])
    suppliers.state("b", b"1")
    suppliers.state("a", b"22")
    assert suppliers.find(*hardware_ids) == found


def test_a_delegation_for_other_hardware_does_not_end_the_search(suppliers: Suppliers) -> None:
    suppliers.delegate("b", terminating=True, hardware_ids=["engine-b"])
    suppliers.delegate("a")
    suppliers.state("a", b"1")
    assert suppliers.find("engine-a") == 1
    assert suppliers.find("engine-b") is None
    assert suppliers.loaded == ["targets", "a", "targets", "b"]


def test_a_multi_role_delegation_needs_agreement(suppliers: Suppliers) -> None:
    suppliers.both("maker", "tester")
    suppliers.state("maker", b"1")
    assert suppliers.find() is None, "one of two"
    suppliers.state("tester", b"2")
    assert suppliers.find() is None, "of the same length, with another hash"
    suppliers.state("tester", b"1", hardware_id="engine-b")
    assert suppliers.find() is None, "of another hardware"
    suppliers.state("tester", b"1")
    assert suppliers.find() == 1


def test_of_two_agreeing_sets_the_one_with_the_earliest_role_wins(suppliers: Suppliers) -> None:
    suppliers.both("a", "b", "c", "d")
    for role, content in (("a", b"1"), ("b", b"22"), ("c", b"22"), ("d", b"1")):
        suppliers.state(role, content)
    assert suppliers.find() == 1


@pytest.mark.parametrize(("terminating", "found"), [(True, None), (False, 3)])
def test_without_agreement_the_next_delegation_counts_unless_it_ends(
    suppliers: Suppliers, terminating: bool, found: int | None
) -> None:
    suppliers.both("maker", "tester", terminating=terminating)
    suppliers.state("maker", b"1")
    suppliers.delegate("other")
    suppliers.state("other", b"333")
    assert suppliers.find() == found


def test_roles_may_agree_through_the_same_delegation_below_them(suppliers: Suppliers) -> None:
    suppliers.both("maker", "tester")
    for parent in ("maker", "tester"):
        suppliers.delegate("plant", parent=parent, terminating=True)
    suppliers.state("plant", b"1")
    assert suppliers.find() == 1


def test_one_of_several_suffices_where_that_is_stated(suppliers: Suppliers) -> None:
    suppliers.both("maker", "tester", needed=1)
    suppliers.state("tester", b"1")
    assert suppliers.find() == 1


def test_a_circle_ends(suppliers: Suppliers) -> None:
    suppliers.delegate("a")
    suppliers.delegate("b", parent="a")
    suppliers.delegate("a", parent="b")
    assert suppliers.find() is None
    assert suppliers.loaded == ["targets", "a", "b"]


def test_a_search_without_end_is_given_up(suppliers: Suppliers) -> None:
    names = ["targets", *(f"role-{number}" for number in range(MAX_ROLES))]
    for parent, name in itertools.pairwise(names):
        suppliers.delegate(name, parent=parent)
    with pytest.raises(ManifestRefused) as refused:
        suppliers.find()
    assert refused.value.kind is RefusalKind.ENDLESS_DATA
    assert len(suppliers.loaded) == MAX_ROLES


@pytest.mark.parametrize(
    "members",
    [
        {"hardware_ids": "engine-a"},
        {"hardware_ids": [5]},
        {"multi_role": "release"},
        {"multi_role": {"name": "release", "min_roles_in_agreement": 0}},
        {"multi_role": {"name": "release", "min_roles_in_agreement": "2"}},
        {"multi_role": {"name": "release", "min_roles_in_agreement": 2}},  # of one role
    ],
)
def test_a_malformed_delegation_is_refused(suppliers: Suppliers, members: dict[str, Any]) -> None:
    suppliers.delegate("a", **members)
    suppliers.state("a", b"1")
    with pytest.raises(ManifestRefused) as refused:
        suppliers.find("engine-a")
    assert refused.value.kind is RefusalKind.MALFORMED_METADATA
