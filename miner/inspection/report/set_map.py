"""The map of the set: rows at their two principal components, and the hardest triplets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.spread import evenly_spaced
from miner.embedding.store import Store
from miner.inspection.report.figures import WIDTH, Axis, Drawing, Path, dots
from miner.triplets.distance import normalize_rows
from miner.triplets.hardness import CLASSES
from miner.triplets.types import Float64, Rows

__all__ = ["SetMap", "draw_set_map", "project_set"]

_ROWS = 1200
"""Most rows that are shown: enough for a picture, and decomposed within half a second."""
_SEEN = 0.995
"""Share of the rows that the axes enclose in each direction."""
_LOWEST, _HIGHEST = 0.4, 0.7
"""Least and greatest height of the map relative to its width."""


@dataclass(frozen=True, slots=True)
class SetMap:
    """Rows at the two principal components of a sample.

    Attributes
    ----------
    anchors : ndarray of shape (n, 2)
    classes : ndarray of shape (n,), str
        The class of which each anchor has most, relative to the shares of all anchors together.
    others : ndarray of shape (m, 2)
        Rows of the other side, which are positives and negatives: documents.
    triplets : ndarray of shape (t, 3, 2)
        Anchor, positive and negative of the hardest triplets.
    variance : float
        The share of the sample's variance that lies along the two components.
    """

    anchors: Float64
    classes: NDArray[np.str_]
    others: Float64
    triplets: Float64
    variance: float


def project_set(
    store: Store,
    counts: Mapping[str, Rows],
    hardest: Sequence[Mapping[str, Any]],
    *,
    unit: bool,
) -> SetMap | None:
    """Return the map of a set, or None if its rows do not differ.

    Parameters
    ----------
    store : Store
    counts : mapping
        The columns of the run's census.
    hardest : sequence of mapping
        Triplets with `anchor_id`, `positive_id` and `negative_id`.
    unit : bool
        Whether the metric compares directions only, so that vectors are scaled to length 1.
    """
    two = store.row_side != 0
    most = _ROWS // 2 if two else _ROWS
    rows = evenly_spaced(len(counts["positives"]), most)
    sides = [(0, rows)]
    if two:
        sides.append((store.row_side, evenly_spaced(len(store.vectors(store.row_side)), most)))
    groups = [_vectors(store, side, chosen, unit=unit) for side, chosen in sides]
    sample = np.concatenate(groups)
    mean = sample.mean(axis=0)
    axes, variance = _components(sample - mean)
    if axes is None:
        return None
    corners = [_vectors(store, *place, unit=unit) for place in _known(store, hardest)]
    return SetMap(
        (groups[0] - mean) @ axes,
        _leading_classes(counts, rows),
        (groups[1] - mean) @ axes if two else np.empty((0, 2)),
        np.stack([(one - mean) @ axes for one in corners], axis=1),
        variance,
    )


def _vectors(store: Store, side: int, rows: Rows, *, unit: bool) -> Float64:
    taken = store.vectors(side)[rows]
    return np.asarray(normalize_rows(taken) if unit else taken, np.float64)


def _known(store: Store, hardest: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Rows]]:
    """Yield the side and the rows of anchors, positives and negatives.

    Triplets of which a row is not in the store are left out.
    """
    sides = {"anchor": 0, "positive": store.row_side, "negative": store.row_side}
    found = [
        (side, np.asarray(store.ids(side).rows_of([one[f"{role}_id"] for one in hardest])))
        for role, side in sides.items()
    ]
    known = np.all([rows >= 0 for _, rows in found], axis=0)
    yield from ((side, rows[known]) for side, rows in found)


def _components(centred: Float64) -> tuple[Float64 | None, float]:
    """Return the first two principal components, shape (dimensions, 2), and their variance.

    The smaller of the two Gram matrices is decomposed. The largest entry of each component is
    positive, so that the same data give the same picture.
    """
    rows, dimensions = centred.shape
    if not np.isfinite(centred).all():
        return None, 0.0
    scale = float(np.abs(centred).max(initial=0.0))
    if scale <= 0:
        return None, 0.0
    scaled = centred / scale
    wide = dimensions > rows
    values, vectors = np.linalg.eigh(scaled @ scaled.T if wide else scaled.T @ scaled)
    axes = vectors[:, :-3:-1]
    if wide:
        axes = scaled.T @ axes
        axes = axes / np.maximum(np.linalg.norm(axes, axis=0), np.finfo(float).tiny)
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    largest = np.abs(axes).argmax(axis=0)
    signs = np.where(axes[largest, [0, 1]] < 0, -1.0, 1.0)
    return axes * signs, float(values[-2:].sum() / values.sum())


def _leading_classes(counts: Mapping[str, Rows], rows: Rows) -> NDArray[np.str_]:
    """Return the class whose share is largest, relative to its share of all triplets.

    An anchor without a triplet is easy.
    """
    columns = np.stack([counts[name] for name in CLASSES]).astype(np.float64)
    of_all = columns.sum(axis=1, keepdims=True)
    relative = np.divide(columns, of_all, out=np.zeros_like(columns), where=of_all > 0)
    leading: NDArray[np.str_] = np.array(CLASSES)[relative[:, rows].argmax(axis=0)]
    return leading


def draw_set_map(shown: SetMap) -> Drawing:
    """Draw a map of a set: dots of the rows, and lines from anchors to positives and negatives."""
    drawn = _axes(shown)
    groups = {"other": shown.others}
    groups |= {name: shown.anchors[shown.classes == name] for name in CLASSES}
    for kind, places in groups.items():
        points = np.stack([drawn.x.at(places[:, 0]), drawn.y.at(places[:, 1])], axis=1)
        inside = ((points > 0) & (points < (drawn.width, drawn.height))).all(axis=1)
        drawn.paths.extend(Path(f"dots {kind}", path) for path in dots(points[inside]))
    for anchor, *ends in shown.triplets:
        for kind, end in zip(("positive", "negative"), ends, strict=True):
            line = drawn.line([anchor[0], end[0]], [anchor[1], end[1]])
            drawn.paths.append(Path(f"link {kind}", line))
        x, y = float(drawn.x.at(anchor[0])), float(drawn.y.at(anchor[1]))
        drawn.paths.append(Path("ring", f"M{x - 5:g} {y:g}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"))
    return drawn


def _axes(shown: SetMap) -> Drawing:
    """Return an empty drawing with axes of one scale, around most rows and all shown triplets."""
    corners = shown.triplets.reshape(-1, 2)
    rows = np.concatenate([shown.anchors, shown.others])
    ends = np.concatenate([np.quantile(rows, [1 - _SEEN, _SEEN], axis=0), corners])
    low, high = ends.min(axis=0), ends.max(axis=0)
    middle, size = (low + high) / 2, np.maximum(high - low, 1e-9 * (high - low).max())
    width = 2 * WIDTH
    height = round(width * min(max(float(size[1] / size[0]), _LOWEST), _HIGHEST))
    unit = 1.06 * float((size / (width, height)).max())
    (left, below), (right, above) = (
        (middle + side * unit / 2 * np.array([width, height])).tolist() for side in (-1, 1)
    )
    return Drawing(
        height,
        Axis("", left, right, 0, width),
        Axis("", below, above, height, 0),
        width=width,
    )
