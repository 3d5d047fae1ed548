"""The pass over a table before embedding: reads and checks ids, labels, groups and content.

Content is not kept in memory: texts for the triplets are written to disk, of all content the
digests are kept, and the embedding pass reads the table again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.column_store import write_spool
from miner.datasets.content import (
    Content,
    content_digests,
    folded,
    is_list,
    is_string,
    refuse_faults,
)
from miner.datasets.ids import id_values
from miner.datasets.roles import TableRoles, nothing_left
from miner.errors import DataError
from miner.triplets.types import Rows

__all__ = ["Items", "scan", "typed"]

_MOST_NAME = 1 << 16
"""Most bytes of an id, a label or a group."""
_MOST_JOINED = (1 << 31) - 1
"""Most bytes of a column of text: Arrow's offsets have 32 bits."""


@dataclass(frozen=True, slots=True)
class Items:
    """The result of a scan. `rows` to `digests` have one entry for each row that is used.

    Attributes
    ----------
    rows : ndarray of int64
        Row numbers in the table, ascending.
    ids : pyarrow.Array
        Unique strings or integers.
    labels : pyarrow.Array or None
        As in the table, texts dictionary-encoded; null for rows without one.
    columns : dict of str to pyarrow.Array
        The columns of constraints, likewise.
    anchors : ndarray of bool or None
        Whether each row is an anchor; None if all are.
    digests : ndarray of shape (rows,), dtype V16, or None
        Content digests; None for vectors, which are not compared by content.
    folded : ndarray of shape (rows,), dtype V16, or None
        Digests of the texts without differences of case, spaces and Unicode form.
    width : int or None
        Numbers per row of content; None for texts and image files.
    dropped : pyarrow.Array
        The ids of the rows that were left out.
    filtered, unreadable : int
        Numbers of rows left out by the filter, and because their content cannot be embedded.
    """

    where: str
    rows: Rows
    ids: Any
    labels: Any
    columns: dict[str, Any]
    anchors: NDArray[np.bool_] | None
    digests: NDArray[np.void] | None
    folded: NDArray[np.void] | None
    width: int | None
    dropped: Any
    filtered: int
    unreadable: int

    def __len__(self) -> int:
        return len(self.ids)


def scan(side: TableRoles, texts: Path | None) -> Items:
    """Read a table once, check it, and write its texts to disk.

    Parameters
    ----------
    side : TableRoles
    texts : Path or None
        The file for the texts; None to drop them.

    Raises
    ------
    DataError
        If the table is empty, an id is missing or repeated, or a row has no usable content.
    """
    scanner = _Scanner(side)
    if texts is not None and side.kind == "text":
        write_spool(texts, pa.large_string(), scanner.texts())
    else:
        for _ in scanner.texts():
            pass
    return scanner.items()


class _Scanner:
    def __init__(self, side: TableRoles) -> None:
        self.side = side
        self.content = Content(side.kind, side.folder)
        self.parts: dict[str, list[Any]] = {}
        self.rows: list[Rows] = []
        self.anchors: list[NDArray[np.bool_]] = []
        self.digests: list[NDArray[np.void]] = []
        self.folded: list[NDArray[np.void]] = []
        self.dropped: list[Any] = []
        self.count = self.filtered = self.unreadable = 0

    def texts(self) -> Iterator[Any]:
        """Read the whole table; yield the content column of each batch."""
        for rows, batch in self.side.batches(self.side.columns):
            self.count += len(batch)
            if self.side.where is not None:
                keep = self.side.where.mask(batch)
                self.filtered += int((~keep).sum())
                rows, batch = self._take(rows, batch, keep)
            if len(rows):
                column = self._kept(rows, batch)
                yield column.cast(pa.large_string()) if self.side.kind == "text" else column

    def _take(
        self, rows: Rows, batch: pa.RecordBatch, keep: NDArray[np.bool_]
    ) -> tuple[Rows, pa.RecordBatch]:
        if keep.all():
            return rows, batch
        if self.side.id:
            self.dropped.append(batch.column(self.side.id).filter(pa.array(~keep)))
        else:
            self.dropped.append(pa.array(rows[~keep]))
        return rows[keep], batch.filter(pa.array(keep))

    def _kept(self, rows: Rows, batch: pa.RecordBatch) -> Any:
        """Record the rows of a batch whose content can be embedded; return their content."""
        side = self.side
        values, faults = self.content.examine(batch.column(side.content), thorough=side.skip)
        if not side.skip:
            refuse_faults(faults, side.namer(batch, rows))
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[list(faults)] = False
        if side.skip and side.kind == "vectors":  # a zero vector has no direction
            keep[np.flatnonzero(keep)[~np.asarray(values).any(axis=1)]] = False
        self.unreadable += int((~keep).sum())
        rows, batch = self._take(rows, batch, keep)
        if side.kind != "vectors":
            self.digests.append(content_digests(values))
        if side.kind == "text":
            self.folded.append(content_digests(list(map(folded, cast(Sequence[str], values)))))
        self.rows.append(rows)
        named = {name for name in (side.id, side.label) if name is not None}
        for name in named | side.constraints.columns.keys():
            column = batch.column(name)
            _refuse_long(column, f"{side.table.where}, column {name!r}", rows)
            if name != side.id and is_string(column.type):  # an empty text is no value
                column = pc.if_else(pc.equal(column, ""), None, column)
            coded = name != side.id and is_string(column.type) and not side.table.untyped
            self.parts.setdefault(name, []).append(column.dictionary_encode() if coded else column)
        if side.anchors is not None:
            self.anchors.append(side.anchors.mask(batch))
        return batch.column(side.content)

    def items(self) -> Items:
        if not sum(map(len, self.rows)):
            raise DataError(nothing_left(self.side, self.count))
        side, untyped = self.side, self.side.table.untyped
        columns = {
            name: _joined(parts, untyped, f"{side.table.where}, column {name!r}")
            for name, parts in self.parts.items()
        }
        rows = np.concatenate(self.rows)
        where = f"{side.table.where}, column {side.id!r}"
        ids = pa.array(rows) if side.id is None else id_values(columns[side.id], where)
        _check_ids(ids, rows, self.side)
        return Items(
            where=self.side.table.where,
            rows=rows,
            ids=ids,
            labels=None if side.label is None else columns[side.label],
            columns={name: columns[name] for name in side.constraints.columns},
            anchors=np.concatenate(self.anchors) if self.anchors else None,
            digests=np.concatenate(self.digests) if self.digests else None,
            folded=np.concatenate(self.folded) if self.folded else None,
            width=self.content.width,
            dropped=(
                id_values(pa.concat_arrays(self.dropped), where)
                if self.dropped
                else ids.slice(0, 0)
            ),
            filtered=self.filtered,
            unreadable=self.unreadable,
        )


def _refuse_long(column: Any, where: str, rows: Rows) -> None:
    """Raise a `DataError` if a text is too long for the name of a row, a class or a group."""
    lengths = np.ones(len(column), np.int64)
    if is_list(column.type):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        column = column.flatten()
    if not is_string(column.type) or pc.max(pc.binary_length(column)).as_py() in (None, 0):
        return
    place = int(np.argmax(pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)))
    size = len(column[place].as_py().encode())
    if size > _MOST_NAME:
        row = rows[int(np.searchsorted(np.cumsum(lengths), place, side="right"))]
        raise DataError(
            f"{where}, row {row} holds a text of {size:,} bytes, which is no name: write a name of "
            f"at most {_MOST_NAME:,} bytes"
        )


def _joined(parts: list[Any], untyped: bool, where: str) -> Any:
    if sum(part.nbytes for part in parts) > _MOST_JOINED:
        raise DataError(
            f"{where}: its values take more than 2 GiB together; write shorter ones, or whole "
            "numbers"
        )
    column = pa.concat_arrays(parts)
    return typed(column) if untyped and is_string(column.type) else column


def typed(column: Any) -> Any:
    """Infer the type of a text column: int64 if all are integers; empty texts become nulls.

    Integers with leading zeros stay text.
    """
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if pc.all(pc.match_substring_regex(column, r"^(0|-?[1-9]\d{0,17})$")).as_py():
        return column.cast(pa.int64())
    return column


def _check_ids(ids: Any, rows: Rows, side: TableRoles) -> None:
    where = f"{side.table.where}, column {side.id!r}"
    if ids.null_count:
        row = rows[int(pc.index(ids.is_null(), True).as_py())]
        raise DataError(f"{where}, row {row} has no id; fill it in, or name another column")
    order = pc.array_sort_indices(ids)
    ordered = ids.take(order)
    same = pc.equal(ordered.slice(1), ordered.slice(0, len(ordered) - 1))
    if pc.any(same).as_py():
        first = int(pc.index(same, True).as_py())
        twins = sorted(rows[order.slice(first, 2).to_numpy()].tolist())
        raise DataError(
            f"{where}: id {ordered[first].as_py()!r} occurs twice, in rows {twins[0]} and "
            f"{twins[1]}; ids must be unique"
        )
