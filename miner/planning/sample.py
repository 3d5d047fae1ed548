"""A sample of rows and anchors of a data set, on which a plan times the counting."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from miner.triplets.relevance import (
    NONE,
    AnchorSubset,
    Constrained,
    LinkRelevance,
    Relevance,
    anchor_rows,
    load,
    ranges,
)
from miner.triplets.types import Rows

__all__ = ["Sample", "sample_rows"]

_SEED = 0
_CONSTRAINTS = {field.name for field in fields(Constrained)} - {"inner", "ignored"}
_CLASSES = 20
"""The sample has whole classes if at least this many fit, else random rows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows and anchors of a data set.

    Attributes
    ----------
    relevance : Relevance
        The relevance restricted to these rows and anchors.
    sides : list of ndarray of int64
        Per table of the data set, the sampled rows in ascending order.
    """

    relevance: Relevance
    sides: list[Rows]


def sample_rows(relevance: Relevance, most: int) -> Sample:
    """Return a random sample of about `most` rows and the anchors among them, with a fixed seed.

    An anchor keeps all its positives if possible, because the cost of counting depends on their
    number.
    """
    if isinstance(relevance, Constrained):
        sample = sample_rows(relevance.inner, most)
        return Sample(_constrained(relevance, sample), sample.sides)
    if isinstance(relevance, LinkRelevance):
        return _linked(relevance, most)
    inner = relevance.inner if isinstance(relevance, AnchorSubset) else relevance
    rows = np.arange(inner.rows) if inner.rows <= most else _labelled(inner, most)
    taken = _taken(inner, rows)
    if isinstance(relevance, AnchorSubset):
        taken = AnchorSubset(taken, np.flatnonzero(np.isin(rows, relevance.chosen)))
    return Sample(taken, [rows])


def _constrained(relevance: Constrained, sample: Sample) -> Constrained:
    """Return the relevance of a sample with the constraints of its rows and anchors."""
    rows, anchors = sample.sides[-1], sample.sides[0]
    if not isinstance(relevance.inner, LinkRelevance):
        anchors = np.flatnonzero(np.isin(anchor_rows(relevance), rows))
    arrays = {name: array for name, array in vars(relevance).items() if name in _CONSTRAINTS}
    taken = {
        name: array[..., anchors if name.startswith("anchor") else rows]
        for name, array in arrays.items()
        if array.size
    }
    place = np.full(relevance.rows, NONE)
    place[rows] = np.arange(len(rows))
    return Constrained(sample.relevance, **taken, ignored=_ignored(relevance, anchors, place))


def _labelled(relevance: Relevance, most: int) -> Rows:
    """Choose whole classes, or, if too few of them fit, random rows."""
    rng = np.random.default_rng(_SEED)
    codes = relevance.positive_group(np.arange(relevance.rows))
    classes, sizes = np.unique(codes, return_counts=True)
    order = rng.permutation(len(classes))
    fits = int(np.searchsorted(np.cumsum(sizes[order]), most, side="right"))
    if fits >= _CLASSES:
        return np.flatnonzero(np.isin(codes, classes[order[:fits]]))
    return np.sort(rng.choice(relevance.rows, most, replace=False))


def _taken(relevance: Relevance, rows: Rows) -> Relevance:
    """Return the relevance among some rows of a labelled data set."""
    arrays = dict(relevance.arrays())
    taken = {name: arrays[name][rows] for name in ("contents", "groups")}
    if "starts" in arrays:
        taken["starts"], taken["labels"] = _lists(arrays["starts"], arrays["labels"], rows)
    else:
        taken["labels"] = arrays["labels"][rows]
    return load(taken)


def _lists(starts: Rows, values: Rows, chosen: Rows) -> tuple[Rows, Rows]:
    """Return the starts and values of the chosen lists."""
    sizes = np.diff(starts)[chosen]
    return np.concatenate([[0], np.cumsum(sizes)]), values[ranges(starts[chosen], sizes)]


def _linked(relevance: LinkRelevance, most: int) -> Sample:
    """Choose queries, all documents linked to them, and further documents."""
    rng = np.random.default_rng(_SEED)
    share = min(1.0, most / relevance.rows)
    queries = max(1, round(share * relevance.anchors))
    anchors = np.sort(rng.permutation(relevance.anchors)[:queries])
    starts, linked = _lists(relevance.starts, relevance.linked, anchors)
    keep = np.zeros(relevance.rows, dtype=np.bool_)
    keep[linked] = True
    others = np.flatnonzero(~keep)
    wanted = min(len(others), max(0, most - int(keep.sum())))
    keep[rng.choice(others, wanted, replace=False)] = True
    place = np.where(keep, np.cumsum(keep) - 1, -1)
    twins = relevance.twins[anchors]
    taken = LinkRelevance(
        starts=starts,
        linked=place[linked],
        contents=relevance.contents[keep],
        query_contents=relevance.query_contents[anchors],
        groups=relevance.groups[keep],
        query_groups=relevance.query_groups[anchors],
        twins=np.where(twins >= 0, place[twins], -1),
        ignored=_ignored(relevance, anchors, place),
    )
    return Sample(taken, [anchors, np.flatnonzero(keep)])


def _ignored(relevance: LinkRelevance | Constrained, anchors: Rows, place: Rows) -> Rows:
    """Return the ignored pairs of sampled anchors and rows; `place` are the new rows."""
    queries = np.full(relevance.anchors, -1)
    queries[anchors] = np.arange(len(anchors))
    query, row = (
        queries[relevance.ignored // relevance.rows],
        place[relevance.ignored % relevance.rows],
    )
    there = (query >= 0) & (row >= 0)
    return np.sort(query[there] * (place.max() + 1) + row[there])
