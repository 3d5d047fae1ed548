"""Which tests share a process: every group names what is there, and each test has one group."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.spreading import GROUPS, group_of, scope_of


def test_groups_name_files_that_are_there() -> None:
    """A file that was renamed would leave its group unseen."""
    names = [name for group in GROUPS for name in group]
    assert all((ROOT / name.partition("::")[0]).exists() for name in names)
    assert [group_of(name) for name in names] == [
        place for place, group in enumerate(GROUPS) for _ in group
    ]


def test_a_group_is_one_and_each_other_test_its_own() -> None:
    one, same, other = (f"tests/{name}.py::test_a[1]" for name in ("faults/x", "faults/y", "z"))
    assert scope_of(one) == scope_of(same) != scope_of("tests/runs/test_commit.py::test_a[1]")
    assert scope_of(other) == other
