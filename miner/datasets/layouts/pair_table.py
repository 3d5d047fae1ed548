"""Tables of pairs: each row has an anchor and one of its positives, or lists of them.

An anchor may occur in many rows. The distinct anchors become the queries, the distinct positives
and negatives the corpus, and the rows the links: negatives have the score 0, positives the score of
the row. Contents are numbered as they occur, in each row the positives first, so in a table of one
positive a row by rows. The id of a query or document is the number of its first occurrence, or of
the first as a positive. Layout: https://sbert.net/docs/sentence_transformer/dataset_overview.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import ROWS, Table
from miner.datasets.content import is_list
from miner.datasets.formats.arrays import ArrayTable
from miner.datasets.layouts.pair_cells import content_type, holds_many, is_chat, occurrences
from miner.datasets.layouts.pair_columns import PairColumns, alike
from miner.datasets.layouts.verdicts import verdicts
from miner.datasets.where import Filter
from miner.errors import DataError
from miner.triplets.types import Rows

__all__ = ["Pairs", "open_pair_table"]

_LIST = r"""^\s*\[(\s*["'].*)?\]\s*$"""
_NO_LISTS = pa.list_(pa.null())


class DistinctTable:
    """The distinct contents of columns of a table as `text`, each with its number as `id`.

    A negative has no values in other columns, because these describe the pair of its row.
    """

    def __init__(self, inner: Table, column: str, negatives: Sequence[str], places: Rows) -> None:
        self.where = f"{inner.where}, {column} of pairs"
        self.files, self.untyped = inner.files, inner.untyped
        self.types = {**inner.types, "id": pa.int64(), "text": content_type(inner.types[column])}
        self._inner, self._columns, self._places = inner, (column, *negatives), places

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns."""
        own = [name for name in columns if name not in ("id", "text")]
        start = 0
        for batch in self._inner.batches(list(dict.fromkeys([*self._columns, *own]))):
            found = occurrences(batch, self._columns[0], self._columns[1:])
            end = start + len(found.rows)
            places = self._places[slice(*np.searchsorted(self._places, (start, end)))]
            for cut in range(0, len(places), ROWS):
                chosen = places[cut : cut + ROWS]
                at = chosen - start
                rows = pa.array(found.rows[at], mask=found.negative[at])
                made = {"id": pa.array(chosen), "text": found.values.take(pa.array(at))}
                arrays = [
                    made[name] if name in made else batch.column(name).take(rows)
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            start = end


@dataclass(frozen=True, slots=True)
class Pairs:
    """The tables made of a table of pairs, and the numbers of rows left out, by reason."""

    queries: DistinctTable
    corpus: DistinctTable
    links: ArrayTable
    left_out: dict[str, int]


def open_pair_table(
    table: Table, columns: PairColumns, where: Filter | None, *, skip: bool
) -> Pairs:
    """Convert a table of pairs to queries, corpus and links.

    Parameters
    ----------
    table : Table
    columns : PairColumns
    where : Filter or None
        Selects the rows that are used; None for all.
    skip : bool
        Whether rows without a verdict are left out instead of raising an error.

    Raises
    ------
    DataError
        If no row is left, a column cannot be content, or a verdict cannot be read.
    """
    _check_types(table, columns)
    scan = _PairScan(table, columns, skip=skip)
    names = [*columns.names, *(where.columns if where else ())]
    for batch in table.batches(list(dict.fromkeys(names))):
        scan.add(batch, where.mask(batch) if where else np.ones(len(batch), dtype=np.bool_))
    return scan.pairs()


class _PairScan:
    """What is kept of a table of pairs: for each row and each content, its number and digest."""

    def __init__(self, table: Table, columns: PairColumns, *, skip: bool) -> None:
        self.table, self.columns, self.skip = table, columns, skip
        self.rows: list[Rows] = []
        self.anchors: list[bytes] = []
        self.places: list[Rows] = []
        self.digests: list[bytes] = []
        self.pair_rows: list[Rows] = []
        self.scores: list[NDArray[np.float64]] = []
        self.negative: list[NDArray[np.bool_]] = []
        self.start = self.place = self.unjudged = self.filtered = 0

    def add(self, batch: pa.RecordBatch, chosen: NDArray[np.bool_]) -> None:
        """Add the chosen rows of a batch."""
        columns, table = self.columns, self.table
        self.filtered += int((~chosen).sum())
        scores = np.ones(len(batch))
        if columns.score:
            scores = self._scores(batch.column(columns.score), chosen)
            chosen = chosen & ~np.isnan(scores)
        anchors = occurrences(batch.select([columns.anchor]), columns.anchor, ()).values
        found = occurrences(batch, columns.positive, columns.negatives)
        _refuse_written_lists(table, found.values, columns.positive)
        taken = np.flatnonzero(chosen[found.rows])
        self.rows.append(self.start + np.flatnonzero(chosen))
        self.anchors.append(_digests(anchors.filter(pa.array(chosen)), table, columns.anchor))
        self.places.append(self.place + taken)
        self.digests.append(_digests(found.values.take(pa.array(taken)), table, columns.positive))
        rows, negative = found.rows[taken], found.negative[taken]
        self.pair_rows.append(self.start + rows)
        self.scores.append(np.where(negative, 0.0, scores[rows]))
        self.negative.append(negative)
        self.start += len(batch)
        self.place += len(found.rows)

    def _scores(self, column: Any, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        where = f"{self.table.where}, column {self.columns.score!r}"
        scores = verdicts(column, where, self.start, words=self.columns.entailment)
        missing = np.flatnonzero(np.isnan(scores) & chosen)
        if len(missing) and not self.skip:
            raise DataError(
                f"{where}, row {self.start + missing[0]} has no verdict; fill it in, or leave such "
                'rows out: dataset.on_error = "skip"'
            )
        self.unjudged += len(missing)
        return scores

    def pairs(self) -> Pairs:
        """Return the tables."""
        table, columns = self.table, self.columns
        if not sum(map(len, self.rows)):
            reason = "it is empty"
            if self.start:
                reason = "no row has a verdict" if self.unjudged else "no row passes dataset.where"
            raise DataError(f"{table.where}: {reason}; check the file and the filter")
        rows, pair_rows = np.concatenate(self.rows), np.concatenate(self.pair_rows)
        negative = np.concatenate(self.negative)
        queries = _first(rows, b"".join(self.anchors))
        corpus = _first(np.concatenate(self.places), b"".join(self.digests), negative)
        links = {"query_id": queries[np.searchsorted(rows, pair_rows)], "corpus_id": corpus}
        if columns.score or columns.negatives:
            links["score"] = np.concatenate(self.scores)
        return Pairs(
            DistinctTable(table, columns.anchor, (), np.unique(queries)),
            DistinctTable(table, columns.positive, columns.negatives, np.unique(corpus)),
            # The links list no files, because the queries and the corpus have the same files.
            ArrayTable(table.where, (), links),
            {"filtered": self.filtered, "unjudged": self.unjudged},
        )


def _check_types(table: Table, columns: PairColumns) -> None:
    """Raise a `DataError` for lists of anchors, negatives of another type, and chats of images."""
    where = f"{table.where}, column"
    pictures = table.types.get("images", pa.null())
    if is_chat(table.types[columns.anchor]) and is_list(pictures) and pictures != _NO_LISTS:
        raise DataError(
            f"{where} 'images' holds the images of the messages, and only texts are read from "
            "them; write the images as columns anchor and positive"
        )
    if holds_many(table.types[columns.anchor]):
        raise DataError(f"{where} {columns.anchor!r} holds lists: write one anchor a row")
    kind = content_type(table.types[columns.positive])
    for name in columns.negatives:
        other = content_type(table.types[name])
        if not alike(other, kind):
            raise DataError(
                f"{where} {name!r} holds {other}, {columns.positive!r} holds {kind}: write "
                "positives and negatives with one type"
            )


def _refuse_written_lists(table: Table, values: Any, name: str) -> None:
    """Raise a `DataError` for a format without lists, in which every value is a list as text."""
    if table.untyped and len(values) and pc.all(pc.match_substring_regex(values, _LIST)).as_py():
        raise DataError(
            f"{table.where}, column {name!r} holds lists that are written as text; write them as "
            "JSON lines or Parquet"
        )


def _values(column: Any, table: Table, name: str) -> list[Any]:
    """Return the values of a column as Python objects; Python has no times in nanoseconds."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{table.where}, content column {name!r} has the type {column.type}: it must hold "
            "text, images or lists of numbers"
        ) from error


def _digests(column: Any, table: Table, name: str) -> bytes:
    return b"".join(map(_digest, _values(column, table, name)))


def _digest(value: Any) -> bytes:
    if isinstance(value, dict):  # an image as Hugging Face `datasets` writes it
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        content = value
    else:
        content = (value if isinstance(value, str) else repr(value)).encode()
    return hashlib.blake2b(content, digest_size=16).digest()


def _first(numbers: Rows, digests: bytes, later: NDArray[np.bool_] | None = None) -> Rows:
    """Return, for each content, the first number with its digest, one that is not `later` first."""
    codes = np.frombuffer(digests, dtype="V16")
    order = np.arange(len(codes)) if later is None else np.argsort(later, kind="stable")
    _, first, inverse = np.unique(codes[order], return_index=True, return_inverse=True)
    found = np.empty(len(codes), dtype=np.int64)
    found[order] = numbers[order][first][inverse]
    return found
