"""Small finished runs of every kind that exports must cope with, and their rows in plain Python."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner

KINDS = ("texts", "int ids", "text ids", "pairs", "sampled", "ties", "subset", "nothing mined")
CLASSES = {"hard": ["hard"], "semi_hard": ["semi_hard"], "both": ["hard", "semi_hard"]}


def embed(batch: list[str]) -> np.ndarray:
    """Embed texts by how often they have a, b, c and d: many ties."""
    return np.array([[text.count(letter) for letter in "abcd"] for text in batch], dtype=float)


def teach(pairs: list[tuple[str, str]]) -> list[float]:
    """Give each pair of texts a number of its own, below 0 too."""
    return [zlib.crc32(f"{left}|{right}".encode()) / 2**30 - 2 for left, right in pairs]


def write_texts(path: Path, *, numbers: bool = True) -> Path:
    """Write 48 short texts in 5 classes of unequal size; some texts stand twice in a class."""
    rng = np.random.default_rng(8)
    texts = ["".join(rng.choice(list("abcd"), 7)) for _ in range(48)]
    labels = [f"c{n % 4 if n % 3 else n % 5}" for n in range(48)]
    for first, twin in ((3, 30), (7, 41), (12, 13)):
        texts[twin], labels[twin] = texts[first], labels[first]
    ids = [900 - n for n in range(48)] if numbers else [f"row {n}" for n in range(48)]
    years = [2020 + n % 3 for n in range(48)]
    table = pa.table({"id": ids, "text": texts, "label": labels, "year": years})
    pq.write_table(table, path)
    return path


def write_pairs(folder: Path) -> dict[str, str]:
    """Write queries and a corpus with text ids; a query has up to 4 positives."""
    rng = np.random.default_rng(9)
    words = [" ".join(rng.choice(list("abcd"), 6)) for _ in range(40)]
    queries = pa.table({"id": [f"q{n}" for n in range(10)], "text": words[:10]})
    corpus = pa.table({"id": [f"d{n}" for n in range(30)], "text": words[10:]})
    links = [f"q{q},d{d}" for q in range(9) for d in rng.choice(30, 1 + q % 4, replace=False)]
    pq.write_table(queries, folder / "queries.parquet")
    pq.write_table(corpus, folder / "corpus.parquet")
    (folder / "links.csv").write_text("\n".join(["query_id,corpus_id", *links]) + "\n")
    names = {"queries": "queries.parquet", "corpus": "corpus.parquet", "links": "links.csv"}
    return {role: str(folder / name) for role, name in names.items()}


def make_run(kind: str, folder: Path, *, taught: bool = False) -> miner.Run:
    """Mine a run of a kind, with the scores of a teacher or without."""
    job: dict[str, dict[str, Any]] = {
        "dataset": {},
        "model": {"name": "tests.training.exports.conftest:embed"},
        "mining": {"margin": 0.3, "confusions": 0},
        "select": {},
        "output": {"path": str(folder / "out")},
    }
    if kind == "pairs":
        job["dataset"] = dict(write_pairs(folder))
    elif kind == "ties":
        path = folder / "ties.parquet"
        grid = [[n % 3, n % 2] for n in range(36)]
        table = {"id": list(range(36)), "embedding": grid, "label": [n % 4 for n in range(36)]}
        pq.write_table(pa.table(table), path)
        job["dataset"]["path"], job["model"]["name"] = str(path), "precomputed"
        job["mining"]["normalize"] = False
    else:
        path = write_texts(folder / "t.parquet", numbers=kind != "text ids")
        job["dataset"]["path"] = str(path)
        job["output"]["content"] = kind not in ("int ids", "text ids")
    if kind == "sampled":
        job["select"]["max_triplets"] = 300
    if kind == "subset":
        job["dataset"]["anchors"] = "year = 2021"
    if kind == "nothing mined":
        job["select"]["max_triplets"] = 0
    if taught:
        job["teacher"] = {"model": "tests.training.exports.conftest:teach"}
    return miner.mine(job)


def _once(factory: pytest.TempPathFactory, *, taught: bool) -> Callable[[str], miner.Run]:
    """Return a function that mines the run of a kind at its first call."""
    made: dict[str, miner.Run] = {}

    def get(kind: str) -> miner.Run:
        if kind not in made:
            folder = factory.mktemp(kind.replace(" ", "-"))
            made[kind] = make_run(kind, folder, taught=taught)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], miner.Run]:
    """Give the run of a kind; it is mined once and only read."""
    return _once(tmp_path_factory, taught=False)


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], miner.Run]:
    """Give the run of a kind, with the scores of `teach`."""
    return _once(tmp_path_factory, taught=True)


def rows_of(run: miner.Run, difficulty: str) -> list[dict[str, Any]]:
    """The run's rows as (anchor id, what they show, distances), in the order of the anchors."""
    rows = []
    for name in CLASSES[difficulty]:
        rows += pq.read_table(run.part_paths(name)).to_pylist()
    place = {one: n for n, one in enumerate(run.census()["anchor_id"].to_pylist())}
    rows.sort(key=lambda row: place[row["anchor_id"]])
    for row in rows:
        for role in ("anchor", "positive", "negative"):
            row[role] = row.get(role, row[f"{role}_id"])
    return rows
