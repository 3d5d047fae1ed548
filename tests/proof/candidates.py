"""Negatives of BM25, of the dense model, and of both: what trains better at the same budget.

``python -m tests.proof.candidates`` trains on queries of the handbook and of ICD-10-CM with
negatives that `mine` draws, four for each query, and judges the ranking of documents for queries
whose documents no training query is linked to.
"""

from __future__ import annotations

import argparse
import json
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
SETS: dict[str, tuple[Callable[[], Retrieval], int, int, int]] = {
    "handbook": (handbook, 10, 30, 30),
    "ICD-10-CM": (icd10_terms, 5, 3_000, 1_000),
}
"""For each set its maker, the seeds, and the most queries for training and for judging."""
SETTINGS = {
    f"{network}, {loss} loss": (network, loss)
    for network in ("head", "encoder")
    for loss in ("triplet", "ranking")
}

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


def one_seed(name: str, seed: int) -> dict[str, dict[str, Scores]]:
    """Train with each method on the same split; return the scores of each setting."""
    make, _, most, judging = SETS[name]
    given = make()
    rng = np.random.default_rng([7, seed])
    parts = given.components()
    chosen = rng.permutation(np.unique(parts))
    first = np.isin(parts, chosen[: (len(chosen) + 1) // 2])
    train, test = (
        given.part(np.sort(rng.permutation(np.flatnonzero(side))[:size]))
        for side, size in ((first, most), (~first, judging))
    )
    queries = len(train.queries)
    rows, matrix = token_rows([*train.queries, *given.documents, *test.queries], 512)
    frozen = embedded(token_encoder(matrix.copy()), rows)
    number = {part: label for label, part in enumerate(np.unique(train.components()))}
    labels = np.arange(len(rows)) + len(number)
    of_query = np.array([number[part] for part in train.components()])
    for query, documents in enumerate(train.linked):
        labels[[query, *(queries + np.array(documents))]] = of_query[query]
    found: dict[str, dict[str, Scores]] = {setting: {} for setting in SETTINGS}
    for method, job in METHODS.items():
        triplets = np.empty((3, 0), dtype=np.int64)
        with tempfile.TemporaryDirectory() as made:
            if job is not None:
                triplets = drawn(train, job, Path(made), seed)
                triplets = triplets + np.array([[0], [queries], [queries]])
        for setting, (kind, loss) in SETTINGS.items():
            inputs = frozen if kind == "head" else rows
            with seeded(seed):
                network = head(frozen.shape[1]) if kind == "head" else token_encoder(matrix.copy())
                optimiser = torch.optim.Adam(
                    network.parameters(), lr=3e-4 if kind == "head" else 3e-3
                )
                place = Place(Path(), network, inputs, labels, Budget().items, seed)
                steps = Budget().steps if job is not None else 0
                batches = cycled(triplets, place, 0)
                run_steps(network, optimiser, place, batches, loss, steps)
            vectors = embedded(network, inputs)
            documents = vectors[queries : queries + len(given.documents)]
            scores = judged(vectors[-len(test.queries) :], documents, test.linked)
            found[setting][method] = scores
            said = f"{scores.map_at_r:.4f}, {triplets.shape[1]} triplets"
            print(f"  {name}, {seed}, {setting}, {method}: {said}", file=sys.stderr, flush=True)
    return found


def candidates_table(figures: Mapping[str, Mapping[str, Mapping[str, Values]]]) -> str:
    """Return a Markdown table of gains of MAP over random negatives, by method.

    The row of random negatives has its MAP. The last rows are differences in pairs.
    """
    columns = [(name, setting) for name, found in figures.items() for setting in found]
    rows = [("method", *(f"{name}: {setting}" for name, setting in columns))]
    rows.append(tuple("---" for _ in rows[0]))
    for method in METHODS:
        cells = [_cell(figures[name][setting], method, BASE) for name, setting in columns]
        rows.append((method, *cells))
    for method, other in PAIRS:
        cells = [_cell(figures[name][setting], method, other) for name, setting in columns]
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
    figures: dict[str, dict[str, dict[str, Values]]] = {}
    for name in options.sets or SETS:
        runs = [one_seed(name, seed) for seed in range(SETS[name][1])]
        figures[name] = {
            setting: {
                method: {
                    "map": [round(run[setting][method].map_at_r, 6) for run in runs],
                    "recall at 1": [round(run[setting][method].recall_at_1, 6) for run in runs],
                }
                for method in METHODS
            }
            for setting in SETTINGS
        }
        print(candidates_table({name: figures[name]}), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps({"facts": machine(), **figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
