"""What stands out in a finished run, in words: confusions, hubs, suspects of label noise."""

from __future__ import annotations

import itertools
from typing import Any

from miner.formatting import cut_line
from miner.runs.run import Run
from miner.runs.tables import CONFUSION, HUBS, LABEL_NOISE, has_table, read_table

__all__ = ["describe_tables"]


def describe_tables(run: Run, count: int = 3) -> list[str]:
    """Say which labels are confused most, which rows are hubs, and whose label may be wrong.

    And how far negatives lie beyond positives (``census.gaps``).

    Parameters
    ----------
    run : Run
    count : int
        How many of each.

    Returns
    -------
    list of str
        A line each.
    """
    kinds = {CONFUSION: _confused, HUBS: _hub, LABEL_NOISE: _suspect}
    titles = {CONFUSION: "confusions", HUBS: "hubs", LABEL_NOISE: "labels"}
    lines = []
    for name, words in kinds.items():
        rows = read_table(run, name, count).to_pylist() if has_table(run, name) else []
        for number, row in enumerate(rows):
            title = "" if number else titles[name]
            lines.append(cut_line(f"  {title:<10} {words(row)}"))
    gaps = run.manifest["census"].get("gaps", {})
    if gaps.get("anchors"):
        lines.append(f"  {'gaps':<10} {_gaps(gaps)}")
    return lines


def _gaps(gaps: dict[str, Any]) -> str:
    """Say which share of triplets lies below some margins."""
    below = list(itertools.accumulate([gaps["below"], *gaps["counts"]]))
    total, zero = below[-1] + gaps["above"], gaps["edges"].index(0.0)
    some = (zero, (3 * zero) // 2, 2 * zero)
    parts = [f"{below[at] / total:.1%} below {gaps['edges'][at]:.3g}" for at in some]
    of = f"a sample of {gaps['anchors']:,} of {gaps['of']:,}"
    return f"{', '.join(parts)} ({'all' if gaps['exact'] else of} anchors)"


def _confused(row: dict[str, Any]) -> str:
    return f"{row['anchor_label']} -> {row['negative_label']}: {row['hard']:,} hard triplets"


def _hub(row: dict[str, Any]) -> str:
    label = f" ({row['label']})" if "label" in row else ""
    return f"{row['row_id']}{label}: negative of {row['hard']:,} hard, {row['anchors']:,} anchors"


def _suspect(row: dict[str, Any]) -> str:
    around = f"{row['share']:.0%} of the nearest are {row['neighbour_label']}"
    return f"{row['anchor_id']} ({row['label']}): {around}"
