"""Generated input of every kind through the command line: a known exit code, words, no crash.

The default part is small and the same each time. `make test-slow` (a minute, or MINE_FUZZ_MINUTES)
and `python -m tests.fuzz --minutes 10 --seed N` look further, in processes of their own, so that a
crash or a hang is a finding too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.conftest import ROOT
from tests.fuzz.cases import Case, faults, play, replayed, save
from tests.fuzz.good import FORMATS, good
from tests.fuzz.same import differences, tables
from tests.fuzz.targets import TARGETS, search

EXAMPLES = 3
NEEDS_PILLOW = {"images", "column"}


@pytest.fixture(autouse=True)
def no_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without numba: its loops take longer to compile than all cases to play."""
    monkeypatch.setitem(sys.modules, "numba", None)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_an_internal_error(name: str, tmp_path: Path) -> None:
    if name.removeprefix("broken-") in NEEDS_PILLOW:
        pytest.importorskip("PIL")
    search(name, 0, EXAMPLES, tmp_path / "case")


@pytest.mark.parametrize(
    "examples", [2, pytest.param(60, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_the_same_rows_end_alike_in_every_format(examples: int, tmp_path: Path) -> None:
    @seed(examples)
    @settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=[*HealthCheck]
    )
    @given(columns=tables())
    def each(columns: dict[str, list[object]]) -> None:
        assert differences(columns, tmp_path / "case") == []

    each()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_damaged_was_good(name: str, tmp_path: Path) -> None:
    """Else the damaged data sets would test nothing."""
    if name in NEEDS_PILLOW:
        pytest.importorskip("PIL")
    outcome = play(good(name), tmp_path / "case")
    assert outcome.code == 0 and not faults(good(name), outcome, tmp_path / "case"), outcome


def test_the_judge_is_no_yes_man(tmp_path: Path) -> None:
    """A code that is not known, a traceback, silence, a run beside an error: each is a fault."""
    case = Case({"d.csv": b"x\n1\n"}, ("run", "--data", "d.csv", "--out", "out"))
    outcome = play(case, tmp_path / "case")
    assert outcome.code == 3 and faults(case, outcome, tmp_path / "case") == []
    kinds = {
        "exit code 1": {"code": 1},
        "traceback": {"err": "Traceback (most recent call last):"},
        "no word": {"err": " \n"},
        "characters": {"err": "x" * 5000},
        "seconds": {"seconds": 1e4},
        "MiB": {"grown": 1 << 40},
    }
    for words, changed in kinds.items():
        facts = {name: getattr(outcome, name) for name in outcome.__dataclass_fields__}
        worse = type(outcome)(**(facts | changed))
        assert words in " ".join(faults(case, worse, tmp_path / "case"))
    (tmp_path / "case" / "out" / "runs" / "x").mkdir(parents=True)
    (tmp_path / "case" / "out" / "runs" / "x" / "manifest.json").touch()
    assert "published" in " ".join(faults(case, outcome, tmp_path / "case"))


def test_a_case_is_kept_and_played_again(tmp_path: Path) -> None:
    case = Case({"a/b": b"\0\xff"}, ("runs", "a"), published=True, links={"a/c": "b"})
    save(case, tmp_path / "case.json")
    assert replayed(tmp_path / "case.json") == case


@pytest.mark.slow
def test_a_search_in_other_processes_finds_nothing(tmp_path: Path) -> None:
    minutes = os.environ.get("MINE_FUZZ_MINUTES", "1")
    seed = os.environ.get("MINE_FUZZ_SEED", "1")
    words = ["--minutes", minutes, "--seed", seed, "--found", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
