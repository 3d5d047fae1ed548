"""The figures of a report with what is said of them: how to read each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from miner.inspection.report.facts import Facts
from miner.inspection.report.figures import confusion_map, distances, plane, shares_by_margin

__all__ = ["Figure", "figures_of"]

_NAMES = ("distances", "plane", "margins", "confusion")


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing of the page, its title (also for who cannot see it) and how to read it."""

    name: str
    svg: str
    title: str
    caption: str


def figures_of(facts: Facts) -> dict[str, Figure | None]:
    """Draw all figures for which there are facts; the others are None."""
    found = {one.name: one for part in (_of_sample, _of_shares, _of_labels) for one in part(facts)}
    return {name: found.get(name) for name in _NAMES}


def _of_sample(facts: Facts) -> Iterator[Figure]:
    sample, margin = facts.sample, facts.manifest["job"]["mining"]["margin"]
    if sample is None or not math.isfinite(float(sample.d_ap.sum() + sample.d_an.sum())):
        return
    yield Figure(
        "distances",
        distances(sample, margin),
        "Distances of positives and of negatives",
        f"Grey: anchor to positive; red: anchor to negative ({len(sample):,} triplets, each as "
        "likely as any other). The blue band is one margin wide, from the median positive. The "
        "farther red lies to the right of grey, the better the model tells the labels apart; "
        "where they overlap, triplets are hard.",
    )
    yield Figure(
        "plane",
        plane(sample, margin),
        "Every triplet has a place in this plane",
        f"Each dot is one of {len(sample):,} sampled triplets. On or below the lower "
        "line the negative is as near as the positive or nearer (hard, red); between the lines it "
        f"is farther by less than the margin {margin:g} (semi-hard, blue); above both, easy "
        "(grey).",
    )


def _of_shares(facts: Facts) -> Iterator[Figure]:
    if facts.shares is None:
        return
    yield Figure(
        "margins",
        shares_by_margin(facts.shares, facts.manifest["job"]["mining"]["margin"]),
        "Shares of the classes as the margin grows",
        "From below: hard (red), semi-hard (blue), easy (grey). The dashed line is this run's "
        "margin. Hard does not depend on it; choose a margin that leaves as many semi-hard "
        f"triplets as training can use. {_basis(facts)}",
    )


def _of_labels(facts: Facts) -> Iterator[Figure]:
    confusions = facts.confusions
    if confusions is None:
        return
    shown, of = len(confusions.labels), confusions.of
    which = "All labels" if shown >= of else f"The {shown} of {of:,} labels with most hard triplets"
    yield Figure(
        "confusion",
        confusion_map(confusions.labels, confusions.counts),
        "Which labels are taken for each other",
        f"{which}. A row is the anchor's label, a column the negative's; the fuller a cell, the "
        "more hard triplets (by their square root). An empty map is what one wants.",
    )


def _basis(facts: Facts) -> str:
    """Say what the curve of shares is counted over."""
    shares, sample = facts.shares, facts.sample
    if shares is not None and shares.exact:
        return "Counted over all valid triplets."
    if shares is not None and shares.anchors:
        return (
            f"Counted over all triplets of {shares.anchors:,} anchors, a random sample of "
            f"{shares.of:,}."
        )
    size = len(sample) if sample is not None else 0
    error = sample.error if sample is not None else 1.0
    return f"From {size:,} sampled triplets: within {100 * error:.1f} percentage points (95 %)."
