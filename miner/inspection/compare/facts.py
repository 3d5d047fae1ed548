"""Compare two finished runs: settings, shares, labels, anchors, triplets, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from miner.inspection.compare.anchors import Anchors, compare_anchors
from miner.inspection.compare.triplets import Moves, Sets, compare_sets, reclassify
from miner.inspection.compare.verdict import Verdict, judge
from miner.inspection.report.contents import cut_text, label_text
from miner.inspection.report.facts import run_store
from miner.runs.changes import changed_keys
from miner.runs.opening import as_run
from miner.runs.run import Run
from miner.runs.tables import CONFUSION, has_table, read_table
from miner.runs.totals import wrote_sample
from miner.triplets.hardness import CLASSES, MINED_CLASSES

__all__ = ["Comparison", "compare_facts", "compare_runs", "run_seconds"]

_PAIRS, _SETTING = 10, 28
_MOVED = 0.02
"""Least relative change of the hard triplets of two labels that is shown."""
_MOST_ROWS = 8_000_000
_SETTINGS = {
    "mine": ("identity", "mine"),
    "model": ("model", "id"),
    "weights": ("model", "weights"),
    "model.options": ("model", "options"),
    "index": ("index", "factory"),
}
"""Values of the manifest that are compared in addition to the keys of the job."""
_OWN_WORDS = {"mine", "dataset", "model"}
_NO_TRIPLETS = {"dataset.id", "dataset.on_error"}
"""Keys of the data set that do not change which triplets labelled items form."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two runs; by convention A is the earlier one.

    Attributes
    ----------
    same_data : bool
        Whether both runs read the same bytes.
    settings : list of (name, in A, in B)
        The settings that differ.
    shares : list of mapping
        For each class: counts and shares in A and in B, and the difference of the shares.
    confusions : list of mapping
        The pairs of labels whose share of all triplets changed most, and by 2 % or more.
    anchors : Anchors or None
        None if the runs have no anchor id in common, or took the ids from different columns of the
        same data.
    sets : Sets or None
        How many written triplets are in both runs, changed class, or are in one run only. None if
        a run wrote only a part of its triplets, or too many; `why_no_sets` says which.
    moves : list of Moves
        Samples of written triplets, classified by the vectors of the other run.
    """

    a: Run
    b: Run
    same_data: bool
    settings: list[tuple[str, str, str]]
    shares: list[dict[str, Any]]
    confusions: list[dict[str, Any]]
    anchors: Anchors | None
    sets: Sets | None
    why_no_sets: str
    moves: list[Moves]
    verdict: Verdict


def compare_runs(a: Run | str | Path, b: Run | str | Path) -> Comparison:
    """Compare two finished runs.

    Parameters
    ----------
    a, b : Run, or path of a run
        The reference run, and the run that is compared with it.

    Returns
    -------
    Comparison
        The argument of `compare_facts`, `describe_comparison` and `write_comparison`.
    """
    a, b = as_run(a), as_run(b)
    same, changes = _files(a) == _files(b), _changes(a, b)
    same_ids = not same or "dataset.id" not in {key for key, _, _ in changes}
    anchors = compare_anchors(a, b) if same_ids else None
    why = _why_no_sets(a, b) if same_ids else "their ids come from different columns"
    sets = None if why else compare_sets(a, b)
    stores = run_store(a), run_store(b)
    ways = ((a, b, stores[1], "AB"), (b, a, stores[0], "BA")) if same_ids else ()
    moves = [moved for way in ways for moved in reclassify(*way)]
    return Comparison(
        a, b, same, [*_settings(a.manifest, b.manifest), *changes], _shares(a, b),
        _confusions(a, b), anchors, sets, why, moves,
        judge(a, b, list(_other_triplets(a, b, same, changes)), anchors),
    )  # fmt: skip


def compare_facts(compared: Comparison) -> dict[str, Any]:
    """Return a comparison as values that JSON can represent.

    Parameters
    ----------
    compared : Comparison
        The result of `compare_runs`.
    """
    runs = compared.a, compared.b
    return {
        "a": _named(compared.a),
        "b": _named(compared.b),
        "same_data": compared.same_data,
        "verdict": asdict(compared.verdict),
        "settings": [{"name": name, "a": was, "b": now} for name, was, now in compared.settings],
        "shares": compared.shares,
        "nearest": [one.manifest["index"]["nearest"]["positive"] for one in runs],
        "recall": [one.manifest["index"].get("recall") for one in runs],
        "confusions": compared.confusions,
        "anchors": None if compared.anchors is None else asdict(compared.anchors),
        "triplets": None if compared.sets is None else asdict(compared.sets),
        "why_no_triplets": compared.why_no_sets,
        "reclassified": [asdict(one) for one in compared.moves],
        "seconds": [run_seconds(one) for one in runs],
        "peak_rss_bytes": [one.manifest.get("peak_rss_bytes") for one in runs],
    }


def _named(run: Run) -> dict[str, Any]:
    return {"run_id": run.run_id, "path": run.where, "valid": run.manifest["census"]["valid"]}


def run_seconds(run: Run) -> float:
    """Return the seconds that a run took, or 0.0 if they are unknown."""
    timings = run.manifest.get("timings")
    return float(sum(timings.values())) if isinstance(timings, dict) else 0.0


def _files(run: Run) -> list[str]:
    """Return the checksums of a run's data files."""
    return [file["sha256"] for file in run.manifest["dataset"].get("files") or []]


def _changes(a: Run, b: Run) -> list[tuple[str, str, str]]:
    """Return the job keys that differ and decide the result, with their values in A and B."""
    known = all(isinstance(run.manifest.get("identity"), Mapping) for run in (a, b))
    before, after = (
        run.manifest["identity"] if known else _older_identity(run.manifest) for run in (a, b)
    )
    return [change for change in changed_keys(before, after) if change[0] not in _OWN_WORDS]


def _older_identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a substitute for the identity, which older manifests do not have."""
    sections = {name: manifest["job"][name] for name in ("mining", "select")}
    return {"job": sections, "store": {"roles": manifest["dataset"].get("columns")}}


def _other_triplets(
    a: Run, b: Run, same: bool, changes: list[tuple[str, str, str]]
) -> Iterator[str]:
    """Yield the reasons why the valid triplets of two runs differ."""
    pairs = any(run.manifest["dataset"]["kind"] == "pairs" for run in (a, b))
    keys = [one for one in changes if one[0].startswith("dataset.")]
    keys = [one for one in keys if one[0] not in _NO_TRIPLETS or (pairs and one[0] == "dataset.id")]
    for key, was, now in keys:
        yield f"{key} differs, so the triplets differ: {was} in A, {now} in B."
    if not same:
        yield "The runs read different data, so their shares refer to different triplets."
    valid = [run.manifest["census"]["valid"] for run in (a, b)]
    if same and not keys and valid[0] != valid[1]:
        yield f"The runs have different triplets: {valid[0]:,} valid ones in A, {valid[1]:,} in B."


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, path in _SETTINGS.items():
        was, now = _at(a, path), _at(b, path)
        if was != now:
            yield name, cut_text(was, _SETTING), cut_text(now, _SETTING)


def _at(manifest: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        manifest = manifest.get(key) if isinstance(manifest, Mapping) else None
    return manifest


def _shares(a: Run, b: Run) -> list[dict[str, Any]]:
    rows = []
    for name in reversed(CLASSES):
        counts = [run.manifest["census"][name] for run in (a, b)]
        valid = [run.manifest["census"]["valid"] for run in (a, b)]
        shares = [count / of if of else 0.0 for count, of in zip(counts, valid, strict=True)]
        rows.append(
            {
                "class": name,
                "counts": counts,
                "shares": shares,
                "change": shares[1] - shares[0],
                "written": [run.manifest["written"].get(name, {}).get("rows") for run in (a, b)],
            }
        )
    return rows


def _confusions(a: Run, b: Run) -> list[dict[str, Any]]:
    """Return the pairs of labels whose share of all triplets changed most."""
    if not (has_table(a, CONFUSION) and has_table(b, CONFUSION)):
        return []
    tables: list[dict[tuple[str, str], int]] = []
    for run in (a, b):
        rows = read_table(run, CONFUSION).to_pylist()
        names = ("anchor_label", "negative_label")
        tables.append({(str(row[names[0]]), str(row[names[1]])): row["hard"] for row in rows})
    valid = [max(1, run.manifest["census"]["valid"]) for run in (a, b)]
    rows = []
    for pair in tables[0].keys() | tables[1].keys():
        counts = [table.get(pair, 0) for table in tables]
        change = counts[1] / valid[1] - counts[0] / valid[0]
        if abs(change) >= _MOVED * max(counts[0] / valid[0], counts[1] / valid[1]) > 0:
            rows.append((-abs(change), pair, counts, change))
    return [
        {
            "anchor": label_text(pair[0]),
            "negative": label_text(pair[1]),
            "hard": counts,
            "change": by,
        }
        for _, pair, counts, by in sorted(rows)[:_PAIRS]
    ]


def _why_no_sets(a: Run, b: Run) -> str:
    """Return why the written triplets cannot be compared one by one, or '' if they can."""
    for run in (a, b):
        select, written = run.manifest["job"]["select"], run.manifest["written"]
        if any(wrote_sample(select, written[name]) for name in MINED_CLASSES):
            return (
                "a run wrote a sample of its triplets, and two samples cannot be compared one by "
                "one"
            )
        if any(written[name]["rows"] != written[name]["of"] for name in MINED_CLASSES):
            return (
                "a run wrote only a part of its hard and semi-hard triplets, and the triplets that "
                "it left out may be hard or semi-hard too"
            )
    if any(
        sum(r.manifest["written"][n]["rows"] for n in MINED_CLASSES) > _MOST_ROWS for r in (a, b)
    ):
        return f"more than {_MOST_ROWS:,} triplets were written"
    return ""
