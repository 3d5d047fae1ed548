"""Collect everything that a report shows, from a finished run and its embedding store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.census.triplet_sample import TripletSample, draw_sample
from miner.datasets.source import Source
from miner.embedding.store import Store, check_store, open_store
from miner.errors import MineError
from miner.inspection.advice import Advice, advise_run
from miner.inspection.report.contents import Contents, Item, label_text
from miner.inspection.report.gallery import Gallery, make_gallery, pick_triplets, picked_ids
from miner.inspection.report.label_map import similar_order
from miner.inspection.report.margin_shares import MarginShares, shares_of_gaps, shares_of_sample
from miner.inspection.report.set_map import SetMap, project_set
from miner.runs.run import Run
from miner.runs.tables import CONFUSION, HUBS, LABEL_NOISE, has_table, read_census, read_table
from miner.triplets.hardness import MINED_CLASSES, MinedClass

__all__ = ["Confusions", "Facts", "gather", "run_store"]

_HUBS, _SUSPECTS, _PAIRS, _LABELS, _FEWER = 10, 12, 10, 40, 12
_READ = 100_000


Shown = tuple[Item, Mapping[str, Any]]
"""A row of the data, and its row in a table of the run."""


@dataclass(frozen=True, slots=True)
class Confusions:
    """The pairs of labels with the most hard triplets.

    Attributes
    ----------
    labels : list of str
        The labels with the most hard triplets; similar ones are neighbours.
    counts : ndarray of shape (labels, labels), float64
        Hard triplets by the label of the anchor and of the negative.
    pairs : list of (anchor's label, negative's label, hard)
        The pairs with the most hard triplets, in descending order.
    of : int
        The number of all labels.
    """

    labels: list[str]
    counts: NDArray[np.float64]
    pairs: list[tuple[str, str, int]]
    of: int

    def first(self) -> Confusions:
        """Return those of the labels with the most hard triplets, for a narrow screen."""
        weights = self.counts.sum(axis=0) + self.counts.sum(axis=1)
        kept = np.sort(np.argsort(-weights, kind="stable")[:_FEWER])
        counts = self.counts[np.ix_(kept, kept)]
        return Confusions([self.labels[n] for n in kept], counts, self.pairs, self.of)


@dataclass(frozen=True, slots=True)
class Facts:
    """The contents of a report; unknown parts are None or empty."""

    manifest: Mapping[str, Any]
    advice: list[Advice]
    sample: TripletSample | None
    shares: MarginShares | None
    confusions: Confusions | None
    hubs: list[Shown]
    suspects: list[Shown]
    gallery: dict[MinedClass, Gallery]
    set_map: SetMap | None
    has_store: bool = True


def run_store(run: Run) -> Store | None:
    """Return the embedding store of a run, or None if it does not exist or cannot be read."""
    try:
        store = open_store(run.root / ".store" / str(run.manifest["store"]))
        if store is not None:
            check_store(store)
        return store
    except MineError:
        return None


def gather(
    run: Run, store: Store | None, source: Source | None, advice: list[Advice] | None = None
) -> Facts:
    """Return the contents of a report.

    Parameters
    ----------
    run : Run
    store : Store or None
        The run's embedding store. Without it, the report has no sampled distances and no texts
        of rows.
    source : Source or None
        The run's data, for pictures.
    advice : list of Advice, optional
        The advice on the run, if the caller has it already.
    """
    manifest, contents = run.manifest, Contents(store, source)
    counts = read_census(run)
    sample = _sample(manifest, contents, counts)
    hubs = _table(run, HUBS, _HUBS)
    pairs = _table(run, CONFUSION, _READ)
    noise = _table(run, LABEL_NOISE, _SUSPECTS)
    picked = {name: pick_triplets(run, name, contents, sample) for name in MINED_CLASSES}
    contents.load_pictures(
        [
            *((contents.row_side, row["row_id"]) for row in hubs),
            *((0, row["anchor_id"]) for row in noise),
            *(one for chosen in picked.values() for one in picked_ids(chosen, contents)),
        ]
    )
    census, margin = manifest["census"], manifest["job"]["mining"]["margin"]
    shares = shares_of_gaps(census.get("gaps") or {}, census, margin)
    if shares is None and sample is not None:
        shares = shares_of_sample(sample, margin)
    return Facts(
        manifest,
        advise_run(run, counts["positives"]) if advice is None else advice,
        sample,
        shares,
        _confusions(pairs, manifest["dataset"].get("classes", 0)),
        _shown(contents, contents.row_side, "row_id", hubs),
        _shown(contents, 0, "anchor_id", noise),
        {name: make_gallery(chosen, contents) for name, chosen in picked.items()},
        _set_map(manifest, store, counts, picked["hard"].rows),
        has_store=store is not None,
    )


def _table(run: Run, name: str, rows: int) -> list[dict[str, Any]]:
    """Return the first rows of a table, or [] if the run does not have it."""
    return list(read_table(run, name, rows).to_pylist()) if has_table(run, name) else []


def _sample(
    manifest: Mapping[str, Any], contents: Contents, counts: Mapping[str, NDArray[np.int64]]
) -> TripletSample | None:
    store = contents.store
    if store is None or contents.relevance is None:
        return None
    vectors = Vectors(store.vectors(0), store.vectors(store.row_side), "numpy")
    able = counts["positives"], counts["negatives"]
    metric = manifest["job"]["mining"]["metric"]
    sample = draw_sample(contents.relevance, vectors, metric, able)
    return sample if len(sample) else None


def _set_map(
    manifest: Mapping[str, Any],
    store: Store | None,
    counts: Mapping[str, NDArray[np.int64]],
    hardest: Sequence[Mapping[str, Any]],
) -> SetMap | None:
    if store is None or not manifest["census"]["valid"]:
        return None
    unit = manifest["job"]["mining"]["metric"] == "cosine"
    return project_set(store, counts, hardest, unit=unit)


def _confusions(pairs: Sequence[Mapping[str, Any]], of: int) -> Confusions | None:
    """Return the matrix of the labels with the most hard triplets, or None if there are none."""
    weights: dict[str, int] = {}
    named = [(str(row["anchor_label"]), str(row["negative_label"]), row["hard"]) for row in pairs]
    for anchor, negative, hard in named:
        for label in (anchor, negative):
            weights[label] = weights.get(label, 0) + hard
    if not any(weights.values()):
        return None
    labels = sorted(weights, key=lambda one: -weights[one])[:_LABELS]
    places = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)))
    for anchor, negative, hard in named:
        if anchor in places and negative in places:
            counts[places[anchor], places[negative]] += hard
    order = similar_order(counts)
    shown = [(label_text(a), label_text(n), hard) for a, n, hard in named[:_PAIRS]]
    names = [label_text(labels[place]) for place in order.tolist()]
    return Confusions(names, counts[np.ix_(order, order)], shown, of)


def _shown(
    contents: Contents, side: int, key: str, rows: Sequence[Mapping[str, Any]]
) -> list[Shown]:
    """Return the rows of a table together with the data rows that they describe."""
    return list(zip(contents.items(side, [row[key] for row in rows]), rows, strict=True))
