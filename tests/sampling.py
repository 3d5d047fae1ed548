"""A seeded sample of a grid of cases for every day; the rest of the grid for `make test-slow`.

A test marked `sampled(N)` runs with N of its cases by default, drawn by the test's name to be the
same everywhere; of several parameters each value comes at least once (N is exceeded then). The
others get the marker `wide`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest


def mark_the_rest(items: list[pytest.Item]) -> None:
    """Give the marker `wide` to the cases that the sample of their test leaves out."""
    grids: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("sampled"):
            grids[item.nodeid.partition("[")[0]].append(item)
    for name, cases in grids.items():
        (count,) = next(cases[0].iter_markers("sampled")).args
        chosen = sample([_values(case) for case in cases], count, name)
        for place, case in enumerate(cases):
            if place not in chosen:
                case.add_marker("wide")


def sample(cases: list[dict[str, Any]], count: int, seed: str) -> set[int]:
    """Draw places of cases: so many, and of several parameters each value at least once."""
    order = list(range(len(cases)))
    random.Random(seed).shuffle(order)
    chosen: set[int] = set()
    missing = {pair for case in cases for pair in case.items() if len(case) > 1}
    while missing:
        best = max(order, key=lambda place: len(missing & cases[place].items()))
        chosen.add(best)
        missing -= cases[best].items()
    others = [place for place in order if place not in chosen]
    return chosen | set(others[: max(0, count - len(chosen))])


def _values(case: pytest.Function) -> dict[str, Any]:
    """Tell the values of each parameter apart; the values themselves may not be hashable."""
    return {name: id(value) for name, value in case.callspec.params.items()}
