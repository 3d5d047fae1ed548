"""The stored figures are complete, and the published tables are generated from them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from tests.conftest import ROOT
from tests.proof.curve import curve_table
from tests.proof.figures import read_figures, write_figures
from tests.proof.table import summary, table
from tests.proof.trials import PLAN

HERE = Path(__file__).parent
SETS, FACTS = read_figures(HERE / "figures.json")
PAGE = (ROOT / "miner/docs/evaluation.md").read_text()


def test_every_trial_of_the_plan_was_run() -> None:
    assert list(SETS) == list(PLAN)
    for name, found in SETS.items():
        assert tuple(found) == PLAN[name].methods
        assert {len(runs) for runs in found.values()} == {5} == {FACTS["facts"]["seeds"]}
        assert all(one.short == 0 for runs in found.values() for one in runs), name


def test_the_page_has_the_table_of_these_figures() -> None:
    section = PAGE.split("\n## Strategies compared\n")[1].split("\n## ")[0]
    assert summary(SETS) in section
    assert re.findall(r"^\| `([a-z0-9-]+)`", section, re.MULTILINE)
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", section.split("MAP@R over")[0]))
    assert set(SETS) <= named


def test_the_page_has_the_nights_of_these_figures() -> None:
    nights = FACTS["nightly"]
    shares = ", ".join(f"{share['hard']:.1%}".replace("%", " %") for share in nights["triplets"])
    scores = ", ".join(f"{one['map_at_r']:.3f}" for one in nights["scores"])
    assert f"hard triplets {shares} of all; MAP@R {scores}" in PAGE


def test_all_tables_are_of_these_figures() -> None:
    written = (HERE / "README.md").read_text()
    for name, found in SETS.items():
        assert f"\n## {name}\n\n{table(found)}\n" in written


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    write_figures(kept, SETS, FACTS["facts"], FACTS["nightly"])
    assert kept.read_text() == (HERE / "figures.json").read_text()


def test_the_page_has_the_curve_of_these_figures() -> None:
    held = json.loads((HERE / "curve.json").read_text())
    found = {
        setting: {int(classes): scores for classes, scores in by_classes.items()}
        for setting, by_classes in held.items()
    }
    assert curve_table(found) in PAGE
