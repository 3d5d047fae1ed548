"""Counts by score agree with the definition, where rounding decides, and with both kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.job_sections import SelectJob
from miner.selection.filters import Filters
from miner.selection.score_counts import count_scores_at_least
from miner.selection.strategies.base import ScoreBound
from miner.triplets.distance import METRICS, Metric, normalize_rows, score
from miner.triplets.relevance import LinkRelevance, Relevance
from tests.hard_data import KINDS, labelled, linked, vectors
from tests.oracle import negatives

GUARDS: list[dict[str, float]] = [
    {"relative_margin": 0.0},
    {"relative_margin": 0.05},
    {"relative_margin": 1.0},
    {"absolute_margin": 0.0},
    {"absolute_margin": 0.2},
    {"absolute_margin": 1e-17},  # too small to change a rounded score
    {"absolute_margin": 0.1, "relative_margin": 0.1},
]


class Setting:
    """A census with its block of all anchors that have triplets."""

    def __init__(
        self,
        metric: Metric,
        vectors: Vectors,
        relevance: Relevance,
        *,
        unit: bool,
        kernel: str = "auto",
        margin: float = 0.3,
    ) -> None:
        self.unit = unit
        self.census = Census(vectors, relevance, metric, margin, kernel=kernel)
        able = [a for a in range(relevance.anchors) if len(relevance.positives(a))]
        able = [a for a in able if len(self.others(a))]
        self.block = self.census.block(np.array(able[:32]))

    @classmethod
    def of(cls, metric: Metric, kind: str, classes: str, *, unit: bool, kernel: str) -> Setting:
        """Make labelled items, or pairs if `classes` is "pairs"."""
        pairs = classes == "pairs"
        relevance = linked(15, 40, 53) if pairs else labelled(classes, 40, 54)
        rows = vectors(kind, 40, 6, seed=51)
        anchors = vectors(kind, 15, 6, seed=52) if pairs else rows
        if pairs:
            anchors[:5] = rows[:5]
        if unit:
            rows, anchors = normalize_rows(rows), normalize_rows(anchors)
        return cls(metric, Vectors(anchors, rows), relevance, unit=unit, kernel=kernel)

    def others(self, anchor: int) -> np.ndarray:
        return np.array(list(negatives(self.census.relevance, anchor)), dtype=np.int64)

    def count(self, bound: ScoreBound, start: int = 0, stop: int | None = None) -> np.ndarray:
        if stop is None:
            return count_scores_at_least(self.block, bound, normalized=self.unit)
        lines = [self.block.single(line) for line in range(start, stop)]
        return np.concatenate(
            [count_scores_at_least(one, bound, normalized=self.unit) for one in lines]
        )

    def scores(self, anchor: int, rows: np.ndarray) -> np.ndarray:
        distances = self.census.vectors.measure(self.census.metric, np.array([anchor]), rows)
        return score(self.census.metric, self.unit, distances)

    def check(self, bound: ScoreBound) -> None:
        """Compare with loops, for the whole block and for each line."""
        expected = []
        for anchor in self.block.anchors.tolist():
            others = self.scores(anchor, self.others(anchor))
            positives = self.scores(anchor, self.census.relevance.positives(anchor))
            expected += [int((others >= least).sum()) for least in bound.least(positives)]
        found, non_easy = self.count(bound), self.block.non_easy
        assert np.minimum(found, non_easy).tolist() == np.minimum(expected, non_easy).tolist()
        for line in range(0, len(self.block.anchors), 9):
            mine = slice(*self.block.starts[line : line + 2])
            assert self.count(bound, line, line + 1).tolist() == found[mine].tolist()


def guard(keys: dict[str, float]) -> ScoreBound:
    bound = Filters.from_job(SelectJob(**keys)).guard  # type: ignore[arg-type]
    assert bound is not None
    return bound


@pytest.mark.sampled(9)
@pytest.mark.parametrize("kernel", ["numba", "numpy"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_the_definition(kind: str, metric: Metric, kernel: str) -> None:
    for classes in ("skewed", "giant", "pairs"):
        for unit in (False, True) if metric != "dot" else (False,):
            setting = Setting.of(metric, kind, classes, unit=unit, kernel=kernel)
            for keys in GUARDS:
                setting.check(guard(keys))
            some = setting.scores(int(setting.block.anchors[0]), np.arange(0, 40, 9))
            for most in (
                *some.tolist(),
                -1e300,
                1e300,
            ):  # scores that rows have, and scores that no row has
                setting.check(guard({"max_score": most}))
                setting.check(guard({"max_score": most, "relative_margin": 0.1}))


@pytest.mark.parametrize("metric", METRICS)
def test_one_positive_and_scores_below_zero(metric: Metric) -> None:
    """A relative margin of a negative score requires a larger distance, not a smaller one."""
    rows = -np.array([[1, 0], [3, 0], [3.1, 0], [3.5, 0], [1, 2], [1, 9]], dtype=np.float32)
    anchors = np.array([[-1, 0], [1, 0], [0, 0]], dtype=np.float32)
    starts, positives = np.arange(4), np.array([1, 1, 1])
    none = np.full(6, -1)
    relevance = LinkRelevance(starts, positives, none, none[:3], none, none[:3], none[:3])
    setting = Setting(metric, Vectors(anchors, rows), relevance, unit=False, margin=1e6)
    for keys in GUARDS:
        setting.check(guard(keys))
    if metric == "euclidean":  # -2, -2 - 0.1 and the row at the same distance: a tie is a suspect
        assert setting.scores(0, np.array([1, 2, 4])).round(6).tolist() == [-2.0, -2.1, -2.0]
        assert setting.count(guard({"relative_margin": 0.0}), 0, 1).tolist() == [2]
        assert setting.count(guard({"relative_margin": 0.1}), 0, 1).tolist() == [3]
    if metric == "dot":  # for the second anchor, the positive has the score -3, the third row -3.1
        assert setting.count(guard({"relative_margin": 0.0}), 1, 2).tolist() == [3]
        assert setting.count(guard({"relative_margin": 0.1}), 1, 2).tolist() == [4]


def test_what_is_sure_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting.of("euclidean", "random", "skewed", unit=True, kernel="auto")
    measured = []
    measure = Vectors.measure

    def watched(self: Vectors, metric: Metric, anchors: Any, columns: Any) -> Any:
        measured.append(len(columns))
        return measure(self, metric, anchors, columns)

    monkeypatch.setattr(Vectors, "measure", watched)
    setting.count(guard({"relative_margin": 0.05}))
    assert not measured
    setting.count(guard({"absolute_margin": 0.0, "max_score": 0.5}))
    assert not measured
