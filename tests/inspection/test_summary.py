"""What a summary says of a run: how to load it, what it warns of, what is a sample."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import miner
from miner.runs.run import Run
from tests.conftest import ROOT, Result, write_vectors
from tests.training.conftest import resealed

Cli = Callable[..., Result]


@pytest.fixture
def lonely(tmp_path: Path) -> Path:
    """60 rows, of which six share their label with another one."""
    vectors = np.random.default_rng(5).standard_normal((60, 4)).astype(np.float32)
    vectors[7] = 0
    labels: list[object] = [f"l{n}" if n >= 6 else f"p{n // 2}" for n in range(60)]
    return write_vectors(tmp_path / "lonely.parquet", vectors, labels)


def warned(text: str) -> list[str]:
    """The warnings in a summary: all of its last lines but the one on where the report is."""
    head = "  warning   "
    return [line.removeprefix(head) for line in text.splitlines() if line.startswith(head)]


@pytest.mark.report
def test_warnings_are_one_list_everywhere(lonely: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    done = cli("run", "--data", lonely, "--out", out)
    assert done.code == 0
    run = miner.open_run(out)
    facts = run.manifest["warnings"]
    numbers = {one["name"]: one["numbers"] for one in facts}
    assert numbers["no_positives"] == {"rows": 54, "of": 60}
    assert numbers["zero_vectors"] == {"rows": 1}
    texts = [one["text"] for one in facts]
    assert "90% of anchors have no positive" in texts
    assert warned(done.out) == texts
    *_, last = done.out.splitlines()
    assert last == f"  report    {out}/latest/report.html"
    assert len(max(done.out.splitlines()[-len(texts) - 1 :], key=len)) <= 80 or str(out) in last
    again = cli("run", "--data", lonely, "--out", out)
    assert "already mined" in again.out and warned(again.out) == texts
    assert warned(cli("show", out).out) == texts
    page = (run.path / "report.html").read_text()
    assert all(text.replace("%", "\N{NO-BREAK SPACE}%") in page for text in texts)
    report = json.loads(cli("report", out, "--output", tmp_path / "again.html", "--json").out)
    found = [one for one in report["advice"] if one["level"] == "warning"]
    assert [(one["key"], one["numbers"], one["title"]) for one in found] == [
        (one["name"], one["numbers"], one["text"]) for one in facts
    ]


def test_a_run_without_warnings_says_nothing(tmp_path: Path, cli: Cli) -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    vectors += 0.2 * np.random.default_rng(1).standard_normal((40, 4)).astype(np.float32)
    data = write_vectors(tmp_path / "v.parquet", vectors, [f"c{n // 10}" for n in range(40)])
    done = cli("run", "--data", data, "--out", tmp_path / "out", "--margin", "1")
    assert done.code == 0 and warned(done.out) == []
    assert done.out.splitlines()[-1].startswith("  report    mine report ")
    assert miner.open_run(tmp_path / "out").manifest["warnings"] == []


def test_a_run_of_an_older_version_has_no_list(run: Run, cli: Cli) -> None:
    del run.manifest["warnings"]
    for written in run.manifest["written"].values():
        del written["sampled"]
    resealed(run)
    shown = cli("show", run.path)
    assert shown.code == 0 and warned(shown.out) == []
    assert cli("report", run.path, "--output", run.root / "again.html").code == 0


@pytest.mark.parametrize("warnings", [7, ["word"], [{"name": "x", "text": "y"}], [{"numbers": {}}]])
def test_a_list_of_warnings_that_is_none_is_damage(run: Run, cli: Cli, warnings: Any) -> None:
    run.manifest["warnings"] = warnings
    (run.path / "manifest.json").write_text(json.dumps(run.manifest))
    shown = cli("show", run.path)
    assert shown.code == 6 and "the value of warnings is not one that `mine` writes" in shown.err


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ({}, set()),
        ({"max_triplets": 50}, {"a uniform sample"}),
        ({"strategy": "semi-hard"}, {"by semi-hard"}),
        ({"strategy": "semi-hard", "max_triplets": 50}, {"by semi-hard, a sample"}),
        ({"strategy": "hardest"}, {"by hardest"}),
        ({"strategy": "hardest", "options": {"k": 2}, "per_pair": 1}, {"by hardest, a sample"}),
        ({"strategy": "hardest", "per_anchor": 1000}, {"by hardest"}),
        ({"strategy": "uniform", "options": {"k": 3}}, {"by uniform, a sample"}),
        ({"per_anchor": 2}, {"a sample"}),
        ({"per_negative": 3}, {"capped"}),
        ({"per_negative": 1000}, set()),
        ({"max_score": 0.5}, {"filtered"}),
        ({"max_score": 0.5, "max_triplets": 50}, {"filtered, a sample"}),
    ],
)
def test_what_is_called_a_sample_was_drawn(
    select: dict[str, Any], said: set[str], small: Path, tmp_path: Path, cli: Cli
) -> None:
    job = {"dataset": {"path": str(small)}, "select": select, "output": {"path": f"{tmp_path}/out"}}
    run = miner.mine(job)
    drawn = [
        name
        for name in ("hard", "semi_hard")
        if run.triplets(name).to_table(columns=["weight"])["weight"].to_numpy().max(initial=0) > 1
    ]
    assert [name for name in drawn if run.manifest["written"][name]["sampled"]] == drawn
    assert bool(drawn) == any("sample" in words for words in said)
    lines = [line for line in cli("show", run.path).out.splitlines() if " written" in line]
    words = {line.partition(" written")[2].lstrip(", ") for line in lines} - {""}
    assert {word for word in words if not word.startswith("/")} - {run.where} == said
    report = json.loads(cli("report", run.path, "--output", tmp_path / "again.html", "--json").out)
    found = [one for one in report["advice"] if one["key"] == "sampled"]
    assert len(found) == bool(drawn)
    for one in found:
        limits = one["remedy"].split(";")[0]
        assert ("select.max_triplets" in limits) and ("per_pair" in limits) == (
            "per_pair" in select
        )


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize(
    ("select", "full"),
    [
        ({}, ["hard", "semi_hard"]),
        ({"strategy": "semi-hard"}, ["semi_hard"]),
        ({"strategy": "hardest", "classes": ["hard"]}, ["hard"]),
        ({"max_triplets": 0}, []),
    ],
)
def test_the_lines_that_load_name_the_folders_that_have_rows(
    texts: bool, select: dict[str, Any], full: list[str], tmp_path: Path, cli: Cli
) -> None:
    data = {"path": str(ROOT / "sample_data/support_requests.csv"), "where": "id < 'r060'"}
    out = {"path": str(tmp_path / "out"), "content": texts}
    run = miner.mine({"dataset": data, "select": select, "output": out})
    said = cli("show", run.path).out
    (lines,) = re.findall(r"^  load .*\n(?:   .*\n)*", said, re.MULTILINE) or [""]
    places = [one.removesuffix("/*.parquet") for one in re.findall(r'"([^"]*/[^"]*)"', lines)]
    assert places == [f"{out['path']}/latest/{name}" for name in full]
    for name, place in zip(full, places, strict=True):
        assert pq.read_table(place).num_rows == run.manifest["written"][name]["rows"] > 0


def test_a_run_is_shown_in_three_lines_and_as_a_table(small: Path, tmp_path: Path) -> None:
    run = miner.mine({"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "out")}})
    census, written = run.manifest["census"], run.manifest["written"]
    first, shares, rows = repr(run).splitlines()
    assert first == f"Run {run.path}"
    assert f"{census['valid']:,} valid triplets" in shares and "% hard" in shares
    assert f"{written['hard']['rows']:,} hard" in rows and rows.endswith("margin 0.2")
    table = run._repr_html_()
    for name in ("hard", "semi_hard", "easy"):
        assert f"<td>{name.replace('_', '-')}</td><td>{census[name]:,}</td>" in table
        assert f"<td>{census[name] / census['valid']:.2%}</td>" in table
