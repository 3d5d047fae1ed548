"""The table of a set: means over seeds, and what each method gained on the base, in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.proof.methods import BASE
from tests.proof.statistics import Interval, interval, paired
from tests.proof.training import Trained

__all__ = ["table"]

_TITLES = ("method", "Recall@1", "MAP@R", f"MAP@R over {BASE} (95 %)", "mining")


def _gain(found: Interval) -> str:
    sign = "" if not found.sure else (" better" if found.mean > 0 else " worse")
    return f"{found.mean:+.4f} +- {found.half:.4f}{sign}"


def table(trained: Mapping[str, Sequence[Trained]]) -> str:
    """Return the rows of a Markdown table, one a method, in their order."""
    base = [one.scores.map_at_r for one in trained[BASE]]
    rows = [_TITLES, tuple("---" for _ in _TITLES)]
    for name, runs in trained.items():
        lacking = sum(one.short > 0 for one in runs)
        if lacking:  # its scores are those of a network that was trained less, or not at all
            said = f"too few triplets in {lacking} of {len(runs)} trainings"
            rows.append((name, "", "", said, ""))
            continue
        values = [one.scores.map_at_r for one in runs]
        first = interval([one.scores.recall_at_1 for one in runs])
        seconds = interval([one.mining_seconds for one in runs]).mean
        gain = "" if name == BASE else _gain(paired(values, base))
        rows.append(
            (name, f"{first.mean:.3f}", f"{interval(values).mean:.4f}", gain, f"{seconds:.2f} s")
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
