"""Checks that the counts of a run agree: the census, what was written of it, and the tables."""

from __future__ import annotations

import numpy as np

from miner.inspection.verify.check import Check
from miner.runs.run import Run, read_census
from miner.runs.tables import CONFUSION, HUBS, LABEL_NOISE, has_table, read_table
from miner.runs.totals import found_counts
from miner.triplets.hardness import CLASSES, MINED

__all__ = ["check_census", "check_tables"]


def check_census(run: Run) -> Check:
    """Add up the census' rows, and hold them against the manifest."""
    counts = read_census(run)
    missing = {"positives", "negatives", *CLASSES} - counts.keys()
    if missing:
        return Check("census", [f"census.parquet has no column {min(missing)!r}"])
    problems = []
    stated = found_counts(run.manifest["census"])
    for name in CLASSES:
        total = sum(counts[name].tolist())
        if total != stated[name]:
            problems.append(f"census.parquet: {total:,} {name}, the manifest says {stated[name]:,}")
    valid = counts["positives"] * counts["negatives"]
    wrong = np.flatnonzero(sum(counts[name] for name in CLASSES) != valid)
    if len(wrong):
        problems.append(
            f"census.parquet, row {wrong[0]}: the classes do not add up to positives x negatives"
        )
    problems += _written(run, stated)
    return Check("census", problems, f"{len(valid):,} anchors add up")


def _written(run: Run, stated: dict[str, int]) -> list[str]:
    """Hold what the manifest says was written against the census."""
    problems = []
    for name in MINED:
        facts = run.manifest["written"][name]
        if facts["of"] != stated[name]:
            problems.append(f"written: {name} of {facts['of']:,}, the census has {stated[name]:,}")
        if facts["rows"] > facts["of"] or facts["truncated"] != (facts["rows"] < facts["of"]):
            problems.append(f"written: {name} {facts['rows']:,} of {facts['of']:,}")
    return problems


def check_tables(run: Run) -> Check:
    """Compare the sums of the tables with the census."""
    census, problems, looked = run.manifest["census"], [], []
    if has_table(run, CONFUSION):
        facts, table = census["confusions"], read_table(run, CONFUSION)
        looked.append(f"{table.num_rows:,} confusions")
        for name in ("hard", "semi_hard"):
            total = sum(table[name].to_pylist())
            wanted = facts[name] if facts["rows"] < facts["of"] else census[name]
            if total != wanted:
                problems.append(f"{CONFUSION}: {total:,} {name}, not {wanted:,}")
    if has_table(run, HUBS):
        facts, table = census["hubs"], read_table(run, HUBS)
        looked.append(f"{table.num_rows:,} hubs")
        for name in ("hard", "semi_hard"):
            total = sum(table[name].to_pylist())
            if total > census[name] or (facts["rows"] == facts["of"] and total != census[name]):
                problems.append(f"{HUBS}: {total:,} {name} of {census[name]:,}")
    if has_table(run, LABEL_NOISE):
        table = read_table(run, LABEL_NOISE)
        looked.append(f"{table.num_rows:,} suspects of label noise")
        if table.num_rows and min(table["share"].to_pylist()) <= 0.5:
            problems.append(f"{LABEL_NOISE}: a share is no majority")
    detail = f"{', '.join(looked)} add up" if looked else "none"
    return Check("tables", problems, detail, skipped=not looked)
