"""A small store that stands for a job's own: what `mine plan` measures on.

It has the job's relevance, or that of whole classes, so that an anchor has as many positives as in
the job, and its vectors as far as they can be had in a second or two: those of the store, where one
is there, else those of some rows, through the model. The others are made up from these, so that
classes are about as wide and as far apart, and rows no nearer to a tie, than in the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.datasets.column_store import keep_rows
from miner.embedding.store import Store
from miner.storage.json_files import write_json
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import AnchorSubset, LabelRelevance, LinkRelevance, Relevance, load
from miner.triplets.types import Float32, Rows

__all__ = ["Part", "made_up", "part_of", "save"]

_SEED = 0
_CLASSES = 20
"""Whole classes are taken where so many fit; else some rows of each."""
_NEAR, _AWAY, _SUMMED = 0.8, 0.6, 4
"""What is made up lies near something known, and as far from the middle: 0.8^2 + 0.6^2 = 1."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a data set.

    Attributes
    ----------
    relevance : Relevance
        Of those rows and anchors.
    rows, anchors : ndarray of int64
        Which they are, ascending.
    whole : bool
        Whether an anchor has all of its positives.
    """

    relevance: Relevance
    rows: Rows
    anchors: Rows
    whole: bool = True

    @property
    def sides(self) -> list[Rows]:
        """The rows of each side of the store."""
        one = isinstance(self.relevance, LinkRelevance | AnchorSubset)
        return [self.anchors, self.rows] if one else [self.rows]


def part_of(relevance: Relevance, most: int) -> Part:
    """Choose at most about so many rows, and the anchors that belong to them, by a fixed seed."""
    if relevance.rows <= most:
        return Part(relevance, np.arange(relevance.rows), np.arange(relevance.anchors))
    if isinstance(relevance, LinkRelevance):
        return _linked(relevance, most)
    if isinstance(relevance, AnchorSubset):
        inner = part_of(relevance.inner, most)
        anchors = np.flatnonzero(np.isin(relevance.chosen, inner.rows))
        chosen = np.searchsorted(inner.rows, relevance.chosen[anchors])
        return Part(AnchorSubset(inner.relevance, chosen), inner.rows, anchors, inner.whole)
    rows, whole = _labelled(relevance, most)
    return Part(_taken(relevance, rows), rows, rows, whole)


def _labelled(relevance: Relevance, most: int) -> tuple[Rows, bool]:
    rng = np.random.default_rng(_SEED)
    if isinstance(relevance, LabelRelevance):
        sizes = relevance.members.sizes
        order = rng.permutation(np.flatnonzero(sizes))
        fits = int((np.cumsum(sizes[order]) <= most).sum())
        if fits >= _CLASSES:
            return np.flatnonzero(np.isin(relevance.labels, order[:fits])), True
    return np.sort(rng.choice(relevance.rows, most, replace=False)), False


def _taken(relevance: Relevance, rows: Rows) -> Relevance:
    """Return the relevance of some labelled rows."""
    arrays = dict(relevance.arrays())
    picked = {name: arrays[name][rows] for name in ("contents", "groups")}
    if "starts" not in arrays:
        return load({**picked, "labels": arrays["labels"][rows]})
    starts, labels = _lists(arrays["starts"], arrays["labels"], rows)
    return load({**picked, "starts": starts, "labels": labels})


def _lists(starts: Rows, values: Rows, chosen: Rows) -> tuple[Rows, Rows]:
    sizes = np.diff(starts)[chosen]
    parts = [values[starts[one] : starts[one + 1]] for one in chosen.tolist()]
    return np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([*parts, values[:0]])


def _linked(relevance: LinkRelevance, most: int) -> Part:
    """Choose queries with all documents that they are linked to, and other documents."""
    rng = np.random.default_rng(_SEED)
    share = most / relevance.rows
    anchors = rng.permutation(relevance.anchors)[: max(1, round(share * relevance.anchors))]
    anchors = np.sort(anchors)
    starts, linked = _lists(relevance.starts, relevance.linked, anchors)
    keep = np.zeros(relevance.rows, dtype=np.bool_)
    keep[linked] = True
    others = np.flatnonzero(~keep)
    missing = min(len(others), max(0, most - int(keep.sum())))
    keep[rng.choice(others, missing, replace=False)] = True
    rows = np.flatnonzero(keep)
    place = np.full(relevance.rows, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    twins = relevance.twins[anchors]
    part = LinkRelevance(
        starts=starts,
        linked=place[linked],
        contents=relevance.contents[rows],
        query_contents=relevance.query_contents[anchors],
        groups=relevance.groups[rows],
        query_groups=relevance.query_groups[anchors],
        twins=np.where(twins >= 0, place[twins], -1),
    )
    return Part(part, rows, anchors)


def save(folder: Path, part: Part, vectors: list[Float32], counts: list[int], texts: bool) -> Store:
    """Make the store of a part in the folder where the whole was scanned to.

    Parameters
    ----------
    folder : Path
        Holds ids (and texts) of all rows; those of other rows are removed.
    part : Part
    vectors : list of ndarray of shape (rows, dim), float32
        Per side of the store.
    counts : list of int
        The rows of each side of the whole.
    texts : bool
        Whether texts are there.
    """
    for number, (rows, count) in enumerate(zip(part.sides, counts, strict=True)):
        vectors[number].tofile(folder / f"vectors-{number}.f32")
        if len(rows) < count:
            keep = np.zeros(count, dtype=np.bool_)
            keep[rows] = True
            for name in ("ids", "texts") if texts else ("ids",):
                keep_rows(folder / f"{name}-{number}.arrow", keep)
    np.savez(folder / "relevance.npz", allow_pickle=False, **part.relevance.arrays())
    rows_of = [len(rows) for rows in part.sides]
    facts = {"dim": vectors[0].shape[1], "rows": rows_of, "items": sum(rows_of), "key": "plan"}
    write_json(folder / "store.json", facts)
    return Store(folder, facts)


def made_up(
    vectors: Float32, known: Rows, classes: Rows | None, rows: int, *, normalize: bool
) -> Float32:
    """Return vectors of all rows: the known ones, and others made up from these.

    Parameters
    ----------
    vectors : ndarray of shape (k, dim), float32
        Of the known rows.
    known : ndarray of shape (k,), int64
        Which they are.
    classes : ndarray of shape (rows,), int64, optional
        A row is made up from rows of its class, or, where none is known, of another one.
    rows : int
    normalize : bool
        Whether rows have unit length.
    """
    if len(known) == rows:
        return vectors
    rng = np.random.default_rng(_SEED)
    if classes is None:
        mean = vectors.mean(axis=0)
        near = mean + _NEAR * (vectors[rng.integers(0, len(known), rows)] - mean)
        result = near + _AWAY * _deviations(vectors - mean, rows, rng)
    else:
        result = _of_classes(vectors, classes[known], classes, rng)
    result[known] = vectors
    if normalize:
        result[:] = normalize_rows(result)
    return np.ascontiguousarray(result, dtype=np.float32)


def _of_classes(vectors: Float32, mine: Rows, classes: Rows, rng: np.random.Generator) -> Float32:
    """Make up rows of classes, from vectors of the classes `mine`.

    A class of which nothing is known is near one that is, and as wide.
    """
    order = np.argsort(mine, kind="stable")
    there, first, sizes = np.unique(mine[order], return_index=True, return_counts=True)
    sums: Float32 = np.add.reduceat(vectors[order], first)
    centers: Float32 = np.asarray(sums / sizes[:, None], dtype=np.float32)
    names, inverse = np.unique(classes, return_inverse=True)
    own = np.minimum(np.searchsorted(there, names), len(there) - 1)
    has = there[own] == names
    model = np.where(has, own, rng.integers(0, len(there), len(names)))
    place, mean = centers[model], centers.mean(axis=0)
    fresh = _NEAR * (place - mean) + _AWAY * _deviations(centers - mean, len(names), rng)
    place[~has] = mean + fresh[~has]
    at = np.searchsorted(there, mine)
    if (sizes > 1).any():
        inner, scale = _widths(vectors - centers[at], at, sizes)
    else:  # how wide classes are is not known: as a third of how far apart
        inner, scale = (centers - mean) / 3, np.ones(len(there), dtype=np.float32)
    rows = _deviations(inner, len(classes), rng) * scale[model][inverse][:, None]
    return np.asarray(place[inverse] + rows, dtype=np.float32)


def _widths(inner: NDArray[np.floating], mine: Rows, sizes: Rows) -> tuple[Float32, Float32]:
    """Return deviations of length 1 or so, and how wide each class is, as a root mean square."""
    squares = np.bincount(mine, (inner * inner).sum(axis=1), len(sizes))
    some, free = sizes > 1, np.maximum(sizes - 1, 1)
    middle = np.sqrt(squares[some].sum() / free[some].sum())
    scale = np.where(some, np.sqrt(squares / free), middle).astype(np.float32)
    kept = inner[some[mine]]
    length = np.sqrt((kept * kept).sum(axis=1).mean())
    return np.asarray(kept / max(float(length), 1e-30), dtype=np.float32), scale


def _deviations(some: Float32, rows: int, rng: np.random.Generator) -> Float32:
    """Return deviations with the covariance of some: sums of a few, by normal weights."""
    result = np.zeros((rows, some.shape[1]), dtype=np.float32)
    for _ in range(_SUMMED):
        weights = rng.standard_normal((rows, 1), dtype=np.float32) / np.float32(_SUMMED**0.5)
        result += weights * some[rng.integers(0, len(some), rows)]
    return result
