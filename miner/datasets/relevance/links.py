"""Links (qrels): which rows of the corpus are positives of each query."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import Table, require_column
from miner.datasets.content import is_string
from miner.datasets.ids import id_values
from miner.datasets.relevance.codes import Codes
from miner.datasets.scan import Items
from miner.errors import DataError, UsageError
from miner.job_sections import DatasetJob, JudgedBelow
from miner.triplets.relevance import NONE

__all__ = ["LinkRules", "Links", "link_columns", "read_links", "refuse_links"]

_QUERY = (
    *("query_id", "query-id", "query", "qid", "anchor_id", "anchor", "user_id", "userId", "user"),
)
_CORPUS = (
    *("corpus_id", "corpus-id", "corpus", "doc_id", "docid", "pid", "passage_id", "positive_id"),
    *("positive", "item_id", "itemId", "item", "movieId", "product_id", "parent_asin"),
)
_IDS = ("id", "user", "item", "asin")
"""How the names of columns that cannot be content end."""
_SCORE = ("score", "relevance", "rel", "grade", "rating")
_UNKNOWN = -2
"""The row of an id that no row has."""


@dataclass(frozen=True, slots=True)
class LinkRules:
    """How links are read.

    Attributes
    ----------
    query, document, score : str or None
        Columns of the query id, the document id and the score; None to search common names.
    min_relevance : float or None
        The lowest score of a positive; None for any score above 0.
    below : str
        What a document with a lower score is: ``negative``, ``ignore`` for neither, or ``prefer``
        for a negative that strategies take first.
    same_id : bool
        Whether a query and a document with one id are the same, whatever their content.
    skip : bool
        Whether links with unknown ids are left out, instead of raising an error.
    """

    query: str | None = None
    document: str | None = None
    score: str | None = None
    min_relevance: float | None = None
    below: JudgedBelow = "negative"
    same_id: bool = False
    skip: bool = False

    @classmethod
    def from_job(cls, job: DatasetJob) -> LinkRules:
        """Return the rules of a job.

        Raises
        ------
        UsageError
            If the lowest score is no finite number.
        """
        if not math.isfinite(job.min_relevance or 0):
            raise UsageError(
                f"dataset.min_relevance = {job.min_relevance} must be a finite number, such as 1"
            )
        return cls(
            job.link_query,
            job.link_corpus,
            job.link_score,
            job.min_relevance,
            job.judged_below,
            job.same_id,
            job.on_error == "skip",
        )

    def facts(self) -> list[Any]:
        """Return the rules for the key of a store."""
        return list(dataclasses.astuple(self)[:-1])  # on_error is a fact of the tables


@dataclass(frozen=True, slots=True)
class Links:
    """Links as rows: ``linked[starts[q]:starts[q + 1]]`` are the positives of query q.

    Attributes
    ----------
    starts, linked : ndarray of int64
    judged : ndarray of shape (2, k), int64
        Queries and rows that are linked with a score that is too low for a positive.
    left_out : dict of str to int
        Numbers of links that were left out, by reason.
    ignored, rejected : ndarray of int64
        Pairs that a person decided to ignore, or for negatives: ``query * rows + row``, ascending.
    """

    starts: Codes
    linked: Codes
    judged: Codes
    left_out: dict[str, int]
    ignored: Codes = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    rejected: Codes = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def judged_pairs(self, below: JudgedBelow, rows: int) -> dict[str, Codes]:
        """Return the arguments of `LinkRelevance` about judged pairs; see `LinkRules.below`."""
        pairs = self.judged[0] * rows + self.judged[1]
        if below == "prefer":
            return {"ignored": self.ignored, "preferred": np.union1d(pairs, self.rejected)}
        return {"ignored": np.union1d(pairs, self.ignored) if below == "ignore" else self.ignored}


def read_links(tables: Sequence[Table], rules: LinkRules, queries: Items, corpus: Items) -> Links:
    """Read all link tables and resolve their ids to rows.

    Raises
    ------
    DataError
        If a column is missing, a score is not a number, or an id is unknown.
    """
    parts = [_read(table, rules, queries, corpus) for table in tables]
    query, row, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    reasons = {
        "links_of_unknown_queries": query == _UNKNOWN,
        "links_to_unknown_documents": (query != _UNKNOWN) & (row == _UNKNOWN),
        "links": (np.minimum(query, row) < 0) & (np.minimum(query, row) != _UNKNOWN),
    }
    left_out = {why: int(mask.sum()) for why, mask in reasons.items() if mask.any()}
    known = (query >= 0) & (row >= 0)
    least = rules.min_relevance
    positive = known & (score > 0 if least is None else score >= least)
    pairs = np.stack([query, row])
    unique = np.unique(pairs[:, positive], axis=1)
    starts = np.searchsorted(unique[0], np.arange(len(queries) + 1))
    return Links(
        starts.astype(np.int64),
        np.ascontiguousarray(unique[1]),
        pairs[:, known & ~positive],
        left_out,
    )


def _read(
    table: Table, rules: LinkRules, queries: Items, corpus: Items
) -> tuple[Codes, Codes, NDArray[np.float64]]:
    query, document, score = link_columns(table, rules)
    columns = [query, document] + ([score] if score else [])
    batches = list(table.batches(columns))
    if not sum(map(len, batches)):
        raise DataError(f"{table.where} is empty: it has no links")
    data = pa.Table.from_batches(batches)
    return (
        _rows(table, data[query], queries, query, skip=rules.skip),
        _rows(table, data[document], corpus, document, skip=rules.skip),
        _scores(table, data[score], score) if score else np.ones(len(data)),
    )


def link_columns(table: Table, rules: LinkRules) -> tuple[str, str, str | None]:
    """Return the columns of the query, the document and the score."""
    query = _choose(table, rules.query, _QUERY, "dataset.link_query")
    document = _choose(table, rules.document, _CORPUS, "dataset.link_corpus")
    score = rules.score or next((name for name in _SCORE if name in table.types), None)
    if score is not None:
        require_column(table, score, "dataset.link_score")
    return query, document, score


def refuse_links(table: Table) -> None:
    """Raise a `DataError` for a table of links or interactions: the contents are missing."""
    ids = [name for name in table.types if name.lower().endswith(_IDS)]
    query, document = (next(filter(ids.__contains__, one), None) for one in (_QUERY, _CORPUS))
    if query and document:
        raise DataError(
            f"{table.where} holds links ({query}, {document}) without content: name it as "
            f"dataset.links, as dataset.queries a table with {query} and a column to embed, and as "
            f"dataset.corpus one with {document}"
        )


def _choose(table: Table, name: str | None, usual: Sequence[str], key: str) -> str:
    if name is None:
        name = next((candidate for candidate in usual if candidate in table.types), usual[0])
    return require_column(table, name, key)


def _rows(table: Table, ids: Any, items: Items, column: str, *, skip: bool) -> Codes:
    """Return the row of each id in `items`; `NONE` for ids of rows that were left out.

    With `skip`, unknown ids get `_UNKNOWN`; otherwise they are an error.

    Ids are compared as text, because a CSV has no types.
    """
    ids = id_values(ids.combine_chunks(), f"{table.where}, column {column!r}")
    texts = ids.cast(pa.string())
    rows = pc.index_in(texts, value_set=items.ids.cast(pa.string()))
    dropped = pc.is_in(texts, value_set=items.dropped.cast(pa.string()), skip_nulls=True)
    unknown = pc.and_(rows.is_null(), pc.invert(dropped))
    if pc.any(unknown).as_py() and not skip:
        link = int(pc.index(unknown, True).as_py())
        shown = ids[link].as_py()
        raise DataError(
            f"{table.where}, row {link}: {column} {shown!r} is not an id of "
            f"{items.where}; add the row, or leave such links out and count them: "
            'dataset.on_error = "skip"'
        )
    found = np.asarray(pc.fill_null(rows, NONE).to_numpy()).astype(np.int64)
    found[unknown.to_numpy(zero_copy_only=False)] = _UNKNOWN
    return found


def _scores(table: Table, column: Any, name: str) -> NDArray[np.float64]:
    if is_string(column.type):  # a CSV has no nulls
        blank = pc.equal(pc.utf8_trim_whitespace(column), "")
        column = pc.if_else(blank, pa.scalar(None, column.type), column)
    try:
        scores = column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{table.where}, column {name!r}: scores must be numbers ({error})"
        ) from error
    missing = scores.is_null(nan_is_null=True)
    if pc.any(missing).as_py():
        row = int(pc.index(missing, True).as_py())
        raise DataError(f"{table.where}, row {row}: no {name}; every link needs a number")
    return np.asarray(scores.to_numpy(), dtype=np.float64)
