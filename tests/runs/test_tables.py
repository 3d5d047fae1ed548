"""The tables beside the census, as a run leaves them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import miner
from miner.embedding.store import open_store
from miner.runs.manifest_schema import manifest_checksum
from miner.runs.tables import CONFUSION, HUBS, LABEL_NOISE, describe_tables
from miner.storage.files import sha256_file
from miner.storage.json_files import write_json
from miner.triplets.distance import normalize_rows
from tests.conftest import Result, write_vectors
from tests.operating import MAIN, end, start
from tests.oracle import Truth, enumerate_triplets
from tests.runs.test_commit import dies

TABLES = (HUBS, CONFUSION, LABEL_NOISE)


def mine(data: Path, out: Path, *, force: bool = False, **sections: dict[str, Any]) -> miner.Run:
    job = {"dataset": {"path": str(data)}, "output": {"path": str(out)}, **sections}
    return miner.mine(job, force=force)


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """60 vectors around 4 centres, one of which is labelled as another; ties."""
    rng = np.random.default_rng(3)
    centers = 3 * rng.standard_normal((4, 6))
    rows = (centers[np.arange(60) % 4] + rng.standard_normal((60, 6))).astype(np.float32)
    rows[50:] = rows[:10]
    labels: list[object] = [f"c{n % 4}" for n in range(60)]
    labels[7] = "c0"
    return write_vectors(tmp_path / "noisy.parquet", rows, labels)


def truth_of(run: miner.Run) -> tuple[Truth, list[str], list[str]]:
    """The oracle's count of a run of labelled items, ids and labels by row."""
    table = pq.read_table(run.manifest["job"]["dataset"]["path"])
    vectors = normalize_rows(np.array(table["embedding"].to_pylist()))
    store = open_store(run.path.parent.parent / ".store" / run.manifest["store"])
    assert store is not None
    truth = enumerate_triplets("euclidean", 0.2, vectors, vectors, store.relevance())
    return truth, table["id"].to_pylist(), table["label"].to_pylist()


def test_tables_are_those_of_the_definition(noisy: Path, tmp_path: Path) -> None:
    run = mine(noisy, tmp_path / "out")
    truth, ids, labels = truth_of(run)
    counts = {
        name: Counter((labels[a], labels[n]) for a, _, n in truth.sets[name])
        for name in ("hard", "semi_hard")
    }
    pairs = {*counts["hard"], *counts["semi_hard"]}
    order = sorted(pairs, key=lambda pair: (-counts["hard"][pair], *pair))
    names = ("anchor_label", "negative_label", "hard", "semi_hard")
    want = [(*pair, counts["hard"][pair], counts["semi_hard"][pair]) for pair in order]
    found = pq.read_table(run.path / CONFUSION).to_pylist()
    assert found == [dict(zip(names, row, strict=True)) for row in want]
    hubs = {name: Counter(n for _, _, n in truth.sets[name]) for name in ("hard", "semi_hard")} | {
        "anchors": Counter(n for _, n in {(a, n) for a, _, n in truth.sets["hard"]})
    }
    rows = sorted(
        {*hubs["hard"], *hubs["semi_hard"]},
        key=lambda n: (-hubs["hard"][n], -hubs["semi_hard"][n], n),
    )
    assert pq.read_table(run.path / HUBS).to_pylist() == [
        {"row_id": ids[n], "label": labels[n], **{name: hubs[name][n] for name in hubs}}
        for n in rows
    ]
    suspects = pq.read_table(run.path / LABEL_NOISE).to_pylist()
    assert [row["neighbour_label"] for row in suspects if row["anchor_id"] == "i7"] == ["c3"]
    assert all(row["share"] > 0.5 and 0 <= row["hard_share"] <= 1 for row in suspects)
    census = run.manifest["census"]
    assert census["confusions"]["of"] == len(found) and census["hubs"]["of"] == len(rows)
    gaps = census["gaps"]
    below = gaps["below"] + sum(gaps["counts"][: gaps["edges"].index(0.0)])
    assert abs(below / gaps["sampled"] - census["hard"] / census["valid"]) < 2 * gaps["error"]
    assert gaps["sampled"] == gaps["below"] + sum(gaps["counts"]) + gaps["above"] == census["valid"]
    assert describe_tables(run)[-1].startswith("  gaps       d(a,n) - d(a,p): ")
    assert miner.verify_run(run, full=True).problems == []


def test_bytes_hang_on_the_job_only(noisy: Path, tmp_path: Path) -> None:
    """Any engine, any number of workers, any memory."""
    seen = []
    for number, (name, workers, memory) in enumerate(
        [("threads", 1, "512MiB"), ("threads", 3, "64KiB"), ("processes", 2, "1MiB")]
    ):
        engine, mining = {"name": name, "workers": workers}, {"memory": memory}
        run = mine(noisy, tmp_path / f"{number}", engine=engine, mining=mining)
        seen.append([(run.path / table).read_bytes() for table in (*TABLES, "census.parquet")])
        seen[-1].append(run.manifest["census"]["gaps"])
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.slow
def test_a_run_that_was_killed_counts_the_rest(noisy: Path, tmp_path: Path) -> None:
    whole = mine(noisy, tmp_path / "whole")
    out = tmp_path / "out"
    command = ["run", "--data", str(noisy), "--out", str(out), "--workers", "1", "--quiet"]
    command += ["--set", "output.report=false"]
    assert end(start(f"{dies('work/count-?????.npy', 3)}\n{MAIN}", *command)).code == 9
    assert len(list(out.glob(".staging/*/work/count-*.hubs.npy"))) == 2
    mine(noisy, out)
    for name in TABLES:
        assert (miner.open_run(out).path / name).read_bytes() == (whole.path / name).read_bytes()


def test_another_selection_finds_them_kept(noisy: Path, tmp_path: Path) -> None:
    first = mine(noisy, tmp_path / "out")
    again = mine(noisy, tmp_path / "out", select={"max_triplets": 7})
    assert again.manifest["census"]["reused"] and not first.manifest["census"]["reused"]
    for name in TABLES:
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes()
    other = mine(noisy, tmp_path / "out", mining={"hubs": 3})
    assert not other.manifest["census"]["reused"]


def test_tables_are_cut_and_left_out(noisy: Path, tmp_path: Path) -> None:
    whole = mine(noisy, tmp_path / "out")
    run = mine(noisy, tmp_path / "cut", mining={"hubs": 4, "confusions": 5, "neighbours": 0})
    for name, rows in ((HUBS, 4), (CONFUSION, 5)):
        cut = pq.read_table(run.path / name)
        assert cut.equals(pq.read_table(whole.path / name).slice(0, rows))
    facts = run.manifest["census"]["confusions"]
    assert facts["rows"] == 5 < facts["of"]
    assert facts["hard"] <= facts["hard_of"] == run.manifest["census"]["hard"]
    assert not (run.path / LABEL_NOISE).exists()
    assert miner.verify_run(run).problems == []
    off = {"hubs": 0, "confusions": 0, "neighbours": 0, "gaps": 0}
    none = mine(noisy, tmp_path / "none", mining=off)
    assert not any((none.path / name).exists() for name in TABLES)
    assert "gaps" not in none.manifest["census"]
    census = "census.parquet"
    assert (none.path / census).read_bytes() == (whole.path / census).read_bytes()


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        (CONFUSION, "hard", "hard, not"),
        (HUBS, "anchors", "by definition"),
        (LABEL_NOISE, "share", ""),
    ],
)
def test_verify_finds_what_is_wrong(
    noisy: Path, tmp_path: Path, name: str, column: str, said: str
) -> None:
    """Whoever changed the table has changed the manifest, too."""
    run = mine(noisy, tmp_path / "out", mining={"hubs": 2})
    table = pq.read_table(run.path / name)
    values = table[column].to_numpy() + (-0.25 if column == "share" else 1)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, [values]), run.path / name)
    (facts,) = (file for file in run.manifest["files"] if file["path"] == name)
    facts |= {"bytes": (run.path / name).stat().st_size, "sha256": sha256_file(run.path / name)}
    run.manifest["checksum"] = manifest_checksum(run.manifest)
    write_json(run.path / "manifest.json", run.manifest)
    problems = miner.verify_run(run).problems
    assert problems and all(problem.startswith(name) and said in problem for problem in problems)


def test_show_says_what_stands_out(noisy: Path, tmp_path: Path, cli: Any) -> None:
    mine(noisy, tmp_path / "out")
    shown: Result = cli("show", tmp_path / "out", "--triplets", 0)
    assert shown.code == 0
    assert "of the nearest are c" in shown.out
    assert " -> " in shown.out and "negative of" in shown.out


def test_keys_are_checked(cli: Any, noisy: Path) -> None:
    failed: Result = cli("run", "--data", noisy, "--set", "mining.hubs=-1")
    assert failed.code == 2 and "mining.hubs = -1 must be 0 or more" in failed.err
