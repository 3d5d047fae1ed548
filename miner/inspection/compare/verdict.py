"""Decide whether the second of two runs is better, with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from miner.formatting import counted
from miner.inspection.compare.anchors import Anchors
from miner.runs.run import Run
from miner.triplets.distance import scales

__all__ = ["Verdict", "judge"]

_RELATIVE = 0.01
"""Least relative change of the share of hard triplets that counts as a change."""
_POINTS = 0.005
"""Least absolute change of the share of anchors whose nearest row is a positive."""

Outcome = Literal["better", "worse", "mixed", "same", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for B compared with A, as a sentence (`title`), and the reasons for it."""

    outcome: Outcome
    title: str
    reasons: list[str]


def judge(a: Run, b: Run, other_triplets: list[str], anchors: Anchors | None) -> Verdict:
    """Decide whether run B is better than run A.

    B is better if it has fewer hard triplets, and more anchors whose nearest row is a positive. The
    outcome is unknown unless both runs have the same valid triplets, metric and margin.

    Parameters
    ----------
    a, b : Run
    other_triplets : list of str
        The reasons why the valid triplets of B differ from the ones of A.
    anchors : Anchors or None
    """
    obstacles = [*other_triplets, *_obstacles(a, b)]
    if obstacles:
        return Verdict("unknown", "It is unknown which run is better", obstacles)
    censuses = (run.manifest["census"] for run in (a, b))
    hard = [census["hard"] / census["valid"] for census in censuses]
    nearest: list[float | None] = [run.manifest["index"]["nearest"]["positive"] for run in (a, b)]
    signs, reasons = [], []
    before, after = _interval(a), _interval(b)
    estimated = not all(run.manifest["index"]["exact"] for run in (a, b))
    if estimated and before[0] <= after[1] and after[0] <= before[1]:
        reasons.append("The share of hard triplets is estimated, and the intervals overlap.")
    else:
        moved = abs(hard[1] - hard[0]) > _RELATIVE * max(hard)
        signs.append((hard[1] < hard[0]) - (hard[1] > hard[0]) if moved else 0)
        reasons.append(f"Hard triplets: {hard[0]:.2%} of all in A, {hard[1]:.2%} in B.")
    if nearest[0] is not None and nearest[1] is not None:
        moved = abs(nearest[1] - nearest[0]) > _POINTS
        signs.append((nearest[1] > nearest[0]) - (nearest[1] < nearest[0]) if moved else 0)
        reasons.append(
            f"Anchors with a positive as nearest row: {nearest[0]:.1%} in A, {nearest[1]:.1%} in B."
        )
    if anchors is not None:
        reasons.append(
            f"{counted(anchors.fewer, 'anchor has', 'anchors have')} a smaller share of hard "
            "triplets, "
            f"{anchors.more:,} a larger, {anchors.same:,} the same."
        )
    outcome = _outcome(signs)
    titles = {
        "better": "B separates the labels better than A",
        "worse": "B separates the labels worse than A",
        "mixed": "B is better in one respect and worse in another",
        "same": "B is as good as A",
    }
    return Verdict(outcome, titles[outcome], reasons)


def _outcome(signs: list[int]) -> Outcome:
    if not any(signs):
        return "same"
    if min(signs) < 0 < max(signs):
        return "mixed"
    return "better" if max(signs) > 0 else "worse"


def _obstacles(a: Run, b: Run) -> Iterator[str]:
    """Yield the other reasons why the runs cannot be compared."""
    mining = [run.manifest["job"]["mining"] for run in (a, b)]
    for key in ("metric", "margin"):
        if mining[0][key] != mining[1][key]:
            yield f"The {key} differs: {mining[0][key]} in A, {mining[1][key]} in B."
    scaled = [scales(one["metric"], one["normalize"]) for one in mining]
    if scaled[0] != scaled[1]:
        yield "One run scaled its vectors to unit length, the other did not."
    if not all(run.manifest["census"]["valid"] for run in (a, b)):
        yield "A run has no valid triplet."


def _interval(run: Run) -> tuple[float, float]:
    """Return the confidence interval of the share of hard triplets; equal ends if it is exact."""
    census = run.manifest["census"]
    ends = (census.get("interval") or {}).get("hard", [census["hard"], census["hard"]])
    return float(ends[0] / census["valid"]), float(ends[1] / census["valid"])
