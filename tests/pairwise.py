"""Pairwise choice of combinations.

A fault that needs one certain value, or two together, is found by combinations in which every pair of values occurs; few faults need
three. So where a test is run in every combination of several properties, `make test` runs a pairwise choice, and the rest is
marked ``exhaustive``: `make test-all` runs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

Pair = tuple[int, Hashable, int, Hashable]
"""Two properties by their positions, and a value of each."""


def pairwise(*properties: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return combinations in which every value of each property meets every value of each other one.

    The choice is greedy: always the first combination of the full product with the most pairs that are new. It is the same in
    every run, and short, but not always the shortest one.
    """
    product = list(itertools.product(*properties))
    missing = {pair for combination in product for pair in pairs_in(combination)}
    chosen = []
    while missing:
        best = max(product, key=lambda combination: len(missing & pairs_in(combination)))  # the first one of equals
        chosen.append(best)
        missing -= pairs_in(best)
    return chosen


def pairs_in(combination: Iterable[Hashable]) -> set[Pair]:
    """Return the pairs of values that occur in a combination."""
    pairs = itertools.combinations(enumerate(combination), 2)
    return {(first, one, second, other) for (first, one), (second, other) in pairs}
