"""Checks of a run's classes and counts against the stored vectors, by the float64 definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.embedding.store import Store
from miner.inspection.verify.check import Check
from miner.inspection.verify.statistics import recount_hubs, rejudge_labels
from miner.runs.run import Run, read_census
from miner.runs.shards import read_shard
from miner.selection.filters import Filters
from miner.triplets.distance import Metric, score
from miner.triplets.hardness import CLASSES, MINED, classify, difficulty
from miner.triplets.relevance import Relevance

__all__ = ["Truth"]

_TRIPLETS = 2000
_ANCHORS = 32
"""Of a shard, and of the census, where not all are looked at."""


class Truth:
    """The stored vectors and relevance of a run."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run = run
        self.store = store
        mining = run.manifest["job"]["mining"]
        self.metric: Metric = mining["metric"]
        self.margin: float = mining["margin"]
        said = mining["normalize"]
        self.normalized: bool = self.metric != "dot" if said is None else said
        self.found = "found" in run.manifest["census"]  # by an approximate index
        self.filters = Filters.recorded(run.manifest["job"]["select"])
        # NumPy measures, not what mined.
        self.vectors = Vectors(store.vectors(0), store.vectors(store.row_side), "numpy")
        self.relevance: Relevance = store.relevance()

    def triplets(self, full: bool, rng: np.random.Generator) -> Check:
        """Classify triplets again."""
        problems: list[str] = []
        looked = 0
        find_anchor, find_row = self._finder(0), self._finder(self.store.row_side)
        for shard in self.run.manifest["shards"]:
            table = read_shard(self.run.file(shard["path"]))
            picked = np.arange(shard["rows"])
            if not full and len(picked) > _TRIPLETS:
                picked = np.sort(rng.choice(picked, _TRIPLETS, replace=False))
            looked += len(picked)
            anchors = find_anchor(table["anchor_id"][picked])
            positives = find_row(table["positive_id"][picked])
            negatives = find_row(table["negative_id"][picked])
            wrong = self._wrong(
                shard["path"].split("/")[0],
                anchors,
                positives,
                negatives,
                table["d_ap"][picked],
                table["d_an"][picked],
            )
            problems += [f"{shard['path']}, row {picked[row]}: {why}" for row, why in wrong]
        return Check("triplets", problems, f"{looked:,} classified again from the vectors")

    def _finder(self, side: int) -> Callable[[Any], NDArray[np.int64]]:
        rows = self.store.facts["rows"][side]
        ids = self.store.ids(side).take(np.arange(rows)).to_numpy(zero_copy_only=False)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]

        def find(wanted: Any) -> NDArray[np.int64]:
            place = np.minimum(np.searchsorted(ordered, wanted), rows - 1)
            found = np.where(ordered[place] == wanted, order[place], -1)
            return np.asarray(found, dtype=np.int64)

        return find

    def _wrong(
        self,
        name: str,
        anchors: NDArray[np.int64],
        positives: NDArray[np.int64],
        negatives: NDArray[np.int64],
        stated_ap: NDArray[np.float32],
        stated_an: NDArray[np.float32],
    ) -> Iterator[tuple[int, str]]:
        lost = np.flatnonzero((anchors < 0) | (positives < 0) | (negatives < 0))
        if len(lost):
            yield int(lost[0]), "an id is not in the embedding store"
            return
        d_ap = self.vectors.measure(self.metric, anchors, positives)
        d_an = self.vectors.measure(self.metric, anchors, negatives)
        classes = classify(d_ap, d_an, self.margin)
        wrong = classes == "easy" if name == "suspects" else classes != name
        for row in np.flatnonzero(wrong)[:3]:
            yield int(row), f"it is {classes[row]}, not {difficulty(name)}"
        for row in np.flatnonzero(self._misplaced(name, d_ap, d_an))[:3]:
            yield int(row), "the filters on scores put it elsewhere"
        with np.errstate(over="ignore"):
            moved = (d_ap.astype(np.float32) != stated_ap) | (d_an.astype(np.float32) != stated_an)
        for row in np.flatnonzero(moved)[:3]:
            yield int(row), "its distances are not those of the vectors"
        yield from self._irrelevant(anchors, positives, negatives)

    def _misplaced(
        self, name: str, d_ap: NDArray[np.float64], d_an: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether the job's filters on scores would have kept a triplet out of its folder."""
        scores = (score(self.metric, self.normalized, d) for d in (d_ap, d_an))
        if name == "suspects":
            return ~self.filters.suspect(*scores)
        return self.filters.rejects(*scores)

    def _irrelevant(
        self,
        anchors: NDArray[np.int64],
        positives: NDArray[np.int64],
        negatives: NDArray[np.int64],
    ) -> Iterator[tuple[int, str]]:
        for row, anchor in enumerate(anchors):
            known = self.relevance.positives(int(anchor))
            if not np.isin(positives[row], known):
                yield row, "the positive is none of the anchor's"
                return
            if np.isin(negatives[row], np.append(known, self.relevance.hidden(int(anchor)))):
                yield row, "the negative is a positive, or excluded"
                return

    def anchors(self, full: bool, rng: np.random.Generator) -> Check:
        """Count all triplets of some anchors again, one by one."""
        counts = read_census(self.run)
        able = np.flatnonzero(counts["positives"] > 0)
        if not full and len(able) > _ANCHORS:
            able = np.sort(rng.choice(able, _ANCHORS, replace=False))
        problems = []
        for anchor in able.tolist():
            mine = self._classes(anchor)
            stated = {name: int(counts[name][anchor]) for name in CLASSES}
            if mine != stated and not (self.found and self._among(stated, mine)):
                problems.append(f"census.parquet, row {anchor}: {stated}, by definition {mine}")
        return Check("anchors", problems, f"{len(able):,} counted again by the definition")

    @staticmethod
    def _among(found: dict[str, int], there: dict[str, int]) -> bool:
        """Whether what an approximate index found can be part of what there is."""
        return sum(found.values()) == sum(there.values()) and all(
            found[name] <= there[name] for name in MINED
        )

    def tables(self, full: bool, rng: np.random.Generator) -> Check:
        """Count hubs again, and judge suspects of label noise: some, or all."""
        truth = (self.run, self.vectors, self.relevance, self.metric)
        problems, hubs = recount_hubs(*truth, self._finder(self.store.row_side), rng, full=full)
        wrong, suspects = rejudge_labels(*truth, self._finder(0), rng, full=full)
        detail = f"{hubs} counted again, {suspects} suspects of label noise judged again"
        return Check("hubs", problems + wrong, detail)

    def _classes(self, anchor: int) -> dict[str, int]:
        negative = np.ones(len(self.vectors.rows), dtype=np.bool_)
        positives = self.relevance.positives(anchor)
        negative[positives] = False
        negative[self.relevance.hidden(anchor)] = False
        distances = self.vectors.measure(self.metric, np.array([anchor]), np.arange(len(negative)))
        counts = dict.fromkeys(CLASSES, 0)
        for positive in positives:
            classes = classify(distances[positive], distances[negative], self.margin)
            for name in CLASSES:
                counts[name] += int((classes == name).sum())
        return counts
