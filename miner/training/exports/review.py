"""`mine export --format review`: suspects of a run as a table in which a person decides.

The rows are the anchors of ``label_noise.parquet``, and the pairs of an anchor and a negative in
``suspects/``. The edited table is a job's `dataset.corrections`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.datasets.relevance.cells import CUT, guarded
from miner.datasets.relevance.corrections import WORDS
from miner.embedding.store import Store, open_store
from miner.errors import DamageError, UsageError
from miner.formatting import counted
from miner.runs.opening import as_run
from miner.runs.run import Run
from miner.runs.shards import file_facts, parquet_errors
from miner.runs.tables import LABEL_NOISE, has_table, read_table
from miner.storage.files import atomic_open
from miner.storage.records import check_files
from miner.training.exports.argilla import write_labels, write_pairs
from miner.training.exports.writing import REVIEW, export_folder, whole_folder
from miner.triplets.relevance.labels import row_labels

__all__ = ["describe_review", "export_review"]

_LONGEST = 2000
"""The most characters of a text in a cell."""

Row = dict[str, Any]


def export_review(
    run: Run | str | Path, *, negatives: int = 3, out: str | Path | None = None
) -> dict[str, Any]:
    """Write the suspects of a run for a person: a CSV file, and folders that Argilla reads.

    Parameters
    ----------
    run : Run, or path of a run
    negatives : int
        The number of nearest suspects of each anchor to take.
    out : str or Path, optional
        The folder to write, which must not exist. Default: ``exports/RUN_ID-review`` next to
        ``runs``.

    Returns
    -------
    dict
        Among others ``path``, ``rows``, ``columns``, ``labels`` and ``pairs`` (the numbers of
        both), ``decisions`` (the words for pairs), ``files``, and ``left_out``.

    Raises
    ------
    UsageError
        If the run has no suspects, or the folder exists.
    StorageError
        If a file of the run is damaged, or the table cannot be written.
    """
    run = as_run(run)
    if negatives < 1:
        raise UsageError(f"--negatives {negatives} must be 1 or more")
    folder = export_folder(run, "review", out, force=False)
    left_out: Counter[str] = Counter()
    labelled = run.manifest["dataset"]["kind"] == "labelled"
    with run.held():
        stored = _Stored(run)
        labels, texts = _labels(run, stored)
        pairs, pair_texts = _pairs(run, stored, negatives, left_out)
        if not labels and not pairs:
            raise UsageError(_nothing(run))
        with whole_folder(folder) as temporary:
            with atomic_open(temporary / REVIEW) as file:
                file.write(_csv(labels + pairs).encode("utf-8-sig"))
            made = [temporary / REVIEW]
            if labels:
                names = [] if stored.names is None else stored.names.to_pylist()
                cells = [*map(guarded, names)] or _cells(labels)
                made += write_labels(temporary / "argilla-labels", run.run_id, labels, cells)
            if pairs:
                words = WORDS[1:] if labelled else WORDS
                made += write_pairs(temporary / "argilla-pairs", run.run_id, pairs, words)
            counts = [len(labels) + len(pairs)] * len(made)
            files = [file_facts(path, temporary, n) for path, n in zip(made, counts, strict=True)]
    return {
        "format": "review",
        "run_id": run.run_id,
        "path": str(folder),
        "content": "text" if texts or pair_texts else "ids",
        "columns": list((labels + pairs)[0]),
        "rows": len(labels) + len(pairs),
        "decisions": [*WORDS[1:]] if labelled else [*WORDS],
        "labels": len(labels),
        "pairs": len(pairs),
        "files": files,
        "left_out": {"farther_suspects": left_out["farther_suspects"]},
    }


def describe_review(facts: dict[str, Any]) -> str:
    """Return a text that says what a review has, and how its decisions are applied.

    Parameters
    ----------
    facts : dict
        The result of `export_review`.
    """
    path = Path(facts["path"])
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    left = counted(facts["left_out"]["farther_suspects"], "farther pair")
    shown = "texts" if facts["content"] == "text" else "ids: the run has no texts"
    return f"""review of run {facts["run_id"]}
  labels    {facts["labels"]:,}, perhaps wrong
  pairs     {facts["pairs"]:,}, perhaps false negatives; {left} left out
  content   {shown}
  written   {here}
  decide    in the column decision of {REVIEW}, or in Argilla (argilla-*):
            for labels  the right label, or drop
            for pairs   {" or ".join(facts["decisions"])}
  apply     --set dataset.corrections={here / REVIEW}"""


def _row(kind: str, identity: Any, text: str, **more: Any) -> Row:
    """Return a row of the table; all rows have the same columns."""
    empty = dict.fromkeys(("other_id", "other_text", "label", "other_label"), "")
    empty |= {"suggested": "", "decision": ""}
    named = ("share", "distance", "positive_distance", "triplets", "teacher")
    evidence = dict.fromkeys(named, "")
    return {"kind": kind, "id": guarded(identity), "text": _cell(text), **empty, **evidence, **more}


def _cells(labels: list[Row]) -> list[str]:
    """Return the labels that the rows name."""
    return sorted({row[name] for row in labels for name in ("label", "suggested")})


def _cell(text: str) -> str:
    text = guarded(text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + CUT


def _csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class _Stored:
    """What the store of a run says of its rows; nothing if it does not exist or is damaged."""

    def __init__(self, run: Run) -> None:
        self._store: Store | None = None
        try:
            store = open_store(run.root / ".store" / str(run.manifest["store"]))
            if store is not None:
                files = store.facts.get("files", {}).items()
                check_files(store.folder, {n: s for n, s in files if not n.startswith("vectors")})
            self._store = store
        except DamageError:
            pass
        self.names = None if self._store is None else self._store.label_names()

    def texts(self, ids: Any) -> list[str] | None:
        """Return the texts of anchors; None if they are not stored."""
        texts = None if self._store is None else self._store.texts(0)
        if self._store is None or texts is None:
            return None
        found: list[str] = texts.take(self._store.ids(0).rows_of(ids)).to_pylist()
        return found

    def labels(self, ids: Any) -> list[str]:
        """Return the labels of rows as cells; '' unless rows have one label each."""
        if self._store is None or self.names is None:
            return [""] * len(ids)
        known = row_labels(self._store.relevance())
        assert known is not None  # else the labels have no names
        codes = known.rows[self._store.ids(self._store.row_side).rows_of(ids)]
        return list(map(guarded, self.names.take(pa.array(codes)).to_pylist()))


def _labels(run: Run, stored: _Stored) -> tuple[list[Row], bool]:
    """Return the rows on labels, the most suspicious first, and whether they have texts."""
    if not has_table(run, LABEL_NOISE):
        return [], False
    table = read_table(run, LABEL_NOISE)
    texts = stored.texts(table["anchor_id"].combine_chunks())
    rows = [
        _row(
            "label",
            one["anchor_id"],
            text,
            label=guarded(one["label"]),
            suggested=guarded(one["neighbour_label"]),
            share=round(one["share"], 4),
        )
        for one, text in zip(table.to_pylist(), texts or [""] * len(table), strict=True)
    ]
    return rows, texts is not None


def _pairs(
    run: Run, stored: _Stored, nearest: int, left_out: Counter[str]
) -> tuple[list[Row], bool]:
    """Return the rows on pairs, the nearest first, and whether they have texts."""
    if "suspects" not in run.manifest["written"]:
        return [], False
    has_texts = "anchor" in run.schema().names
    table = _grouped([_read(path, texts=has_texts) for path in run.part_paths("suspects")])
    if not len(table):
        return [], has_texts
    kept = _nearest(table, nearest)
    left_out["farther_suspects"] += len(table) - len(kept)
    table = table.take(pa.array(kept))
    if run.manifest["dataset"]["kind"] == "labelled":
        table = _in_both_directions(table)
    table = table.take(pc.sort_indices(table, [("d_an", "ascending")]))
    columns = [table[name].combine_chunks() for name in ("anchor_id", "negative_id")]
    labels = zip(*map(stored.labels, columns), strict=True)
    rows = [
        _row(
            "pair",
            one["anchor_id"],
            one.get("anchor", ""),
            other_id=guarded(one["negative_id"]),
            other_text=_cell(one.get("negative", "")),
            label=label,
            other_label=other,
            distance=round(one["d_an"], 4),
            positive_distance=round(one["d_ap"], 4),
            triplets=one["triplets"],
            teacher=round(one["teacher_an"], 4) if "teacher_an" in one else "",
        )
        for one, (label, other) in zip(table.to_pylist(), labels, strict=True)
    ]
    return rows, has_texts


def _read(path: str, *, texts: bool) -> Any:
    """Return the pairs of a shard: the nearest positive, and the number of triplets, of each."""
    columns = ["anchor_id", "negative_id", "d_an", "d_ap"]
    columns += ["anchor", "negative"] if texts else []
    with parquet_errors(Path(path)):
        scored = "teacher_an" in pq.read_schema(path).names
        table = pq.read_table(path, columns=columns + ["teacher_an"] * scored)
    return _grouped([table.append_column("triplets", pa.array(np.ones(len(table), np.int64)))])


def _grouped(tables: list[Any]) -> Any:
    """Return the rows of tables with each pair once, in the order of appearance."""
    table = pa.concat_tables(tables)
    kinds = {"d_an": "min", "d_ap": "min", "triplets": "sum"}
    kinds |= dict.fromkeys(("anchor", "negative", "teacher_an"), "first")
    kinds = {name: kind for name, kind in kinds.items() if name in table.column_names}
    grouped = table.group_by(["anchor_id", "negative_id"], use_threads=False)
    found = grouped.aggregate(list(kinds.items()))
    made = {f"{name}_{kind}": name for name, kind in kinds.items()}
    return found.rename_columns([made.get(name, name) for name in found.column_names])


def _nearest(table: Any, count: int) -> NDArray[np.int64]:
    """Return the rows of the nearest negatives of each anchor, ascending."""
    anchors = table["anchor_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((table["d_an"].to_numpy(), anchors))
    starts = np.searchsorted(anchors[order], anchors[order])
    return np.sort(order[np.arange(len(order)) - starts < count])


def _in_both_directions(table: Any) -> Any:
    """Return pairs of items with (a, b) and (b, a) as one row, the first of them."""
    ids = pa.concat_arrays([table[n].combine_chunks() for n in ("anchor_id", "negative_id")])
    codes = ids.dictionary_encode().indices.to_numpy().astype(np.int64).reshape(2, -1)
    keys = codes.min(axis=0) * (codes.max() + 1) + codes.max(axis=0)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    near = np.full(len(first), np.inf)
    np.minimum.at(near, inverse, table["d_ap"].to_numpy())
    sums = np.bincount(inverse, table["triplets"].to_numpy()).astype(np.int64)
    found = table.take(pa.array(first))
    for name, values in (("d_ap", near), ("triplets", sums)):
        found = found.set_column(found.column_names.index(name), name, pa.array(values))
    return found


def _nothing(run: Run) -> str:
    """Return the message for a run without suspects."""
    job = run.manifest["job"]
    written = job["select"].get("suspects") or job.get("teacher", {}).get("rejected") == "suspects"
    remedy = (
        ""
        if written
        else ("; set select.suspects = true and a guard such as select.relative_margin = 0.05")
    )
    labels = (
        ""
        if has_table(run, LABEL_NOISE)
        else (f", and no {LABEL_NOISE}, which labelled items have with mining.neighbours above 0")
    )
    return f"{run.where} has no suspects to review{labels}{remedy}"
