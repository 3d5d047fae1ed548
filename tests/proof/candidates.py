"""Negatives of BM25, of the dense model, and of both: what trains better at the same budget.

``python -m tests.proof.candidates`` trains on queries of the handbook and of ICD-10-CM with
negatives that `mine` draws, four for each query, and judges the ranking of documents for queries
whose documents no training query is linked to.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import miner
from miner.torch import TripletDataset
from tests.proof.evaluation import Scores
from tests.proof.figures import machine
from tests.proof.losses import MARGIN
from tests.proof.networks import embedded, head, token_encoder
from tests.proof.retrieval import Retrieval, handbook, icd10_terms, judged
from tests.proof.sources import Place, cycled
from tests.proof.statistics import interval, paired
from tests.proof.texts import token_rows
from tests.proof.training import Budget, run_steps, seeded

__all__ = ["METHODS", "candidates_table", "main"]

_FIRST, _EACH = 100, 4
_NEAREST = {"strategy": "hardest", "options": {"k": _EACH}, "classes": ["semi_hard"]}
_DRAWN = {"strategy": "uniform", "options": {"k": _EACH}}
_DENSE = {**_DRAWN, "ranks": [0, _FIRST]}
_GUARD = {"relative_margin": 0.05}
_BM25 = {"runs": ["bm25"], "depth": _FIRST}
_BOTH = {**_BM25, "own": _FIRST}
BASE = "random negatives"
METHODS: dict[str, dict[str, Any] | None] = {
    "untrained": None,
    BASE: {},
    "dense, nearest, margin 5 %": {"select": {**_NEAREST, **_GUARD}},
    "dense, nearest semi-hard": {"select": _NEAREST},
    "dense": {"select": _DENSE},
    "BM25": {"select": _DRAWN, "candidates": _BM25},
    "union": {"select": _DRAWN, "candidates": _BOTH},
    "dense, margin 5 %": {"select": {**_DENSE, **_GUARD}},
    "BM25, margin 5 %": {"select": {**_DRAWN, **_GUARD}, "candidates": _BM25},
    "union, margin 5 %": {"select": {**_DRAWN, **_GUARD}, "candidates": _BOTH},
}
"""The jobs that draw negatives. Where nothing else is said, four of the first hundred are drawn."""
PAIRS = (
    ("union", "dense"),
    ("union", "BM25"),
    ("union, margin 5 %", "dense, margin 5 %"),
    ("union, margin 5 %", "BM25, margin 5 %"),
    ("union, margin 5 %", "dense, nearest, margin 5 %"),
)
SETS: dict[str, tuple[Callable[[], Retrieval], int]] = {
    "handbook": (handbook, 5),
    "ICD-10-CM": (icd10_terms, 5),
}
"""For each set its maker, and the seeds."""
_MOST = 1_000
"""Most queries for training, and for judging."""
LOSSES = ("triplet", "ranking")

Values = dict[str, list[float]]


def drawn(given: Retrieval, method: Mapping[str, Any], folder: Path, seed: int) -> np.ndarray:
    """Return triplets (3, n): a query, its document and another document, by row."""
    if not method:
        rng = np.random.default_rng([12, seed])
        query = np.repeat(np.arange(len(given.queries)), _EACH)
        negative = rng.integers(len(given.documents), size=len(query))
        positive = np.array([rng.choice(given.linked[row]) for row in query])
        right = [row in given.linked[one] for one, row in zip(query, negative, strict=True)]
        return np.stack([query, positive, negative])[:, ~np.array(right)]
    run = miner.mine(
        {
            "dataset": given.write(folder),
            "mining": {"margin": MARGIN},
            "output": {"path": str(folder / "mined"), "report": False},
            "engine": {"workers": 1},
            **method,
            "select": {"seed": seed, **method["select"]},
        }
    )
    found = TripletDataset(run, "both", give="ids")
    rows = [tuple(item.values()) for item in found.__getitems__(range(len(found)))]
    return np.array(rows, dtype=np.int64).T


@functools.cache
def _made(name: str) -> tuple[Retrieval, np.ndarray, np.ndarray]:
    """Return a set, frozen vectors of queries then documents, and their numbers of component."""
    given = SETS[name][0]()
    rows, matrix = token_rows([*given.queries, *given.documents], 512)
    parts = given.components()
    documents = np.arange(len(given.documents))
    for part, linked in zip(parts, given.linked, strict=True):
        documents[linked] = part
    vectors = embedded(token_encoder(matrix), rows)
    return given, vectors, np.concatenate([parts, documents])


def one_seed(name: str, seed: int) -> dict[str, dict[str, Scores]]:
    """Train with each method on the same split; return the scores by loss and method."""
    given, vectors, parts = _made(name)
    asked, rng = len(given.queries), np.random.default_rng([7, seed])
    chosen = rng.permutation(np.unique(parts[:asked]))
    first = np.isin(parts[:asked], chosen[: (len(chosen) + 1) // 2])
    train, test = (
        np.sort(rng.permutation(np.flatnonzero(side))[:_MOST]) for side in (first, ~first)
    )
    found: dict[str, dict[str, Scores]] = {loss: {} for loss in LOSSES}
    with tempfile.TemporaryDirectory() as made:  # one folder, so that the vectors are reused
        drawn_by = {
            method: drawn(given.part(train), job, Path(made), seed)
            for method, job in METHODS.items()
            if job is not None
        }
    for method in METHODS:
        query, *documents = drawn_by.get(method, np.empty((3, 0), dtype=np.int64))
        triplets = np.stack([train[query], *(asked + rows for rows in documents)])
        place = Place(Path(), head(1), vectors, parts, Budget().items, seed)
        for loss in LOSSES:
            with seeded(seed):
                network = head(vectors.shape[1])
                optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
                batches = cycled(triplets, place, 0)
                run_steps(network, optimiser, place, batches, loss, Budget().steps)
            trained = embedded(network, vectors)
            linked = [given.linked[row] for row in test]
            found[loss][method] = scores = judged(trained[test], trained[asked:], linked)
            said = f"{scores.map_at_r:.4f}, {triplets.shape[1]} triplets"
            print(f"  {name}, {seed}, {loss}, {method}: {said}", file=sys.stderr, flush=True)
    return found


def candidates_table(figures: Mapping[str, Mapping[str, Mapping[str, Values]]]) -> str:
    """Return a Markdown table of gains of MAP over random negatives, by method.

    The row of random negatives has its MAP. The last rows are differences in pairs.
    """
    columns = [(name, loss) for name, found in figures.items() for loss in found]
    rows = [("method", *(f"{name}: {loss} loss" for name, loss in columns))]
    rows.append(tuple("---" for _ in rows[0]))
    for method in METHODS:
        cells = [_cell(figures[name][loss], method, BASE) for name, loss in columns]
        rows.append((method, *cells))
    for method, other in PAIRS:
        cells = [_cell(figures[name][loss], method, other) for name, loss in columns]
        rows.append((f"*{method}* over *{other}*", *cells))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(found: Mapping[str, Values], method: str, base: str) -> str:
    if method == base:
        return f"{interval(found[method]['map']).mean:.3f}"
    gain = paired(found[method]["map"], found[base]["map"])
    said = f"{gain.mean:+.3f} ± {gain.half:.3f}"
    return f"**{said}**" if gain.sure else said


def main(given: list[str] | None = None) -> int:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.candidates", description=__doc__)
    parser.add_argument("--set", dest="sets", action="append", choices=[*SETS])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    logging.getLogger("miner").setLevel(logging.WARNING)  # libraries enable its messages
    figures: dict[str, dict[str, dict[str, Values]]] = {}
    for name in options.sets or SETS:
        runs = [one_seed(name, seed) for seed in range(SETS[name][1])]
        figures[name] = {
            loss: {
                method: {
                    "map": [round(run[loss][method].map_at_r, 6) for run in runs],
                    "recall at 1": [round(run[loss][method].recall_at_1, 6) for run in runs],
                }
                for method in METHODS
            }
            for loss in LOSSES
        }
        print(candidates_table({name: figures[name]}), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps({"facts": machine(), **figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
