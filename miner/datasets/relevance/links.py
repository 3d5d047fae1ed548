"""Links (qrels): which rows of the corpus are positives of each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import Table, is_id, require_column
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import NONE

__all__ = ["Links", "read_links"]

_QUERY = ("query_id", "query-id", "query", "qid", "anchor_id", "anchor")
_CORPUS = ("corpus_id", "corpus-id", "corpus", "doc_id", "docid", "pid", "positive_id", "positive")
_SCORE = ("score", "relevance", "rel")


@dataclass(frozen=True, slots=True)
class Links:
    """Links as rows: ``linked[starts[q]:starts[q + 1]]`` are the positives of query q.

    Attributes
    ----------
    starts, linked : ndarray of int64
    judged : int
        Number of links with a score of 0 or less. Their documents stay negatives.
    dropped : int
        Number of links to or from rows that were filtered out or have no usable content.
    """

    starts: NDArray[np.int64]
    linked: NDArray[np.int64]
    judged: int
    dropped: int


def read_links(
    tables: Sequence[Table],
    names: tuple[str | None, str | None, str | None],
    queries: Items,
    corpus: Items,
) -> Links:
    """Read all link tables and resolve their ids to rows.

    Parameters
    ----------
    tables : sequence of Table
    names : tuple of str or None
        Columns of the query id, the corpus id and the score; None to search common names.
    queries, corpus : Items

    Raises
    ------
    DataError
        If a column is missing, a score is not a number, or an id is unknown.
    """
    pairs = []
    judged = dropped = 0
    for table in tables:
        query, row, score = _read(table, names, queries, corpus)
        known = (query >= 0) & (row >= 0)
        dropped += int((~known).sum())
        positive = known & (score > 0)
        judged += int((known & ~positive).sum())
        pairs.append(np.stack([query[positive], row[positive]], axis=1))
    unique = np.unique(np.concatenate(pairs), axis=0)
    starts = np.searchsorted(unique[:, 0], np.arange(len(queries) + 1))
    return Links(starts.astype(np.int64), np.ascontiguousarray(unique[:, 1]), judged, dropped)


def _read(
    table: Table, names: tuple[str | None, str | None, str | None], queries: Items, corpus: Items
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    query = _choose(table, names[0], _QUERY, "dataset.link_query")
    document = _choose(table, names[1], _CORPUS, "dataset.link_corpus")
    score = names[2] or next((name for name in _SCORE if name in table.types), None)
    if score is not None:
        require_column(table, score, "dataset.link_score")
    columns = [query, document] + ([score] if score else [])
    batches = list(table.batches(columns))
    if not sum(map(len, batches)):
        raise DataError(f"{table.where} is empty: it has no links")
    data = pa.Table.from_batches(batches)
    return (
        _rows(table, data[query], queries, query),
        _rows(table, data[document], corpus, document),
        _scores(table, data[score], score) if score else np.ones(len(data)),
    )


def _choose(table: Table, name: str | None, usual: Sequence[str], key: str) -> str:
    if name is None:
        name = next((candidate for candidate in usual if candidate in table.types), usual[0])
    return require_column(table, name, key)


def _rows(table: Table, ids: Any, items: Items, column: str) -> NDArray[np.int64]:
    """Return the row of each id in `items`; `NONE` for ids of rows that were left out.

    Ids are compared as text, because a CSV has no types.
    """
    texts = ids.cast(pa.string())
    rows = pc.index_in(texts, value_set=items.ids.cast(pa.string()))
    dropped = pc.is_in(texts, value_set=items.dropped.cast(pa.string()), skip_nulls=True)
    unknown = pc.and_(rows.is_null(), pc.invert(dropped))
    if pc.any(unknown).as_py():
        link = int(pc.index(unknown, True).as_py())
        shown = (ids if is_id(ids) else texts)[link].as_py()
        raise DataError(
            f"{table.where}, row {link}: {column} {shown!r} is not an id of "
            f"{items.where}; remove the link, or add the row"
        )
    return np.asarray(pc.fill_null(rows, NONE).to_numpy()).astype(np.int64)


def _scores(table: Table, column: Any, name: str) -> NDArray[np.float64]:
    try:
        scores = column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{table.where}, column {name!r}: scores must be numbers ({error})"
        ) from error
    if scores.null_count:
        row = int(pc.index(scores.is_null(), True).as_py())
        raise DataError(f"{table.where}, row {row}: no {name}; every link needs a number")
    return np.asarray(scores.to_numpy(), dtype=np.float64)
