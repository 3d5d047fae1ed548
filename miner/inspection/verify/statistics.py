"""Checks of the tables beside the census against the vectors: hubs, suspects of label noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.measure import Vectors
from miner.census.neighbors import NearestRows, majority
from miner.census.reference_statistics import nearest_by_definition
from miner.runs.run import Run
from miner.runs.tables import HUBS, LABEL_NOISE, has_table, read_table
from miner.triplets.distance import Metric
from miner.triplets.hardness import count_positives
from miner.triplets.relevance import Relevance
from miner.triplets.relevance.labels import labels_of
from miner.triplets.types import Rows

__all__ = ["recount_hubs", "rejudge_labels"]

_HUBS, _SUSPECTS = 2, 16
"""How many are looked at again in a sample; each hub takes one distance an anchor."""


def recount_hubs(
    run: Run,
    vectors: Vectors,
    relevance: Relevance,
    metric: Metric,
    find_row: Any,
    rng: np.random.Generator,
    *,
    full: bool,
) -> tuple[list[str], int]:
    """Count the triplets of some hubs again, or of all, by the definition; say how many."""
    if not has_table(run, HUBS):
        return [], 0
    table = read_table(run, HUBS)
    picked = _picked(table.num_rows, _HUBS, rng, full=full)
    rows = np.asarray(find_row(table["row_id"].to_numpy()[picked]))
    margin = run.manifest["job"]["mining"]["margin"]
    mine = _by_definition(vectors, relevance, metric, margin, rows)
    names = ("hard", "semi_hard", "anchors")
    problems = []
    for place, row, counts in zip(picked.tolist(), rows.tolist(), mine.T.tolist(), strict=True):
        stated = [int(table[name][place].as_py()) for name in names]
        if row < 0 or counts != stated:
            told = counts if row >= 0 else "an id that is not in the embedding store"
            problems.append(f"{HUBS}, row {place}: {stated}, by definition {told}")
    return problems, len(picked)


def _picked(rows: int, most: int, rng: np.random.Generator, *, full: bool) -> Rows:
    """Choose the rows of a table to look at."""
    return np.arange(rows) if full else np.sort(rng.permutation(rows)[:most])


def _by_definition(
    vectors: Vectors, relevance: Relevance, metric: Metric, margin: float, rows: Rows
) -> Rows:
    """Count the hard and semi-hard triplets of negatives, and the anchors of the hard ones.

    Returns
    -------
    ndarray of shape (3, rows), int64
    """
    totals = np.zeros((3, len(rows)), dtype=np.int64)
    for anchor in np.flatnonzero(relevance.positive_counts > 0).tolist():
        positives = relevance.positives(anchor)
        hidden = np.append(positives, relevance.hidden(anchor))
        places = np.flatnonzero((rows >= 0) & ~np.isin(rows, hidden))
        own = np.array([anchor])
        d_ap = np.sort(vectors.measure(metric, own, positives))
        d_an = vectors.measure(metric, own, rows[places])
        hard, within = count_positives(d_an, d_ap, margin)
        totals[:, places] += np.stack([hard, within - hard, hard > 0]).astype(np.int64)
    return totals


def rejudge_labels(
    run: Run,
    vectors: Vectors,
    relevance: Relevance,
    metric: Metric,
    find_anchor: Any,
    rng: np.random.Generator,
    *,
    full: bool,
) -> tuple[list[str], int]:
    """Look at the neighbours of some suspects of label noise again, by the definition."""
    if not has_table(run, LABEL_NOISE):
        return [], 0
    labels, table = labels_of(relevance), read_table(run, LABEL_NOISE)
    if labels is None:
        return [f"{LABEL_NOISE}: the rows of the embedding store have no labels"], 0
    picked = _picked(table.num_rows, _SUSPECTS, rng, full=full)
    most = int(run.manifest["job"]["mining"]["neighbours"])
    problems = []
    found = find_anchor(table["anchor_id"].to_numpy()[picked])
    for place, anchor in zip(picked.tolist(), found.tolist(), strict=True):
        share = 0.0
        if anchor >= 0:
            rows = nearest_by_definition(vectors, relevance, metric, anchor, most)
            _, votes, looked = majority(NearestRows(np.array([anchor]), rows[None]), labels)
            share = float(votes[0] / looked[0])
        stated = float(table["share"][place].as_py())
        if share != stated:
            problems.append(f"{LABEL_NOISE}, row {place}: share {stated}, by definition {share}")
    return problems, len(picked)
