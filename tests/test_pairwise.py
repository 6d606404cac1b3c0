"""Every pair of values occurs in a pairwise choice."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import pytest

from tests.pairwise import pairs_in, pairwise


@pytest.mark.parametrize(
    "properties",
    [
        (("a", "b"), (1, 2, 3)),
        (("kernel", "user"), ("normal", "normal_fixed", "extended"), (False, True)),
        ((1, 2), (1, 2), (1, 2), (1, 2)),
        tuple(tuple(range(size)) for size in (2, 6, 2, 3)),
        (("alone",), (1, 2)),
    ],
)
def test_every_pair_of_values_occurs(properties: Sequence[Sequence[Hashable]]) -> None:
    chosen = pairwise(*properties)
    product = list(itertools.product(*properties))
    assert set().union(*map(pairs_in, chosen)) == set().union(*map(pairs_in, product))
    assert set(chosen) <= set(product) and len(set(chosen)) == len(chosen)


def test_a_choice_is_much_smaller_than_the_product_and_always_the_same() -> None:
    properties = [range(size) for size in (2, 6, 2, 3)]
    assert len(pairwise(*properties)) < 72 / 3
    assert pairwise(*properties) == pairwise(*properties)


def test_without_pairs_there_is_nothing_to_choose() -> None:
    assert pairwise(("a", "b")) == []
