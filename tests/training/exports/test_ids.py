"""The ids of a run, for trainers that sample their own batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import miner
from tests.conftest import ROOT, Result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> miner.Run:
    data = {"path": str(ROOT / "sample_data/support_requests.csv")}
    out = {"path": str(tmp_path_factory.mktemp("ids") / "mined")}
    return miner.mine({"dataset": data, "select": {"max_triplets": 100}, "output": out})


def test_ids_are_those_of_all_anchors_and_clean_ones_leave_out_the_suspected(
    run: miner.Run, tmp_path: Path
) -> None:
    anchors = pq.read_table(run.path / "census.parquet")["anchor_id"].to_pylist()
    suspected = set(pq.read_table(run.path / "label_noise.parquet")["anchor_id"].to_pylist())
    facts = miner.export_triplets(run, "ids", out=tmp_path / "all")
    assert pq.read_table(facts["path"])["id"].to_pylist() == anchors
    facts = miner.export_triplets(
        run, "ids", clean=True, out=tmp_path / "clean", file_format="jsonl"
    )
    lines = (Path(facts["path"]) / facts["files"][0]["path"]).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [a for a in anchors if a not in suspected]
    assert facts["left_out"] == {"labels_likely_wrong": len(suspected)} and suspected
    assert facts["rows"] == len(anchors) - len(suspected)


def test_what_has_no_list_is_refused(
    run: miner.Run, cli: Callable[..., Result], tmp_path: Path
) -> None:
    found = cli("export", run.path, "--format", "triplet", "--clean")
    assert found.code == 2 and "--clean is for ids" in found.err
    data = ["--data", ROOT / "sample_data/handbook", "--max-triplets", 10]
    assert cli("run", *data, "--out", tmp_path / "pairs").code == 0
    found = cli("export", tmp_path / "pairs/latest", "--format", "ids", "--clean")
    assert found.code == 2 and "label_noise.parquet" in found.err
    found = cli("export", tmp_path / "pairs/latest", "--format", "ids")
    assert found.code == 0 and "ids       of all anchors" in found.out
