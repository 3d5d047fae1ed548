"""Checks of `mine verify` on the tables beside the census: hubs, confusions, label noise, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census import Vectors
from miner.columns import labels_of
from miner.distance import Metric
from miner.finished import Run
from miner.hardness import count_positives
from miner.negatives import nearest_by_definition
from miner.neighbours import NearestRows, majority
from miner.relevance import Relevance
from miner.tables import CONFUSION, HUBS, LABEL_NOISE, has_table, read_table

__all__ = ["check_tables", "recount_hubs", "rejudge_labels"]

Rows = NDArray[np.int64]

_HUBS, _SUSPECTS = 2, 16
"""How many are looked at again: a hub takes one distance an anchor, and those of its pairs."""


def check_tables(run: Run) -> tuple[list[str], str]:
    """Compare the sums of the tables with the census.

    Returns
    -------
    list of str
        What is wrong.
    str
        What was looked at.
    """
    census, problems, looked = run.manifest["census"], [], []
    if has_table(run, CONFUSION):
        facts, table = census["confusions"], read_table(run, CONFUSION)
        looked.append(f"{table.num_rows:,} confusions")
        for name in ("hard", "semi_hard"):
            total = sum(table[name].to_pylist())
            wanted = facts[name] if facts["rows"] < facts["of"] else census[name]
            if total != wanted:
                problems.append(f"{CONFUSION}: {total:,} {name}, not {wanted:,}")
    if has_table(run, HUBS):
        facts, table = census["hubs"], read_table(run, HUBS)
        looked.append(f"{table.num_rows:,} hubs")
        for name in ("hard", "semi_hard"):
            total = sum(table[name].to_pylist())
            if total > census[name] or (facts["rows"] == facts["of"] and total != census[name]):
                problems.append(f"{HUBS}: {total:,} {name} of {census[name]:,}")
    if has_table(run, LABEL_NOISE):
        table = read_table(run, LABEL_NOISE)
        looked.append(f"{table.num_rows:,} suspects of label noise")
        if table.num_rows and min(table["share"].to_pylist()) <= 0.5:
            problems.append(f"{LABEL_NOISE}: a share is no majority")
    return problems, ", ".join(looked)


def recount_hubs(
    run: Run,
    vectors: Vectors,
    relevance: Relevance,
    metric: Metric,
    find_row: Any,
    rng: np.random.Generator,
) -> tuple[list[str], int]:
    """Count the triplets of some hubs again, by the definition; say how many."""
    if not has_table(run, HUBS):
        return [], 0
    table = read_table(run, HUBS)
    picked = np.sort(rng.permutation(table.num_rows)[:_HUBS])
    ids = table["row_id"].to_numpy()[picked]
    problems = []
    for place, row in zip(picked.tolist(), find_row(ids).tolist(), strict=True):
        margin = run.manifest["job"]["mining"]["margin"]
        names = ("hard", "semi_hard", "anchors")
        stated = tuple(int(table[name][place].as_py()) for name in names)
        mine = _by_definition(vectors, relevance, metric, margin, row) if row >= 0 else None
        if mine != stated:
            problems.append(f"{HUBS}, row {place}: {stated}, by definition {mine}")
    return problems, len(picked)


def _by_definition(
    vectors: Vectors, relevance: Relevance, metric: Metric, margin: float, row: int
) -> tuple[int, int, int]:
    """Count the hard and semi-hard triplets of a negative, and the anchors of the hard ones."""
    hard = within = anchors = 0
    for anchor in np.flatnonzero(relevance.positive_counts > 0).tolist():
        positives = relevance.positives(anchor)
        if row in positives or row in relevance.hidden(anchor):
            continue
        own = np.array([anchor])
        d_ap = np.sort(vectors.measure(metric, own, positives))
        d_an = vectors.measure(metric, own, np.array([row]))
        found = [int(count[0]) for count in count_positives(d_an, d_ap, margin)]
        hard, within, anchors = hard + found[0], within + found[1], anchors + (found[0] > 0)
    return hard, within - hard, anchors


def rejudge_labels(
    run: Run,
    vectors: Vectors,
    relevance: Relevance,
    metric: Metric,
    find_anchor: Any,
    rng: np.random.Generator,
) -> tuple[list[str], int]:
    """Look at the neighbours of some suspects of label noise again, by the definition."""
    if not has_table(run, LABEL_NOISE):
        return [], 0
    labels, table = labels_of(relevance), read_table(run, LABEL_NOISE)
    if labels is None:
        return [f"{LABEL_NOISE}: the rows of the embedding store have no labels"], 0
    picked = np.sort(rng.permutation(table.num_rows)[:_SUSPECTS])
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
