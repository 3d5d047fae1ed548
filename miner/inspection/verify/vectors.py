"""Check a run's classes, counts and tables against the stored vectors, by the definition.

Distances are computed by NumPy in float64, independently of the code that mined the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.census.neighbors import NearestRows, majority, nearest_by_definition
from miner.embedding.store import Store
from miner.formatting import counted
from miner.inspection.verify.checks import Check
from miner.runs.run import Run
from miner.runs.shards import SCORES, read_shard
from miner.runs.tables import HUBS, LABEL_NOISE, has_table, read_census, read_table
from miner.selection.filters import Filters
from miner.selection.teacher_rules import TeacherRules
from miner.triplets.distance import Metric, scales, score
from miner.triplets.hardness import CLASSES, MINED_CLASSES, classify, count_positives, difficulty
from miner.triplets.relevance import Relevance
from miner.triplets.relevance.labels import row_labels
from miner.triplets.types import Float64, Rows

__all__ = ["Truth"]

_TRIPLETS, _ANCHORS, _HUBS, _SUSPECTS = 2000, 32, 2, 16
"""Sample sizes: triplets of each shard, anchors of the census, hubs and suspects of the tables.

Few hubs, because each takes one distance per anchor.
"""


class Truth:
    """The checks of a run that use its stored vectors and its relevance."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run = run
        self.store = store
        mining = run.manifest["job"]["mining"]
        self.metric: Metric = mining["metric"]
        self.margin: float = mining["margin"]
        self.normalized = scales(self.metric, mining["normalize"])
        self.found = "found" in run.manifest["census"]  # mined with an approximate index
        self.filters = Filters.from_manifest(run.manifest["job"]["select"])
        teacher = run.manifest["job"].get("teacher", {})
        self.rules = TeacherRules.from_manifest(teacher)
        self.taught = teacher.get("rejected") == "suspects"
        self.vectors = Vectors(store.vectors(0), store.vectors(store.row_side), "numpy")
        self.relevance: Relevance = store.relevance()

    def triplets(self, full: bool, rng: np.random.Generator) -> Check:
        """Classify written triplets again: all, or a sample of each shard."""
        problems: list[str] = []
        checked = 0
        find_anchor, find_row = self._finder(0), self._finder(self.store.row_side)
        for shard in self.run.manifest["shards"]:
            table = read_shard(self.run.file(shard["path"]))
            picked = _picked(shard["rows"], _TRIPLETS, full, rng)
            checked += len(picked)
            wrong = self._wrong(
                shard["path"].split("/")[0],
                find_anchor(table["anchor_id"][picked]),
                find_row(table["positive_id"][picked]),
                find_row(table["negative_id"][picked]),
                table["d_ap"][picked],
                table["d_an"][picked],
            )
            wrong = itertools.chain(wrong, self._misjudged(shard["path"], table, picked))
            problems += [f"{shard['path']}, row {picked[row]}: {why}" for row, why in wrong]
        return Check("triplets", problems, f"{checked:,} classified again from the vectors")

    def _finder(self, side: int) -> Callable[[Any], Rows]:
        rows = self.store.facts["rows"][side]
        ids = self.store.ids(side).take(np.arange(rows)).to_numpy(zero_copy_only=False)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]

        def find(wanted: Any) -> Rows:
            place = np.minimum(np.searchsorted(ordered, wanted), rows - 1)
            found = np.where(ordered[place] == wanted, order[place], -1)
            return np.asarray(found, dtype=np.int64)

        return find

    def _wrong(
        self,
        name: str,
        anchors: Rows,
        positives: Rows,
        negatives: Rows,
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
            yield int(row), "the filters on scores exclude it from this folder"
        with np.errstate(over="ignore"):
            moved = (d_ap.astype(np.float32) != stated_ap) | (d_an.astype(np.float32) != stated_an)
        for row in np.flatnonzero(moved)[:3]:
            yield int(row), "its distances differ from the distances of the vectors"
        if len(anchors):
            yield from self._irrelevant(anchors, positives, negatives)

    def _misplaced(self, name: str, d_ap: Float64, d_an: Float64) -> NDArray[np.bool_]:
        """Return, per triplet, whether the job's filters on scores exclude it from its folder."""
        scores = (score(self.metric, self.normalized, d) for d in (d_ap, d_an))
        if name == "suspects" and not self.taught:
            return ~self.filters.is_suspect(*scores)
        return self.filters.rejects(*scores)

    def _misjudged(
        self, path: str, table: Mapping[str, NDArray[Any]], picked: Rows
    ) -> Iterator[tuple[int, str]]:
        """Yield triplets that the teacher's scores exclude from their folder."""
        if not {*SCORES} <= table.keys():
            return
        rejected = self.rules.reject(*(table[name][picked] for name in SCORES))
        for row in np.flatnonzero(rejected != path.startswith("suspects/"))[:3]:
            yield int(row), "the teacher's scores exclude it from this folder"

    def _irrelevant(
        self,
        anchors: Rows,
        positives: Rows,
        negatives: Rows,
    ) -> Iterator[tuple[int, str]]:
        order = np.argsort(anchors, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(anchors[order])) + 1):
            anchor = int(anchors[mine[0]])
            known = self.relevance.positives(anchor)
            for row in mine[~np.isin(positives[mine], known)][:1]:
                yield int(row), "the positive is not a positive of the anchor"
                return
            excluded = np.append(known, self.relevance.hidden(anchor))
            for row in mine[np.isin(negatives[mine], excluded)][:1]:
                yield int(row), "the negative is a positive of the anchor, or excluded"
                return

    def anchors(self, full: bool, rng: np.random.Generator) -> Check:
        """Count all triplets of some anchors again: all anchors, or a sample."""
        counts = read_census(self.run)
        able = np.flatnonzero(counts["positives"] > 0)
        able = able[_picked(len(able), _ANCHORS, full, rng)]
        problems = []
        for anchor in able.tolist():
            mine = self._classes(anchor)
            stated = {name: int(counts[name][anchor]) for name in CLASSES}
            if mine != stated and not (self.found and self._among(stated, mine)):
                problems.append(f"census.parquet, row {anchor}: {stated}, by definition {mine}")
        return Check("anchors", problems, f"{len(able):,} counted again by the definition")

    @staticmethod
    def _among(found: dict[str, int], true: dict[str, int]) -> bool:
        """Return whether the counts of an approximate index are possible, given the true counts."""
        return sum(found.values()) == sum(true.values()) and all(
            found[name] <= true[name] for name in MINED_CLASSES
        )

    def tables(self, full: bool, rng: np.random.Generator) -> Check:
        """Count hubs and judge suspects of label noise again: all, or samples."""
        problems, hubs = self._recounted(full, rng)
        wrong, suspects = self._rejudged(full, rng)
        detail = f"{hubs} counted again, {counted(suspects, 'suspect')} of label noise judged again"
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

    def _recounted(self, full: bool, rng: np.random.Generator) -> tuple[list[str], int]:
        """Count the triplets of hubs again; return the problems and the number of hubs checked."""
        if not has_table(self.run, HUBS):
            return [], 0
        table = read_table(self.run, HUBS)
        picked = _picked(table.num_rows, _HUBS, full, rng)
        rows = self._finder(self.store.row_side)(table["row_id"].to_numpy()[picked])
        mine = self._as_negatives(rows)
        problems = []
        for place, row, counts in zip(picked.tolist(), rows.tolist(), mine.T.tolist(), strict=True):
            stated = [int(table[name][place].as_py()) for name in ("hard", "semi_hard", "anchors")]
            if row < 0 or counts != stated:
                true = counts if row >= 0 else "an id that is not in the embedding store"
                problems.append(f"{HUBS}, row {place}: {stated}, by definition {true}")
        return problems, len(picked)

    def _as_negatives(self, rows: Rows) -> Rows:
        """Count the triplets in which the given rows are the negative.

        Returns an array of shape (3, rows): hard triplets, semi-hard triplets, and anchors with a
        hard triplet.
        """
        totals = np.zeros((3, len(rows)), dtype=np.int64)
        for anchor in np.flatnonzero(self.relevance.positive_counts > 0).tolist():
            positives = self.relevance.positives(anchor)
            hidden = np.append(positives, self.relevance.hidden(anchor))
            places = np.flatnonzero((rows >= 0) & ~np.isin(rows, hidden))
            own = np.array([anchor])
            d_ap = np.sort(self.vectors.measure(self.metric, own, positives))
            d_an = self.vectors.measure(self.metric, own, rows[places])
            hard, non_easy = count_positives(d_an, d_ap, self.margin)
            totals[:, places] += np.stack([hard, non_easy - hard, hard > 0]).astype(np.int64)
        return totals

    def _rejudged(self, full: bool, rng: np.random.Generator) -> tuple[list[str], int]:
        """Compute the shares of suspects of label noise again; return as `_recounted`."""
        if not has_table(self.run, LABEL_NOISE):
            return [], 0
        labels, table = row_labels(self.relevance), read_table(self.run, LABEL_NOISE)
        if labels is None:
            return [f"{LABEL_NOISE}: the rows of the embedding store have no labels"], 0
        picked = _picked(table.num_rows, _SUSPECTS, full, rng)
        most = int(self.run.manifest["job"]["mining"]["neighbours"])
        problems = []
        found = self._finder(0)(table["anchor_id"].to_numpy()[picked])
        for place, anchor in zip(picked.tolist(), found.tolist(), strict=True):
            share = 0.0
            if anchor >= 0:
                rows = nearest_by_definition(
                    self.vectors, self.relevance, self.metric, anchor, most
                )
                _, votes, examined = majority(NearestRows(np.array([anchor]), rows[None]), labels)
                share = float(votes[0] / examined[0])
            stated = float(table["share"][place].as_py())
            if share != stated:
                why = f"share {stated}, by definition {share}"
                problems.append(f"{LABEL_NOISE}, row {place}: {why}")
        return problems, len(picked)


def _picked(rows: int, most: int, full: bool, rng: np.random.Generator) -> Rows:
    """Return the rows to check, sorted: all, or `most` random ones."""
    if full or rows <= most:
        return np.arange(rows)
    return np.sort(rng.choice(rows, most, replace=False))
