"""The tables of statistics: hubs, confusions and label noise; writing, reading, and as text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.formatting import counted, cut_line
from miner.runs.run import Run
from miner.runs.shards import Column, Sides, parquet_errors, parquet_writer
from miner.storage.files import atomic_open
from miner.triplets.types import Rows

__all__ = [
    "CONFUSION",
    "HUBS",
    "LABEL_NOISE",
    "describe_tables",
    "has_table",
    "label_ranks",
    "read_census",
    "read_table",
    "write_confusion",
    "write_hubs",
    "write_label_noise",
]

HUBS, CONFUSION, LABEL_NOISE = "hubs.parquet", "confusion.parquet", "label_noise.parquet"
PROMOTED = "promoted.parquet"


def write_hubs(path: Path, ids: Column, labels: Any, rows: Rows, counts: Rows) -> None:
    """Write ``hubs.parquet``.

    Parameters
    ----------
    path : Path
    ids : Column
    labels : pyarrow.Array or None
        The label of each row in `rows`.
    rows : ndarray of shape (h,), int64
    counts : ndarray of shape (3, h), int64
        Per row, the hard triplets, the semi-hard triplets and the anchors it is a negative of.
    """
    columns = {"row_id": ids.take(rows)}
    if labels is not None:
        columns["label"] = labels
    _write(path, columns | dict(zip(("hard", "semi_hard", "anchors"), counts, strict=True)))


def write_confusion(path: Path, names: Any, pairs: Rows) -> None:
    """Write ``confusion.parquet``.

    `pairs` has shape (4, n): code of the anchors' label, code of the negatives' label, number of
    hard triplets, number of semi-hard triplets. `names` maps codes to labels.
    """
    columns = {"anchor_label": names.take(pa.array(pairs[0]))}
    columns |= {"negative_label": names.take(pa.array(pairs[1]))}
    _write(path, columns | {"hard": pairs[2], "semi_hard": pairs[3]})


def write_label_noise(
    path: Path,
    ids: Column,
    anchors: Rows,
    labels: tuple[Any, Any],
    shares: Mapping[str, NDArray[np.float64]],
) -> None:
    """Write ``label_noise.parquet``; `labels`: of the anchors, and the majority of the nearest."""
    columns = {"anchor_id": ids.take(anchors), "label": labels[0], "neighbour_label": labels[1]}
    _write(path, columns | dict(shares))


def write_promoted(path: Path, sides: Sides, records: NDArray[np.void]) -> None:
    """Write ``promoted.parquet``: the (anchor, negative) pairs that a teacher takes for positives.

    Parameters
    ----------
    path : Path
    sides : Sides
    records : ndarray of `miner.pipeline.units.records.SCORED`
        One triplet of each pair; the pair's row is its negative.
    """
    anchors, rows = (records[role].astype(np.int64) for role in ("anchor", "negative"))
    columns: dict[str, Any] = {}
    if sides.anchor_texts is not None and sides.row_texts is not None:
        columns |= {"anchor": sides.anchor_texts.take(anchors)}
        columns |= {"positive": sides.row_texts.take(rows)}
    columns |= {"anchor_id": sides.anchor_ids.take(anchors)}
    columns |= {"positive_id": sides.row_ids.take(rows)}
    _write(path, columns | {"distance": records["d_an"], "teacher": records["teacher_an"]})


def label_ranks(names: Any) -> Rows:
    """Return the rank of each label when the labels are sorted in ascending order."""
    try:
        order = pc.array_sort_indices(names).to_numpy()
    except pa.ArrowNotImplementedError:  # a type without an order keeps the order of the data
        order = np.arange(len(names))
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    return ranks


def _write(path: Path, columns: Mapping[str, Any]) -> None:
    arrays = {
        name: pa.array(np.ascontiguousarray(values)) if isinstance(values, np.ndarray) else values
        for name, values in columns.items()
    }
    table = pa.table(arrays)
    with atomic_open(path) as sink:
        with parquet_writer(sink, table.schema, []) as writer:
            writer.write_table(table, row_group_size=1 << 17)


def has_table(run: Run, name: str) -> bool:
    """Whether the manifest of a run names this table."""
    return any(file["path"] == name for file in run.manifest["files"])


def read_table(run: Run, name: str, rows: int | None = None) -> Any:
    """Return a table of a run as a ``pyarrow.Table``; with `rows`, only the first rows."""
    path = run.file(name)
    with parquet_errors(path):
        table = pq.read_table(path)
    return table if rows is None else table.slice(0, rows)


def describe_tables(run: Run, count: int = 3) -> list[str]:
    """Return the first rows of the tables of statistics, and the gap histogram, as text.

    Parameters
    ----------
    run : Run
    count : int
        Number of rows per table.

    Returns
    -------
    list of str
        Lines of text.
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
    if gaps.get("sampled"):
        lines.append(f"  {'gaps':<10} {_gaps(gaps)}")
    return lines


def _gaps(gaps: dict[str, Any]) -> str:
    """Return a text with the shares of triplets whose gap d(a,n) - d(a,p) is below some values."""
    below = list(itertools.accumulate([gaps["below"], *gaps["counts"]]))
    zero, last = gaps["edges"].index(0.0), len(below) - 1
    some = dict.fromkeys((zero, (zero + last) // 2, last))
    parts = [f"{below[at] / gaps['sampled']:.1%} below {gaps['edges'][at]:.3g}" for at in some]
    return f"d(a,n) - d(a,p): {', '.join(parts)}"


def _confused(row: dict[str, Any]) -> str:
    return (
        f"{row['anchor_label']} -> {row['negative_label']}: {counted(row['hard'], 'hard triplet')}"
    )


def _hub(row: dict[str, Any]) -> str:
    label = f" ({row['label']})" if "label" in row else ""
    anchors = counted(row["anchors"], "anchor")
    return f"{row['row_id']}{label}: negative of {row['hard']:,} hard, {anchors}"


def _suspect(row: dict[str, Any]) -> str:
    around = f"{row['share']:.0%} of the nearest are {row['neighbour_label']}"
    return f"{row['anchor_id']} ({row['label']}): {around}"


def read_census(run: Run) -> dict[str, NDArray[np.int64]]:
    """Return the columns of a run's census as NumPy arrays, without the ids."""
    table = run.census()
    return {name: table[name].to_numpy() for name in table.column_names if name != "anchor_id"}
