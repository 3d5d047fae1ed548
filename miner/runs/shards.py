"""Parquet files of triplets: the schema, writing shards, reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.errors import StorageError
from miner.storage.files import atomic_open, sha256_file, storage_errors
from miner.triplets.hardness import difficulty

__all__ = [
    "FORMAT_VERSION",
    "PART_ROWS",
    "SCORES",
    "Column",
    "Sides",
    "Sources",
    "file_facts",
    "most_weight",
    "parquet_errors",
    "parquet_writer",
    "read_shard",
    "shard_facts",
    "triplet_schema",
    "triplet_table",
    "write_census",
    "write_part",
]

FORMAT_VERSION = 2
PART_ROWS = 1 << 20
"""Rows per shard; only the last shard of a class may have fewer."""
_GROUP_ROWS = 1 << 15
"""Rows per row group, the smallest unit of reading; small, so that many trainers can share a
shard."""
_SLICE_ROWS = 1 << 14
_FLOATS = ("d_ap", "d_an", "weight")
SCORES = ("teacher_ap", "teacher_an")
"""The columns with a teacher's scores of (anchor, positive) and of (anchor, negative)."""
_ROLES = ("anchor", "positive", "negative")
_SOURCE, _NAMES = "source", pa.list_(pa.string())
"""The column of who proposed a negative, and its type."""

Records = NDArray[np.void]


class Column(Protocol):
    """A column of the data set with random access by row."""

    @property
    def type(self) -> Any:
        """The Arrow type of the values."""

    def take(self, rows: NDArray[np.int64]) -> Any:
        """Return the values of `rows` as an Arrow array."""

    def slices(self, rows: NDArray[np.int64], size: int) -> Iterator[Any]:
        """Yield the values of `rows` as Arrow arrays of at most `size`."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Who proposed a negative.

    Attributes
    ----------
    names : tuple of str
    masks : callable
        Returns, for arrays of anchors and of their negatives, in which bit i says whether source i
        proposed the negative.
    """

    names: tuple[str, ...]
    masks: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.uint64]]


@dataclass(frozen=True, slots=True)
class Sides:
    """The columns of ids and texts of anchors and of rows, and the sources of negatives.

    Texts and sources are None if they are not written.
    """

    anchor_ids: Column
    row_ids: Column
    anchor_texts: Column | None = None
    row_texts: Column | None = None
    sources: Sources | None = None


def triplet_schema(sides: Sides, metadata: Mapping[str, str], *, scored: bool = False) -> Any:
    """Return the Arrow schema of a triplet shard.

    Parameters
    ----------
    sides : Sides
    metadata : mapping of str
        Metric, margin and so on; the same for two runs of one job.
    scored : bool
        Whether the triplets have the scores of a teacher.
    """
    columns = []
    if sides.anchor_texts is not None:
        columns += [(role, pa.string()) for role in _ROLES]
    columns += [
        ("anchor_id", sides.anchor_ids.type),
        ("positive_id", sides.row_ids.type),
        ("negative_id", sides.row_ids.type),
    ]
    columns += [(name, pa.float32()) for name in (*_FLOATS, *(SCORES if scored else ()))]
    columns += [(_SOURCE, _NAMES)] if sides.sources is not None else []
    return pa.schema(columns, metadata=dict(metadata))


def write_part(path: Path, schema: Any, sides: Sides, groups: Iterator[Records]) -> int:
    """Write one shard.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
    sides : Sides
    groups : iterator of ndarray
        Records of `miner.pipeline.units.records.TRIPLET`, one array per row group.

    Returns
    -------
    int
        Rows written. Memory is bounded by a row group.
    """
    rows = 0
    texts = [name for name in schema.names if name in _ROLES or name.endswith("_id")]
    with atomic_open(path) as sink:
        with parquet_writer(sink, schema, texts) as writer:
            for records in groups:
                writer.write_table(_table(schema, sides, records), row_group_size=_GROUP_ROWS)
                rows += len(records)
    return rows


def parquet_writer(sink: Any, schema: Any, dictionaries: Sequence[str]) -> Any:
    """Return a Parquet writer with the settings that all files of a run use."""
    kept: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "version": "2.6"}
    return pq.ParquetWriter(
        sink, schema, use_dictionary=list(dictionaries), write_page_checksum=True, **kept
    )


def triplet_table(records: Records, folders: Mapping[str, int], ids: NDArray[np.int64]) -> pa.Table:
    """Return triplets as one Arrow table with the columns of shards, and ``difficulty``.

    Parameters
    ----------
    records : ndarray of `miner.pipeline.units.records.TRIPLET`
        The triplets of all folders, one folder after another.
    folders : mapping
        The number of triplets in each folder.
    ids : ndarray of shape (rows,), int64
        The id of each row.

    Returns
    -------
    pyarrow.Table
    """
    names = np.repeat([difficulty(folder) for folder in folders], list(folders.values()))
    columns = {f"{role}_id": pa.array(ids[records[role]]) for role in _ROLES}
    columns |= {name: pa.array(np.ascontiguousarray(records[name])) for name in _FLOATS}
    return pa.table({**columns, "difficulty": pa.array(names, pa.string())})


def group_slices(rows: int) -> Iterator[tuple[int, int]]:
    """Cut a shard's rows into row groups."""
    for start in range(0, rows, _GROUP_ROWS):
        yield start, min(start + _GROUP_ROWS, rows)


def _table(schema: Any, sides: Sides, records: Records) -> Any:
    """Return the Arrow table of records; strings are chunked because of Arrow's 2 GiB limit."""
    columns = []
    for field in schema:
        if field.name in (*_FLOATS, *SCORES):
            columns.append(pa.array(np.ascontiguousarray(records[field.name])))
        elif field.name == _SOURCE:
            columns.append(_sources_of(sides.sources, records))
        else:
            parts = _taken(sides, field.name, records)
            columns.append(pa.chunked_array([part.cast(field.type) for part in parts], field.type))
    return pa.table(columns, schema=schema)


def _sources_of(sources: Sources | None, records: Records) -> Any:
    """Return the names of the sources of each record."""
    assert sources is not None  # the schema has the column only where there are sources
    pairs = (records[role].astype(np.int64) for role in ("anchor", "negative"))
    masks, inverse = np.unique(sources.masks(*pairs), return_inverse=True)
    lists = [
        [name for bit, name in enumerate(sources.names) if mask >> bit & 1]
        for mask in masks.tolist()
    ]
    return pa.array(lists, _NAMES).take(pa.array(inverse))


def _taken(sides: Sides, name: str, records: Records) -> Iterator[Any]:
    role = name.removesuffix("_id")
    if name == role:
        source = sides.anchor_texts if role == "anchor" else sides.row_texts
    else:
        source = sides.anchor_ids if role == "anchor" else sides.row_ids
    assert source is not None  # the schema has a text column only where there are texts
    return source.slices(records[role].astype(np.int64), _SLICE_ROWS)


def write_census(path: Path, ids: Column, counts: Mapping[str, NDArray[np.int64]]) -> None:
    """Write ``census.parquet``: one row per anchor, its id and its counts."""
    rows = len(next(iter(counts.values())))
    columns = {"anchor_id": ids.take(np.arange(rows))}
    columns |= {name: pa.array(values) for name, values in counts.items()}
    table = pa.table(columns)
    with atomic_open(path) as sink:
        with parquet_writer(sink, table.schema, ["anchor_id"]) as writer:
            writer.write_table(table, row_group_size=_GROUP_ROWS)


def file_facts(path: Path, root: Path, rows: int) -> dict[str, Any]:
    """Return the facts of a file for the manifest."""
    return {
        "path": path.relative_to(root).as_posix(),
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
    }


def most_weight(path: Path) -> float:
    """Return the largest weight in a shard, from its row group statistics; 0 if it is empty."""
    with parquet_errors(path):
        file = pq.read_metadata(path)
        column = file.schema.names.index("weight")
        groups = (file.row_group(group) for group in range(file.num_row_groups))
        return max((group.column(column).statistics.max for group in groups), default=0.0)


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn Arrow's errors of a broken file into a `StorageError` that names the file."""
    try:
        with storage_errors(path):
            yield
    except (pa.ArrowException, KeyError) as error:
        raise StorageError(f"{path} is not whole: {str(error).splitlines()[0]}") from error


def shard_facts(path: Path) -> dict[str, Any]:
    """Return a shard's rows, what is wrong with its columns, and its metadata."""
    with parquet_errors(path):
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        metadata = {  # in a damaged file it may be invalid UTF-8
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in (schema.metadata or {}).items()
        }
        return {"rows": file.metadata.num_rows, "wrong": _wrong(schema), "metadata": metadata}


def _wrong(schema: Any) -> list[str]:
    """Return the differences between a shard's schema and a schema of `triplet_schema`."""
    ids = [f"{role}_id" for role in _ROLES]
    bare = [*ids, *_FLOATS]
    names = [name for name in schema.names if name not in (*SCORES, _SOURCE)]
    more = schema.names[len(names) :]
    known: tuple[list[str], ...] = ([], [*SCORES], [_SOURCE], [*SCORES, _SOURCE])
    if names not in (bare, [*_ROLES, *bare]) or more not in known:
        return [f"its columns are {', '.join(schema.names)}, not {', '.join(bare)}"]
    wanted = {role: (pa.string(),) for role in _ROLES} | {_SOURCE: (_NAMES,)}
    wanted |= {name: (pa.float32(),) for name in (*_FLOATS, *SCORES)}
    return [
        f"column {field.name} is {field.type}"
        for field in schema
        if not (
            field.type in wanted[field.name]
            if field.name in wanted
            else pa.types.is_string(field.type) or pa.types.is_integer(field.type)
        )
    ]


def read_shard(path: Path) -> dict[str, NDArray[Any]]:
    """Return the ids and distances of a shard, and a teacher's scores, as NumPy arrays."""
    names = [f"{role}_id" for role in _ROLES] + ["d_ap", "d_an"]
    with parquet_errors(path):
        scored = [name for name in SCORES if name in pq.read_schema(path).names]
        table = pq.read_table(path, columns=[*names, *scored])
    return {name: table[name].to_numpy() for name in table.column_names}
