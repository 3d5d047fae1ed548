"""What the default suite leaves out of a grid of cases is run by another part, and only that."""

from __future__ import annotations

import itertools

import pytest

from tests.sampling import sample

GRID = [
    {"metric": m, "kind": k, "size": s} for m, k, s in itertools.product(range(4), range(9), (0, 1))
]


@pytest.mark.parametrize("count", [1, 9, 20, 100])
def test_each_value_is_in_the_sample(count: int) -> None:
    places = sample(GRID, count, "a test")
    assert places == sample(GRID, count, "a test")
    assert {pair for place in places for pair in GRID[place].items()} == {
        pair for case in GRID for pair in case.items()
    }
    assert min(count, len(GRID)) <= len(places) <= max(count, 9 + 4)


def test_values_of_one_parameter_are_drawn() -> None:
    assert len(sample([{"keys": value} for value in range(7)], 2, "a test")) == 2


def test_another_test_has_another_sample() -> None:
    assert sample(GRID, 20, "one") != sample(GRID, 20, "other")


def test_the_parts_are_the_whole(pytester: pytest.Pytester) -> None:
    """Every case is in one of the two parts, whatever a part of the suite is collected."""
    pytester.makeconftest(
        "from tests.sampling import mark_the_rest\n"
        "import pytest\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_collection_modifyitems(items): mark_the_rest(items)\n"
    )
    pytester.makeini("[pytest]\nmarkers =\n  sampled\n  wide\n")
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.sampled(2)\n"
        "@pytest.mark.parametrize('a', range(4))\n"
        "@pytest.mark.parametrize('b', [[1], [2]])\n"
        "def test_grid(a, b): pass\n"
        "def test_other(): pass\n"
    )
    parts = [pytester.inline_run("-m", mark).countoutcomes()[0] for mark in ("wide", "not wide")]
    assert parts == [4, 5]
