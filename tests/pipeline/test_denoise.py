"""What is denoised is what the data would give without the rows whose labels are likely wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import miner
from miner.runs.run import Run
from tests.conftest import ROOT, Result, write_vectors

Key = tuple[str, str, str]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clusters, some of whose rows have the label of another."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 30)
    centres = rng.standard_normal((6, 8))
    vectors = (centres[labels] + 0.45 * rng.standard_normal((180, 8))).astype(np.float32)
    wrong = rng.choice(180, 14, replace=False)
    labels[wrong] = (labels[wrong] + 1 + rng.integers(0, 5, 14)) % 6
    path = tmp_path_factory.mktemp("noisy") / "data.parquet"
    return write_vectors(path, vectors, [f"class {label}" for label in labels])


def mined(data: Path, out: Path, select: dict[str, Any], **sections: Any) -> Run:
    dataset = {"path": str(data), **sections.pop("dataset", {})}
    return miner.mine(
        {"dataset": dataset, "select": select, "output": {"path": str(out)}, **sections}
    )


def triplets(run: Run) -> dict[str, set[Key]]:
    """The ids of what a run wrote, by class."""
    found: dict[str, set[Key]] = {"hard": set(), "semi_hard": set()}
    for shard in run.manifest["shards"]:
        table = pq.read_table(run.path / shard["path"])
        columns = [table[f"{role}_id"].to_pylist() for role in ("anchor", "positive", "negative")]
        found[shard["path"].split("/")[0]] |= set(zip(*columns, strict=True))
    return found


def suspected(run: Run) -> list[str]:
    return pq.read_table(run.path / "label_noise.parquet")["anchor_id"].to_pylist()


@pytest.mark.parametrize(
    "select",
    [
        {"strategy": "all"},
        {"strategy": "semi-hard"},
        {"strategy": "semi-hard", "options": {"nth": 3}},
        {"strategy": "hardest", "options": {"k": 2}, "relative_margin": 0.05},
        {"strategy": "batch-hard"},
    ],
)
def test_it_writes_what_the_data_without_these_rows_give(
    noisy: Path, select: dict[str, Any], tmp_path: Path
) -> None:
    run = mined(noisy, tmp_path / "denoised", {**select, "denoise": True})
    whole = mined(noisy, tmp_path / "whole", select)
    names = suspected(run)
    assert 8 <= len(names) <= 20 and names == suspected(whole)
    table = pq.read_table(noisy)
    kept = tmp_path / "kept.parquet"
    pq.write_table(
        table.filter(pc.invert(pc.is_in(table["id"], pc.cast(names, table["id"].type)))), kept
    )
    clean = mined(kept, tmp_path / "clean", select)
    assert triplets(run) == triplets(clean) != triplets(whole)
    for name in ("hard", "semi_hard"):
        assert run.manifest["census"][name] == whole.manifest["census"][name]
        for fact in ("rows", "of", "wanted", "available"):
            assert run.manifest["written"][name][fact] == clean.manifest["written"][name][fact]
    assert run.manifest["denoised"] == run.manifest["census"]["label_noise"]
    assert not miner.verify_run(run, full=True).problems
    assert (run.path / "hubs.parquet").read_bytes() == (whole.path / "hubs.parquet").read_bytes()


def test_a_capped_sample_is_full_and_holds_none_of_these_rows(noisy: Path, tmp_path: Path) -> None:
    select = {"strategy": "all", "max_triplets": 500, "denoise": True}
    run = mined(noisy, tmp_path / "out", select)
    names, found = set(suspected(run)), triplets(run)
    for name, of in found.items():
        assert len(of) == run.manifest["written"][name]["rows"] == 500
        assert not any(names & set(triplet) for triplet in of)
    again = mined(noisy, tmp_path / "again", select, engine={"name": "processes", "workers": 2})
    assert triplets(again) == found


def test_some_rows_as_anchors(noisy: Path, tmp_path: Path) -> None:
    """What was no anchor was not judged, and stays."""
    chosen = {"dataset": {"anchors": "label in ('class 0', 'class 1')"}}
    run = mined(noisy, tmp_path / "out", {"strategy": "semi-hard", "denoise": True}, **chosen)
    names = set(suspected(run))
    assert names and run.manifest["denoised"]["rows"] == len(names)
    found = triplets(run)["semi_hard"]
    assert found and not any(names & set(triplet) for triplet in found)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", ROOT / "sample_data/handbook"],
        ["--data", ROOT / "sample_data/support_requests.csv", "--set", "mining.neighbours=0"],
        ["--data", ROOT / "sample_data/support_requests.csv", "--set", "index.factory=IVF16,Flat"],
    ],
)
def test_where_labels_are_not_judged_it_is_refused(
    arguments: list[object], cli: Callable[..., Result], tmp_path: Path
) -> None:
    found = cli("run", *arguments, "--set", "select.denoise=true", "--out", tmp_path / "out")
    assert found.code == 2
    assert "select.denoise" in found.err and "label" in found.err
