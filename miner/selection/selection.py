"""A job's selection: filters, then the strategy, then the caps of an anchor.

With ``select.suspects`` the hard and semi-hard triplets are kept that a guard dropped: every one
that `absolute_margin`, `relative_margin` or `max_score` drops, whatever the other filters and the
strategy would have made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from miner.errors import UsageError
from miner.job import Job
from miner.job_sections import SelectJob, built
from miner.selection.caps import Caps
from miner.selection.filters import Filters
from miner.selection.strategies.base import (
    STRATEGIES,
    Anchor,
    Counts,
    EligibleRanks,
    PairCountsLike,
    Selected,
    Strategy,
)
from miner.triplets.hardness import MINED, Kept, Mined
from miner.triplets.types import Float64

__all__ = ["Selection", "Suspects", "check_selection", "counts_identity", "load_selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which triplets of an anchor are written.

    Attributes
    ----------
    strategy : Strategy
    filters : Filters
    caps : Caps
    suspects : bool
        Whether what the guards of the filters drop is kept.
    """

    strategy: Strategy
    filters: Filters = field(default_factory=Filters)
    caps: Caps = field(default_factory=Caps)
    suspects: bool = False

    @property
    def needs_pairs(self) -> bool:
        """Whether the slots of an anchor need more than its totals of each class."""
        whole = self.strategy.from_totals and self.filters.whole_classes
        drawn = self.strategy.seeded and self.caps.per_anchor  # weights ask what was drawn
        return not whole or bool(self.caps.per_pair) or bool(drawn)

    @property
    def by_pair(self) -> bool:
        """Whether the slots of an anchor follow from its pairs, each on its own."""
        return self.strategy.by_pair

    @property
    def by_rank(self) -> bool:
        """Whether they follow from the counts of its pairs, without distances."""
        return self.by_pair and self.filters.by_rank

    def eligible_ranks_of_pairs(self, pairs: PairCountsLike) -> EligibleRanks:
        """Return what the filters leave of many anchors; only where `by_pair`.

        `pairs` has scores too, as an `Anchor` has, but where `by_rank`.
        """
        return self.filters.eligible_ranks(cast(Anchor, pairs))

    @property
    def ranks_from_counts(self) -> bool:
        """Whether the counts of its pairs tell of an anchor which ranks are taken, too."""
        by_rank = self.by_rank and not self.suspects
        return by_rank and type(self.strategy).ranks is Strategy.ranks

    def depths(self, pairs: PairCountsLike) -> Counts:
        """Return below which rank all lie that may be written, pair by pair; only where `ranks_from_counts`."""
        eligible = self.filters.eligible_ranks(cast(Anchor, pairs))
        depths: Counts = np.zeros_like(pairs.hard)
        for name in MINED:
            take = self.strategy.take(eligible, name)
            depths = np.maximum(depths, np.where(take.counts > 0, take.begin + take.counts, 0))
        return depths

    def of_pairs(
        self, name: Mined, eligible: EligibleRanks, starts: Counts
    ) -> tuple[Counts, Counts, Counts]:
        """Return slots, wanted and available triplets of anchors; only where `by_pair`.

        Parameters
        ----------
        name : str
        eligible : EligibleRanks
            Of the pairs of all the anchors.
        starts : ndarray of shape (anchors,), int64
            Where the pairs of each begin.
        """
        _, span = eligible.span(name)
        take = self.strategy.take(eligible, name)
        wants = self.strategy.wants(span, name) if name in self.filters.classes else span * 0
        return (
            self.caps.slots_of_pairs(take.counts, starts),
            np.add.reduceat(wants, starts),
            np.add.reduceat(span, starts),
        )

    def of_totals(
        self, totals: Mapping[Mined, Counts], anchors: Counts, seed: int
    ) -> dict[Mined, tuple[Counts, Counts, Counts]]:
        """Return slots, wanted and available triplets of anchors, from their totals of a class.

        Only where `needs_pairs` is False, of anchors that have valid triplets.

        Parameters
        ----------
        totals : mapping
            Per class.
        anchors : ndarray of shape (anchors,), int64
        seed : int
            The job's.

        Returns
        -------
        dict
            Per class that the job writes.
        """
        available = {name: totals[name] for name in self.filters.classes}
        taken = self.strategy.of_totals(available, anchors, seed)
        return {
            name: (self.caps.slots_of_totals(take), wanted, available[name])
            for name, (take, wanted) in taken.items()
        }

    def weights_of_totals(self, totals: Mapping[Mined, Counts]) -> dict[Mined, Float64]:
        """Return the weights of the triplets of anchors, as `of_totals`; the job's cap aside."""
        available = {name: totals[name] for name in self.filters.classes}
        drawn = self.strategy.weights(np.sum([*available.values()], axis=0))
        return {name: drawn * self.caps.weights(count) for name, count in available.items()}

    def at_most(self, pairs: int, anchors: int, most: int) -> int:
        """Bound the triplets of all classes together, before any is dropped again.

        Parameters
        ----------
        pairs, anchors : int
            Pairs (anchor, positive) whose anchor has a negative, and such anchors.
        most : int
            What a class has at most: the triplets that there are, or the job's cap.
        """
        ranks, caps = self.filters.ranks, self.caps
        limits = [most, pairs * (ranks[1] - ranks[0]) if ranks else most]
        limits += [pairs * caps.per_pair or most, anchors * caps.per_anchor or most]
        limit, taken = min(limits), []
        for name in set(self.filters.classes):
            bound = self.strategy.at_most(name, pairs, anchors)
            taken.append(limit if bound is None else bound)
        total = sum(min(limit, bound) for bound in taken)
        return min(total, max(taken)) if self.strategy.shared else total

    def eligible_ranks(self, anchor: Anchor) -> EligibleRanks:
        """Return what the filters leave of an anchor."""
        return self.filters.eligible_ranks(anchor)

    def rule(self, folder: Kept) -> tuple[Strategy, Caps]:
        """Return what takes the triplets of a folder, and the caps of an anchor there."""
        if folder == "suspects":
            return Suspects(), Caps()
        return self.strategy, self.caps


def load_selection(job: SelectJob) -> Selection:
    """Build the selection of a job.

    Raises
    ------
    UsageError
        When the strategy or one of its options is unknown, or a value has no meaning.
    """
    kind: Any = STRATEGIES.load(job.strategy)
    strategy: Strategy = built(kind, "select.options", job.options, f"strategy {job.strategy!r}")
    filters = Filters.from_job(job)
    if job.suspects and not filters.has_guards:
        raise UsageError(
            "select.suspects = true keeps what absolute_margin, relative_margin or max_score drop; "
            "set one of them"
        )
    if (job.rescore is None) != (job.rescore_max is None):
        raise UsageError(
            "select.rescore and select.rescore_max go together: triplets whose negative the "
            "rescorer scores above the bound are dropped; set both"
        )
    caps = Caps(per_pair=job.per_pair, per_anchor=job.per_anchor)
    return Selection(strategy, filters, caps, job.suspects)


def counts_identity(job: SelectJob) -> dict[str, Any]:
    """Return what decides how many triplets of each anchor a selection has to write.

    Left out is what only decides which of them are drawn, or what is dropped afterwards.
    """
    later = {"max_triplets", "per_negative", "denoise", "rescore", "rescore_max"}
    if not load_selection(job).strategy.seeded:
        later.add("seed")
    return {key: value for key, value in job.identity().items() if key not in later}


def check_selection(job: Job) -> None:
    """Raise `UsageError` when a job's selection cannot be followed, before any work."""
    selection = load_selection(job.select)
    mining = job.mining
    selection.strategy.check(mining.metric, mining.normalized, selection.filters.classes)


@dataclass(frozen=True)
class Suspects(Strategy):
    """Takes the ranks below the guards."""

    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Take each pair's nearest negatives, as many as were dropped."""
        dropped = eligible.suspects
        return Selected(dropped * 0, dropped, dropped, int(dropped.sum()))
