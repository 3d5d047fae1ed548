"""The advice on what to train on is one text: on pages, in the starter job and in the report."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import miner
from miner.selection.strategies.advice import ADVICE, LABELLED, LINKED
from tests.conftest import ROOT, Result

PAGES = (ROOT / "README.md", ROOT / "miner/docs/choosing.md")


def words(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_give_each_advice_with_its_figure(page: Path) -> None:
    text = words(page.read_text())
    for one in ADVICE.values():
        assert f"{one.text} ({one.figure})" in text


@pytest.mark.parametrize(
    ("data", "advised"),
    [("support_requests.csv", LABELLED), ("handbook", LINKED)],
)
def test_the_starter_job_mines_what_is_advised(
    data: str, advised: dict[str, object], cli: Callable[..., Result], tmp_path: Path
) -> None:
    job = tmp_path / "job.toml"
    assert cli("init", ROOT / "sample_data" / data, "--job", job).code == 0
    select = tomllib.loads(job.read_text())["select"]
    assert {key: select[key] for key in ("strategy", *advised)} == advised
    assert ("relative_margin" in select) == ("relative_margin" in advised)


@pytest.mark.parametrize(
    ("select", "warned"),
    [
        ({"strategy": "hardest"}, True),
        ({"strategy": "batch-hard"}, True),
        ({"strategy": "hardest", "relative_margin": 0.05}, False),
        ({"strategy": "semi-hard"}, False),
    ],
)
@pytest.mark.report
def test_the_report_warns_of_what_is_not_to_be_trained_on(
    select: dict[str, object], warned: bool, tmp_path: Path
) -> None:
    data = {"path": str(ROOT / "sample_data/support_requests.csv")}
    run = miner.mine({"dataset": data, "select": select, "output": {"path": str(tmp_path / "out")}})
    page = words((run.path / "report.html").read_text())
    assert (f"{ADVICE['plain'].plain} Measured: {ADVICE['plain'].figure}" in page) is warned
