"""Files of ranked documents that other retrievers wrote, as pairs of rows of the data.

A run file is a TREC run, or any table with a query, a document and a rank or a score. A row may
also hold all documents of its query, as a list. In JSON, a run may be one object of the scores by
query and document, as ranx and pytrec_eval have it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import READERS, ROWS, Table, data_errors
from miner.datasets.formats.files import PLAIN, TEXTS, TextFormat, extension, open_bytes, packing
from miner.datasets.formats.streamed import StreamedTable
from miner.datasets.formats.trec import is_blank, is_trec, is_trec_run, open_trec_run
from miner.datasets.ids import id_values
from miner.datasets.opening import open_table
from miner.errors import DataError
from miner.storage.urls import expanded

__all__ = ["Ranked", "RunFile", "open_run_file", "run_name"]

_QUERY = (
    *("query_id", "query-id", "qid", "q_id", "queryid", "topic_id", "topic", "anchor_id", "query"),
    "anchor",
)
_DOCUMENT = (
    *("document_id", "document-id", "doc_id", "docid", "docno", "did", "corpus_id", "corpus-id"),
    *("pid", "passage_id", "negative_id", "document", "doc", "passage"),
)
_LISTS = (
    *("documents", "docs", "doc_ids", "docids", "document_ids", "results", "hits", "passages"),
    *("candidates", "ctxs", "negative_ids"),
)
"""Usual names of a column with all documents of a query."""
_INNER = ("id", "_id")
"""Further names of a document's id inside such a list."""
_RANK, _SCORE = ("rank", "position"), ("score", "similarity")
_CHUNK = 1 << 20
"""Rows whose ids are looked up at once."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The first documents of each query of a run, as rows of the data.

    Attributes
    ----------
    anchors, rows : ndarray of shape (k,), int64
        The query and the document of each pair; a pair may repeat.
    facts : dict of str to int
        The number of ``lines`` of the run, of its known ``queries`` and ``documents``, and of the
        lines whose query or document is unknown.
    """

    anchors: Rows
    rows: Rows
    facts: dict[str, int]


@dataclass(frozen=True, slots=True)
class RunFile:
    """An opened run file.

    Attributes
    ----------
    name : str
        What the column ``source`` calls it: the name of the file without its endings.
    path : str
        As the job names it.
    table : Table
    query, document : str
        The columns of the ids. `document` may hold a list of ids, or of objects with an id.
    rank, score : str or None
        The columns of the rank and the score, or the fields of the objects.
    """

    name: str
    path: str
    table: Table
    query: str
    document: str
    rank: str | None
    score: str | None

    def ranked(self, depth: int, anchor_ids: Any, row_ids: Any) -> Ranked:
        """Return the first `depth` documents of each query, in the order of rank, score and row.

        Parameters
        ----------
        depth : int
        anchor_ids, row_ids : pyarrow.Array
            The ids of the anchors and of the rows. Ids are compared as text.

        Raises
        ------
        DataError
            If the file cannot be read, or no query or no document of it is known.
        """
        known = [ids.cast(pa.string()) for ids in (anchor_ids, row_ids)]
        parts, start = [], 0
        examples: list[Any] = []
        for chunk in self._chunks():
            columns = [self._ids(chunk, name, start) for name in (self.query, self.document)]
            found = [
                np.asarray(pc.fill_null(pc.index_in(ids, value_set=of), -1).to_numpy())
                for ids, of in zip(columns, known, strict=True)
            ]
            examples = examples if start else [ids[0].as_py() for ids in columns]
            found += [self._numbers(chunk, name, start) for name in (self.rank, self.score)]
            parts.append(found)
            start += len(chunk)
        if not start:
            raise DataError(f"{self.table.where} is empty: it has no documents")
        query, row, rank, score = (np.concatenate(one) for one in zip(*parts, strict=True))
        for places, of, shown, side in (
            (query, known[0], examples[0], "queries"),
            (row, known[1], examples[1], "documents"),
        ):
            if (places < 0).all():
                raise DataError(
                    f"{self.table.where}: none of its {side} is known: it has {shown!r}, the data "
                    f"have {of[0].as_py()!r}; check which ids the run was written with"
                )
        return _first(depth, query.astype(np.int64), row.astype(np.int64), rank, score)

    def _chunks(self) -> Iterator[Any]:
        """Yield tables with one document in each row."""
        listed = _is_list(self.table.types[self.document])
        inner = () if listed else (self.rank, self.score)
        names = [self.query, self.document, *(name for name in inner if name)]
        held: list[Any] = []
        for batch in self.table.batches(names):
            held.append(self._flat(batch) if listed else pa.Table.from_batches([batch]))
            if sum(map(len, held)) >= _CHUNK:
                yield pa.concat_tables(held).combine_chunks()
                held = []
        if sum(map(len, held)):
            yield pa.concat_tables(held).combine_chunks()

    def _flat(self, batch: Any) -> Any:
        """Return a batch with lists as a table with one document in each row."""
        column = batch.column(self.document)
        queries = batch.column(self.query).take(pc.list_parent_indices(column))
        values = pc.list_flatten(column)
        columns = {self.query: queries}
        if not pa.types.is_struct(values.type):
            return pa.table({**columns, self.document: values})
        inner = _inner(values.type)
        fields = {self.document: inner, self.rank: self.rank, self.score: self.score}
        fields = {name: field for name, field in fields.items() if name}
        return pa.table(
            columns | {name: pc.struct_field(values, field) for name, field in fields.items()}
        )

    def _ids(self, chunk: Any, name: str, start: int) -> Any:
        where = f"{self.table.where}, column {name!r}"
        ids = id_values(_joined(chunk[name]), where)
        if ids.null_count:
            row = start + int(pc.index(ids.is_null(), True).as_py())
            raise DataError(f"{self.table.where}, row {row}: no {name}; every row needs an id")
        return ids.cast(pa.string())

    def _numbers(self, chunk: Any, name: str | None, start: int) -> NDArray[np.float64]:
        """Return a column of numbers; zeros if there is none."""
        if name is None:
            return np.zeros(len(chunk))
        column = _joined(chunk[name])
        try:
            numbers = column.cast(pa.float64()).fill_null(math.nan).to_numpy()
        except pa.ArrowException:
            numbers = np.array([_number(value) for value in column.to_pylist()])
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            value = column[int(wrong[0])].as_py()
            raise DataError(
                f"{self.table.where}, row {start + int(wrong[0])}: {name} = {value!r} is not a "
                "finite number; correct it"
            )
        return np.asarray(numbers, dtype=np.float64)


def open_run_file(path: str, text: TextFormat = PLAIN, shown: str | None = None) -> RunFile:
    """Open a run file and find its columns.

    Parameters
    ----------
    path : str
        A local file, folder or pattern.
    text : TextFormat
        How files of text are written.
    shown : str, optional
        The path as the job names it.

    Raises
    ------
    DataError
        If it cannot be read, or has no columns of a query and a document.
    """
    table, name = _open(path, text), shown or path
    query = _choose(table, _QUERY, "a query")
    document = _choose(table, (*_DOCUMENT, *_LISTS), "a document")
    types = table.types
    if _is_list(types[document]):
        value = types[document].value_type
        types = {one.name: one.type for one in value} if pa.types.is_struct(value) else {}
        if types and _inner(value) is None:
            raise DataError(
                f"{table.where}, column {document!r}: its objects have {', '.join(types)}, and no "
                f"id of a document; name it {_DOCUMENT[0]!r}"
            )
    rank, score = (next((n for n in names if n in types), None) for names in (_RANK, _SCORE))
    return RunFile(run_name(name), name, table, query, document, rank, score)


def run_name(path: str) -> str:
    """Return the name of a run: that of its file without packing and ending."""
    file = Path(path.rstrip("/"))
    file = file.with_suffix("") if packing(file) else file
    return file.stem or path


def _open(path: str, text: TextFormat) -> Table:
    place = expanded(path)
    if not place.is_file():
        return open_table(path, text)
    kind = extension(place)
    known = kind in READERS.names()
    if not known or kind in TEXTS:
        if is_trec_run(place, text):
            return open_trec_run(str(place), [place], text)
        if is_blank(place, text):
            raise DataError(f"{path} is empty: it has no documents")
        if not known or kind in ("trec", "qrels") or (kind == "tsv" and is_trec(place, text)):
            raise DataError(
                f"{path}: its first line is not of a TREC run, which has 6 columns: query, Q0, "
                "document, rank, score and the name of the run; correct it, or name a .jsonl, "
                ".csv or .parquet file with the columns query_id, document_id and rank or score"
            )
    scores = _scores_by_query(place, text) if kind == "json" else None
    return scores or open_table(path, text)


def _scores_by_query(place: Path, text: TextFormat) -> Table | None:
    """Return one object of scores by query and document as a table; None for other JSON."""
    with data_errors(str(place)), open_bytes(place, text.encoding) as file:
        try:
            whole = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None
    if not isinstance(whole, dict) or not all(isinstance(of, dict) for of in whole.values()):
        return None
    rows = [(query, *one) for query, of in whole.items() for one in of.items()]
    wrong = next((row for row in rows if not math.isfinite(_number(row[2]))), None)
    if wrong is not None:
        raise DataError(
            f"{place}: the score of query {wrong[0]!r} and document {wrong[1]!r} is {wrong[2]!r}, "
            "not a finite number; correct it"
        )
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    names, texts = ("query_id", "document_id", "score"), pa.string()
    kinds = (texts, texts, pa.float64())
    table = pa.table(
        [pa.array(one, kind) for one, kind in zip(columns, kinds, strict=True)], names=names
    )

    def stream(_: Path, columns: Sequence[str]) -> Iterator[Any]:
        return iter(table.select(columns).to_batches(ROWS))

    return StreamedTable(str(place), (place,), table.schema, stream, {})


def _choose(table: Table, names: Sequence[str], what: str) -> str:
    found = next((name for name in names if name in table.types), None)
    if found is None:
        there = ", ".join(map(repr, list(table.types)[:12]))
        raise DataError(
            f"{table.where} has no column with {what}: there are {there}; name it {names[0]!r}"
        )
    return found


def _first(
    depth: int, query: Rows, row: Rows, rank: NDArray[np.float64], score: NDArray[np.float64]
) -> Ranked:
    """Return the first `depth` lines of each known query whose documents are known."""
    facts = {
        "lines": len(query),
        "queries": len(np.unique(query[query >= 0])),
        "documents": len(np.unique(row[row >= 0])),
        "lines_of_unknown_queries": int((query < 0).sum()),
        "lines_of_unknown_documents": int((row < 0).sum()),
    }
    order = np.lexsort((-score, rank, query))  # stable: ties keep the order of the rows
    order = order[query[order] >= 0]
    owners = query[order]
    place = np.arange(len(order)) - np.searchsorted(owners, owners)
    kept = order[place < depth]
    kept = kept[row[kept] >= 0]
    return Ranked(query[kept], row[kept], facts)


def _joined(column: Any) -> Any:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _inner(kind: Any) -> str | None:
    """Return the field of a document's id in the objects of a list."""
    names = {one.name for one in kind}
    return next((name for name in (*_DOCUMENT, *_INNER) if name in names), None)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
