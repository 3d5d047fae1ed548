"""The sections ``census`` and ``written`` of the manifest, and short texts from them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.runs.shards import most_weight
from miner.triplets.hardness import CLASSES, MINED_CLASSES, OUTPUT_FOLDERS, OutputFolder

__all__ = [
    "CORRECTED",
    "census_facts",
    "corrected_lines",
    "corrections_text",
    "found_counts",
    "shares_table",
    "short_lines",
    "why_nothing",
    "written_facts",
    "wrote_sample",
]

CORRECTED = ("relabelled", "dropped", "positives", "negatives", "ignored")
"""The outcomes of `dataset.corrections` that change the data."""

Counted = NDArray[np.void]


def census_facts(counted: Counted, *, loss: bool, reused: bool = False) -> dict[str, Any]:
    """Return the section ``census``: the totals of the classes and, with `loss`, the mean loss.

    Parameters
    ----------
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
    loss : bool
    reused : bool
        Whether the counts came from the cache of an earlier run.
    """
    counts = {name: _total(counted, name) for name in ("easy", "semi_hard", "hard")}
    facts: dict[str, Any] = {"valid": sum(counts.values()), **counts, "reused": reused}
    if loss:
        non_easy = counts["semi_hard"] + counts["hard"]
        mean = float(counted["loss"].sum()) / non_easy if non_easy else 0.0
        facts["mean_loss"] = float(f"{mean:.7g}")  # digits independent of the order
    return facts


def found_counts(census: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of triplets of each class that the run found, from its census facts.

    The totals of an approximate run are estimates; the numbers found are in ``found``, and all
    other triplets count as easy.
    """
    found: dict[str, int] = {name: census.get("found", census)[name] for name in MINED_CLASSES}
    return {"easy": int(census["valid"]) - sum(found.values()), **found}


def written_facts(
    counted: Counted,
    shards: list[dict[str, Any]],
    folder: Path,
    *,
    of: Counted,
    suspects: bool,
    dropped: Mapping[str, Mapping[OutputFolder, int]],
) -> dict[str, Any]:
    """Return the section ``written``: per folder, ``rows`` in the shards and ``of``, the total.

    A class also has ``wanted``, the number of triplets that the strategy requested, and
    ``available``, the number that passes the filters; ``sampled`` is true if rows were drawn at
    random, so that some have a weight above 1.

    Parameters
    ----------
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
    shards : list of dict
        As in the manifest.
    folder : Path
        The folder that the paths are relative to.
    of : ndarray
        The records that ``of`` is counted from: `counted`, or those of all rows if `counted` is of
        candidates only.
    suspects : bool
        Whether the job writes suspects: those of the guards, or else of the teacher.
    dropped : mapping
        The numbers of triplets of each folder: ``rejected`` by the teacher, spares that
        ``replaced`` them, and ``capped`` by `select.per_negative`.
    """
    facts: dict[str, Any] = {}
    for name in OUTPUT_FOLDERS if suspects else MINED_CLASSES:
        mine = [shard for shard in shards if shard["path"].startswith(f"{name}/")]
        rows = sum(shard["rows"] for shard in mine)
        if name == "suspects":  # what a teacher rejects has no slots
            total = _total(counted, "slots_suspects") or rows
        else:
            total = _total(of, name)
        sampled = any(most_weight(folder / shard["path"]) > 1 for shard in mine)
        facts[name] = {"rows": rows, "of": total, "truncated": rows < total, "sampled": sampled}
        if name != "suspects":
            facts[name]["wanted"] = _total(counted, f"wanted_{name}")
            facts[name]["available"] = _total(counted, f"available_{name}")
            facts[name] |= {why: counts[name] for why, counts in dropped.items()}
    return facts


def wrote_sample(select: Mapping[str, Any], written: Mapping[str, Any]) -> bool:
    """Whether rows of a class were drawn at random; for older runs, whether a cap was reached.

    Parameters
    ----------
    select : mapping
        The section of the job, as in the manifest.
    written : mapping
        The entry of the class in the section ``written`` of the manifest.
    """
    reached = written["truncated"] and 0 < select["max_triplets"] <= written["rows"]
    return bool(written.get("sampled", reached))


def hidden_text(hidden: Mapping[str, int]) -> str:
    """Return a text, to follow a statement, with the pairs that are hidden, by reason; or ''."""
    found = [f"{n:,} by {why}" for why, n in hidden.items() if n and why != "itself"]
    return f": (anchor, row) pairs are hidden, {', '.join(found)}" if found else ""


def corrections_text(corrections: Mapping[str, int]) -> str:
    """Return a text with what became of the rows of `dataset.corrections`."""
    names = {"positives": "linked", "negatives": "judged negative", "left_out": "of rows left out"}
    names["unknown"] = "of unknown ids"
    found = [f"{n:,} {names.get(why, why)}" for why, n in corrections.items() if n]
    return ", ".join(found) or "nothing"


def corrected_lines(corrections: Mapping[str, int] | None) -> Iterator[tuple[str, str]]:
    """Yield lines on what `dataset.corrections` changed, and on the rows that changed nothing."""
    if corrections is None:
        return
    made = {why: n for why, n in corrections.items() if why in CORRECTED}
    others = {why: n for why, n in corrections.items() if n and why not in CORRECTED}
    yield "corrected", corrections_text(made)
    if others:
        yield "", corrections_text(others)


def why_nothing(manifest: Mapping[str, Any]) -> str:
    """Return the reason why a run wrote no rows, for a message.

    Parameters
    ----------
    manifest : mapping
        The manifest, or its `job`, `dataset`, `census` and `written`.
    """
    select, census, written = manifest["job"]["select"], manifest["census"], manifest["written"]
    classes, found = sorted(set(select.get("classes", MINED_CLASSES))), found_counts(census)
    if not select["max_triplets"]:
        return "the job only counts, because select.max_triplets is 0"
    if not census["valid"]:
        return f"there is no valid triplet{hidden_text(manifest['dataset']['hidden'])}"
    if not any(found[name] for name in MINED_CLASSES):
        return "every triplet is easy at this margin"
    if not any(found[name] for name in classes):
        return f"no triplet is {' or '.join(name.replace('_', '-') for name in classes)}"
    if not any(written[name].get("available", 1) for name in classes):
        what = "candidate" if "candidates" in manifest else "triplet"
        return f"no {what} passes the filters of [select]"
    if any(written[name].get("rejected") for name in classes):
        return "the teacher rejected all triplets"
    return f"the strategy {select['strategy']} takes none of the triplets that pass the filters"


def _rows(manifest: Mapping[str, Any]) -> list[tuple[str, int, str, str]]:
    """Return the class, its triplets, their share, and the rows written, hardest first."""
    census, written = manifest["census"], manifest["written"]
    rows = []
    for name in reversed(CLASSES):
        share = f"{census[name] / census['valid']:.2%}" if census["valid"] else "-"
        out = f"{written[name]['rows']:,}" if name in written else ""
        rows.append((name.replace("_", "-"), int(census[name]), share, out))
    return rows


def short_lines(manifest: Mapping[str, Any], where: str) -> list[str]:
    """Return three lines about a run: where it is, the shares of the classes, what it wrote."""
    rows = _rows(manifest)
    written = ", ".join(f"{out} {name}" for name, _, _, out in rows if out)
    return [
        f"Run {where}",
        f"  {manifest['census']['valid']:,} valid triplets: "
        + ", ".join(f"{share} {name}" for name, _, share, _ in rows),
        f"  written: {written}; margin {manifest['job']['mining']['margin']}",
    ]


def shares_table(manifest: Mapping[str, Any], where: str) -> str:
    """Return an HTML table of the classes: triplets, share, rows written."""
    names = ("class", "triplets", "share", "written")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr><td>{name}</td><td>{count:,}</td><td>{share}</td><td>{out}</td></tr>"
        for name, count, share, out in _rows(manifest)
    )
    of = f"{html.escape(where)}, margin {manifest['job']['mining']['margin']}"
    caption = f"<caption>{manifest['census']['valid']:,} valid triplets of {of}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _total(counted: Counted, name: str) -> int:
    """Return the sum of a field, as a Python integer because int64 could overflow."""
    return sum(counted[name].tolist())
