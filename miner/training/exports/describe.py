"""The text of an export for a terminal with 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from miner.formatting import counted
from miner.training.exports.catalog import EXPORT_FORMATS

__all__ = ["describe_export"]

_REASONS = {
    "repeated_triplets": (
        "triplet repeats one with the same texts",
        "triplets repeat one with the same texts",
    ),
    "farther_negatives": (
        "negative is not among the nearest requested ones",
        "negatives are not among the nearest requested ones",
    ),
    "pairs_with_too_few_negatives": (
        "pair has too few distinct negatives",
        "pairs have too few distinct negatives",
    ),
    "positives_to_balance": ("positive, to balance", "positives, to balance"),
    "negatives_to_balance": ("negative, to balance", "negatives, to balance"),
    "labels_likely_wrong": (
        "anchor whose label is likely wrong",
        "anchors whose labels are likely wrong",
    ),
}
_CLASSES = {"hard": "hard", "semi_hard": "semi-hard", "both": "hard and semi-hard"}


def describe_export(facts: dict[str, Any]) -> str:
    """Return a text that says what an export wrote and left out, and how to load it.

    Parameters
    ----------
    facts : dict
        The result of `export_triplets`.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    what = _CLASSES.get(facts.get("difficulty", ""))
    shape = EXPORT_FORMATS[facts["format"]]
    shown = "texts" if facts["content"] == "text" else "ids: the shards hold no texts"
    shown = "ids" if shape.shows == "ids" else shown
    columns = facts["columns"]
    if len(columns) > 6:
        columns = [*columns[:4], "...", columns[-1]]
    positives = (
        f", {counted(facts['positives'], 'positive')} among them" if "positives" in facts else ""
    )
    lines = [
        f"{facts['format']} of run {facts['run_id']}",
        f"  triplets  {what}" if what else "  ids       of all anchors",
        f"  rows      {facts['rows']:,}{positives}",
        f"  columns   {', '.join(columns)}",
        *([f"  content   {shown}"] if what else []),
        *(["  scores    of the teacher"] if facts.get("scores") else []),
    ]
    if facts.get("sampled"):
        lines.append("  sampled   the run wrote a sample of these triplets: see mine show")
    for why, count in facts["left_out"].items():
        if count:
            lines.append(f"  left out  {counted(count, *_REASONS[why])}")
    path = Path(facts["path"]).absolute()
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    lines.append(f"  written   {here}")
    if facts["hub"]:
        lines.append(f"  pushed    to {facts['hub']}, which is private if it is new")
    kind = "parquet" if facts["files"][0]["path"].endswith("parquet") else "json"
    first, *more = (line.format(kind=kind, folder=here) for line in shape.load)
    lines += [f"  load      {first}", *(f"  {line}" for line in more)]
    return "\n".join(lines)
