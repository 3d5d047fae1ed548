"""The selection of a job: filters, then the strategy, then the caps of an anchor.

With ``select.suspects``, every hard and semi-hard triplet that a guard (`absolute_margin`,
`relative_margin` or `max_score`) drops is written to the folder ``suspects``, regardless of the
other filters and of the strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from miner.errors import UsageError
from miner.job import Job
from miner.job_sections import SelectJob
from miner.registry import built
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
from miner.triplets.distance import score_range
from miner.triplets.hardness import MINED_CLASSES, MinedClass, OutputFolder
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
        Whether the triplets that guards drop are written too, as suspects.
    prefer : bool
        Whether negatives that were judged are taken first; see `prefer_judged`.
    spares : int
        Further negatives that are drawn for each triplet, see `miner.selection.spares`.
    """

    strategy: Strategy
    filters: Filters = field(default_factory=Filters)
    caps: Caps = field(default_factory=Caps)
    suspects: bool = False
    prefer: bool = False
    spares: int = 0

    @property
    def needs_pairs(self) -> bool:
        """Whether an anchor's number of slots depends on more than its totals of each class."""
        whole = self.strategy.from_totals and self.filters.whole_classes
        drawn = self.strategy.seeded and self.caps.per_anchor  # weights depend on the draw
        return not whole or bool(self.caps.per_pair) or bool(drawn)

    @property
    def by_pair(self) -> bool:
        """Whether an anchor's number of slots is a sum over its pairs, each taken separately."""
        return self.strategy.by_pair

    @property
    def by_rank(self) -> bool:
        """Whether the number of slots follows from the counts of pairs, without distances."""
        return self.by_pair and self.filters.by_rank

    def eligible_ranks_of_pairs(self, pairs: PairCountsLike) -> EligibleRanks:
        """Return the ranks that pass the filters, for the pairs of many anchors.

        Valid only if `by_pair`. Unless `by_rank`, `pairs` needs `count_scores_at_least` too.
        """
        return self.filters.eligible_ranks(cast(Anchor, pairs))

    @property
    def ranks_from_counts(self) -> bool:
        """Whether the counts of pairs also decide which ranks are selected."""
        by_rank = self.by_rank and not self.suspects and not self.prefer
        return by_rank and type(self.strategy).ranks is Strategy.ranks

    def depths(self, pairs: PairCountsLike) -> Counts:
        """Return, per pair, an upper bound (exclusive) of the ranks that may be written.

        Valid only if `ranks_from_counts`.
        """
        eligible = self.filters.eligible_ranks(cast(Anchor, pairs))
        depths: Counts = np.zeros_like(pairs.hard)
        for name in MINED_CLASSES:
            take, (begin, span) = self.strategy.take(eligible, name), eligible.span(name)
            last = np.minimum(take.begin + take.counts * (1 + self.spares), begin + span)
            depths = np.maximum(depths, np.where(take.counts > 0, last, 0))
        return depths

    def of_pairs(
        self, name: MinedClass, eligible: EligibleRanks, starts: Counts
    ) -> tuple[Counts, Counts, Counts]:
        """Return the slots and the requested and eligible triplets of anchors, if `by_pair`.

        Parameters
        ----------
        name : str
        eligible : EligibleRanks
            The eligible ranks of the pairs of all anchors.
        starts : ndarray of shape (anchors,), int64
            Index of the first pair of each anchor.

        Returns
        -------
        tuple of ndarray of shape (anchors,), int64
            Slots; triplets that the strategy requests; triplets that pass the filters.
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
        self, totals: Mapping[MinedClass, Counts], anchors: Counts, seed: int
    ) -> dict[MinedClass, tuple[Counts, Counts, Counts]]:
        """Return the slots and the requested and eligible triplets of anchors, from class totals.

        Valid only if `needs_pairs` is False, and for anchors that have valid triplets.

        Parameters
        ----------
        totals : mapping
            Per class, the number of triplets of each anchor.
        anchors : ndarray of shape (anchors,), int64
        seed : int
            The seed of the job.

        Returns
        -------
        dict
            For each class that the job writes: slots; triplets that the strategy requests;
            triplets that pass the filters.
        """
        available = {name: totals[name] for name in self.filters.classes}
        taken = self.strategy.of_totals(available, anchors, seed)
        return {
            name: (self.caps.slots_of_totals(take), wanted, available[name])
            for name, (take, wanted) in taken.items()
        }

    def weights_of_totals(self, totals: Mapping[MinedClass, Counts]) -> dict[MinedClass, Float64]:
        """Return the weight of each anchor's triplets per class, without `max_triplets`.

        See `of_totals` for the argument.
        """
        available = {name: totals[name] for name in self.filters.classes}
        drawn = self.strategy.weights(np.sum([*available.values()], axis=0))
        return {name: drawn * self.caps.weights(count) for name, count in available.items()}

    def at_most(self, pairs: int, anchors: int, most: int) -> int:
        """Return an upper bound on the triplets of all classes together.

        Triplets that are dropped after the selection are included.

        Parameters
        ----------
        pairs, anchors : int
            The number of pairs (anchor, positive) whose anchor has a negative, and the number of
            such anchors.
        most : int
            The largest number of triplets of a class: all valid triplets, or the cap of the job.
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
        """Return the ranks of an anchor's pairs that pass the filters."""
        return self.filters.eligible_ranks(anchor)

    def rule(self, folder: OutputFolder) -> tuple[Strategy, Caps]:
        """Return the strategy that selects the triplets of a folder, and the caps that apply."""
        if folder == "suspects":
            return Suspects(), Caps()
        return self.strategy, self.caps


def load_selection(job: SelectJob) -> Selection:
    """Build the selection of a job.

    Raises
    ------
    UsageError
        When the strategy or one of its options is unknown, or a value is invalid.
    """
    kind: Any = STRATEGIES.load(job.strategy)
    strategy: Strategy = built(kind, "select.options", job.options, f"strategy {job.strategy!r}")
    filters = Filters.from_job(job)
    if job.suspects and not filters.has_guards:
        raise UsageError(
            "select.suspects = true keeps what absolute_margin, relative_margin or max_score drop; "
            "set one of them"
        )
    caps = Caps(per_pair=job.per_pair, per_anchor=job.per_anchor)
    return Selection(strategy, filters, caps, job.suspects)


def counts_identity(job: SelectJob) -> dict[str, Any]:
    """Return the keys of ``[select]`` that decide how many slots each anchor has.

    Keys that only decide which triplets are drawn, or which are dropped later, are left out.
    """
    later = {"max_triplets", "per_negative", "denoise"}
    if not load_selection(job).strategy.seeded:
        later.add("seed")
    return {key: value for key, value in job.identity().items() if key not in later}


def check_selection(job: Job) -> None:
    """Raise `UsageError` if a job's selection is invalid; called before any work starts."""
    selection = load_selection(job.select)
    mining = job.mining
    selection.strategy.check(mining.metric, mining.normalized, selection.filters.classes)
    selection.filters.check_range(*score_range(mining.metric, mining.normalized))
    if job.dataset.judged_below == "prefer" and selection.strategy.from_totals:
        raise UsageError(
            "dataset.judged_below = 'prefer' has no meaning for the strategy "
            f"{job.select.strategy!r}, which takes all or draws uniformly; choose another, such as "
            "'hardest'"
        )


@dataclass(frozen=True)
class Suspects(Strategy):
    """Selects the triplets that the guards dropped."""

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the nearest negatives of each pair, as many as the guards dropped."""
        dropped = eligible.suspects
        return Selected(dropped * 0, dropped, dropped, int(dropped.sum()))
