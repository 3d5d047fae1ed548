"""Filters on the negatives of a pair (anchor, positive).

Each filter keeps an interval of the negatives' ranks, and several filters keep the intersection.
Scores are computed by `miner.triplets.distance.score` (larger is closer) and compared in float64.
A negative n of a pair with the positive p is kept if it meets these conditions:

===================  ==============================================================================
`classes`            the triplet belongs to one of these classes
`absolute_margin` x  ``s(n) < s(p) - x`` (MarginPos of NV-Retriever, Moreira et al. 2024)
`relative_margin` x  ``s(n) < s(p) - x |s(p)|`` (PercPos of the same paper; ``|s(p)|`` makes it
                     right for negative scores)
`max_score` x        ``s(n) <= x``
`min_score` x        ``s(n) >= x``
`skip_nearest` N     ``rank >= N``, the rank among the anchor's negatives, counted from 0
`ranks` [lo, hi]     ``lo <= rank < hi``
===================  ==============================================================================

Both margins and `max_score` are guards against false negatives; the negatives that they drop are
called suspects. The score of a hard negative is at least the score of the positive, so each of the
two margins drops all hard triplets and leaves only semi-hard ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.errors import UsageError
from miner.job_sections import SelectJob
from miner.selection.strategies.base import Anchor, EligibleRanks, ScoreBound
from miner.triplets.hardness import MINED_CLASSES, MinedClass
from miner.triplets.types import Float64

__all__ = ["Filters"]


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a job; None or 0 means no filter."""

    classes: tuple[MinedClass, ...] = MINED_CLASSES
    absolute_margin: float | None = None
    relative_margin: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    skip_nearest: int = 0
    ranks: tuple[int, ...] | None = None

    @classmethod
    def from_job(cls, job: SelectJob) -> Filters:
        """Return the filters of a job.

        Raises
        ------
        UsageError
            When a filter has an invalid value.
        """
        filters = cls(
            job.classes,
            job.absolute_margin,
            job.relative_margin,
            job.min_score,
            job.max_score,
            job.skip_nearest,
            job.ranks,
        )
        filters.check()
        return filters

    @classmethod
    def from_manifest(cls, select: Mapping[str, Any]) -> Filters:
        """Return the filters of a run from its manifest; older manifests have fewer keys."""
        fields = {one.name for one in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in select.items() if key in fields})

    def check(self) -> None:
        """Raise `UsageError` if a filter has an invalid value."""
        if not self.classes:
            raise UsageError("select.classes is empty; name 'hard', 'semi_hard' or both")
        for key in ("absolute_margin", "relative_margin", "min_score", "max_score"):
            value = getattr(self, key)
            if value is not None and not np.isfinite(value):
                raise UsageError(f"select.{key} = {value} must be a finite number")
        if self.absolute_margin is not None and self.absolute_margin < 0:
            raise UsageError(
                f"select.absolute_margin = {self.absolute_margin} must be 0 or more, such as 0.05"
            )
        if self.relative_margin is not None and not 0 <= self.relative_margin <= 1:
            raise UsageError(
                f"select.relative_margin = {self.relative_margin} must be between 0 and 1, "
                "such as 0.05"
            )
        self._check_windows()

    def _check_windows(self) -> None:
        low, high = self.min_score, self.max_score
        if low is not None and high is not None and low > high:
            raise UsageError(
                f"select.min_score = {low} is above max_score = {high}: no triplet is left; set "
                "min_score below max_score"
            )
        ranks = self.ranks
        if ranks is not None and not (len(ranks) == 2 and 0 <= ranks[0] < ranks[1]):
            raise UsageError(
                f"select.ranks = {list(ranks)} must be [lo, hi] with 0 <= lo < hi, "
                "such as [10, 210]"
            )

    def check_range(self, least: float, most: float) -> None:
        """Raise `UsageError` on bounds that keep or drop all that has scores in a range."""
        span = f"{least:g} to {most:g}" if np.isfinite(least) else f"{most:g} at most"
        for key in ("min_score", "max_score"):
            value = getattr(self, key)
            if value is not None and not least <= value <= most:
                kept = "no" if (value > most) == (key == "min_score") else "every"
                raise UsageError(
                    f"select.{key} = {value:g} leaves {kept} triplet: scores of this metric are "
                    f"{span}; name one of these"
                )
        if self.absolute_margin is not None and self.absolute_margin >= most - least:
            raise UsageError(
                f"select.absolute_margin = {self.absolute_margin:g} leaves no triplet: scores of "
                f"this metric are {span}; name a smaller difference, such as 0.05"
            )

    @property
    def has_guards(self) -> bool:
        """Whether any filter is a guard against false negatives."""
        guards = (self.absolute_margin, self.relative_margin, self.max_score)
        return any(guard is not None for guard in guards)

    @property
    def uses_scores(self) -> bool:
        """Whether any filter depends on scores."""
        return self.has_guards or self.min_score is not None

    @property
    def whole_classes(self) -> bool:
        """Whether the filters keep or drop each class as a whole."""
        return not (self.uses_scores or self.skip_nearest or self.ranks)

    @property
    def by_rank(self) -> bool:
        """Whether the filters depend on ranks only, not on distances."""
        return not self.has_guards and self.min_score is None

    def eligible_ranks(self, anchor: Anchor) -> EligibleRanks:
        """Return, for each pair of an anchor, the ranks that pass all filters."""
        hard, non_easy = anchor.hard, anchor.non_easy
        guard = self.guard
        suspects = (
            np.minimum(anchor.count_scores_at_least(guard), non_easy)
            if guard
            else np.zeros_like(hard)
        )
        low, high = suspects.copy(), non_easy.copy()
        if "hard" not in self.classes:
            low = np.maximum(low, hard)
        if "semi_hard" not in self.classes:
            high = np.minimum(high, hard)
        first, last = self.ranks or (0, None)
        low = np.maximum(low, max(first, self.skip_nearest))
        if last is not None:
            high = np.minimum(high, last)
        if self.min_score is not None:
            least = self.min_score
            enough = ScoreBound(lambda positive: np.full_like(positive, least), by_pair=False)
            high = np.minimum(high, anchor.count_scores_at_least(enough))
        return EligibleRanks(anchor, low, high, suspects, self.classes)

    @property
    def guard(self) -> ScoreBound | None:
        """The lowest score of a suspect; None without guards."""
        return ScoreBound(self._least, self.relative) if self.has_guards else None

    def _least(self, positive: Float64) -> Float64:
        """Return the lowest score that any guard drops, given the positives' scores."""
        bounds = self.bounds(positive)
        if self.max_score is not None:
            bounds.append(np.full_like(positive, np.nextafter(self.max_score, np.inf)))
        lowest: Float64 = np.minimum.reduce(bounds)
        return lowest

    @property
    def relative(self) -> bool:
        """Whether any filter compares a negative with the pair's positive."""
        return self.absolute_margin is not None or self.relative_margin is not None

    def bounds(self, positive: Float64) -> list[Float64]:
        """Return, per margin filter, the score that a negative must stay below.

        Parameters
        ----------
        positive : ndarray of float64
            Scores of the positives.

        Returns
        -------
        list of ndarray of float64
        """
        found = []
        if self.absolute_margin is not None:
            found.append(positive - self.absolute_margin)
        if self.relative_margin is not None:
            found.append(positive - self.relative_margin * np.abs(positive))
        return found

    def is_suspect(self, positive: Float64, negative: Float64) -> NDArray[np.bool_]:
        """Return, elementwise, whether a guard drops a triplet with these scores."""
        dropped = np.zeros(len(negative), dtype=np.bool_)
        for bounds in self.bounds(positive):
            dropped |= negative >= bounds
        if self.max_score is not None:
            dropped |= negative > self.max_score
        return dropped

    def rejects(self, positive: Float64, negative: Float64) -> NDArray[np.bool_]:
        """Return, elementwise, whether any filter on scores drops a triplet with these scores."""
        dropped = self.is_suspect(positive, negative)
        if self.min_score is not None:
            dropped |= negative < self.min_score
        return dropped
