"""Constraints on positives and negatives, from the columns that a job names."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.column_types import wider_type
from miner.datasets.content import is_string
from miner.datasets.relevance.codes import Codes, joint_codes, known_values
from miner.datasets.roles import Constraints
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import LATEST, NONE, Constrained, Relevance

__all__ = ["constrained", "group_codes", "missing_values"]

Part = tuple[Items, Codes | NDArray[np.bool_]]
"""The rows of a table, and which of them are meant."""


def group_codes(parts: Sequence[Items], constraints: Constraints) -> list[Codes]:
    """Return the codes of the first column of groups, for each table; `NONE` without one."""
    if not constraints.group:
        return [np.full(len(items), NONE, dtype=np.int64) for items in parts]
    return _codes(parts, constraints.group[0], "group")


def constrained(
    relevance: Relevance, anchors: Part, rows: Part, constraints: Constraints
) -> Relevance:
    """Return a relevance with constraints; itself if there are none.

    Parameters
    ----------
    relevance : Relevance
        It knows the first column of groups already.
    anchors, rows : tuple of Items and ndarray
        The table of the anchors and that of the rows, and which of their rows are meant. They may
        be one table.
    constraints : Constraints

    Raises
    ------
    DataError
        If values cannot be compared.
    """
    more = constraints.group[1:]
    if not (more or constraints.across or constraints.within or constraints.before):
        return relevance
    parts = [anchors[0]] if anchors[0] is rows[0] else [anchors[0], rows[0]]

    def codes(name: str, key: str) -> tuple[Codes, Codes]:
        found = _codes(parts, name, key)
        return found[-1][rows[1]], found[0][anchors[1]]

    def columns(names: Sequence[str], key: str) -> tuple[Codes, Codes]:
        found = [codes(name, key) for name in names]
        if not found:
            return np.empty((0, 0), dtype=np.int64), np.empty((0, 0), dtype=np.int64)
        of_rows, of_anchors = zip(*found, strict=True)
        return np.stack(of_rows), np.stack(of_anchors)

    within = _joined([codes(name, "negatives_within") for name in constraints.within], relevance)
    order = np.zeros(relevance.rows, np.int64), np.zeros(relevance.anchors, np.int64)
    if constraints.before is not None:
        ranks = _ranks(parts, constraints.before)
        mine = ranks[-1][rows[1]]
        order = np.where(mine == NONE, LATEST, mine), ranks[0][anchors[1]]
    across, apart = columns(constraints.across, "positives_across"), columns(more, "group")
    return Constrained(relevance, *within, *order, *across, *apart)


def missing_values(parts: Sequence[Items], constraints: Constraints) -> dict[str, int]:
    """Return how many rows have no value in each column of constraints, if any has none."""
    found = {
        name: sum(known_values(items, items.columns[name], name).null_count for items in parts)
        for name in constraints.columns
    }
    return {name: count for name, count in found.items() if count}


def _codes(parts: Sequence[Items], name: str, key: str) -> list[Codes]:
    """Return codes of a column for each table, equal for equal values."""
    known = [known_values(items, items.columns[name], name) for items in parts]
    found = joint_codes(*known, key=f"dataset.{key}")
    return np.split(found, np.cumsum([len(items) for items in parts])[:-1])


def _joined(columns: Sequence[tuple[Codes, Codes]], relevance: Relevance) -> tuple[Codes, Codes]:
    """Return one code for the values of several columns; `NONE` if a value is missing."""
    rows, anchors = np.zeros(relevance.rows, np.int64), np.zeros(relevance.anchors, np.int64)
    for of_rows, of_anchors in columns:
        pairs = np.stack([np.append(rows, anchors), np.append(of_rows, of_anchors)])
        _, codes = np.unique(pairs, axis=1, return_inverse=True)
        codes = np.where((pairs == NONE).any(axis=0), NONE, codes.reshape(-1))
        rows, anchors = codes[: relevance.rows], codes[relevance.rows :]
    return rows, anchors


def _ranks(parts: Sequence[Items], name: str) -> list[Codes]:
    """Return the dense ranks of times or numbers, jointly over tables; `NONE` for nulls."""
    columns = [_comparable(items, name) for items in parts]
    kind = functools.reduce(wider_type, [column.type for column in columns])
    try:
        whole = pa.concat_arrays([column.cast(kind) for column in columns])
    except (pa.ArrowException, TypeError) as error:  # no type holds the values of both
        raise DataError(
            f"{parts[-1].where}, column {name!r} (dataset.before) is {columns[-1].type}, in "
            f"{parts[0].where} it is {columns[0].type}; write both with one type"
        ) from error
    found = np.full(len(whole), NONE, dtype=np.int64)
    there = whole.is_valid().to_numpy(zero_copy_only=False)
    found[there] = pc.rank(whole.drop_null(), tiebreaker="dense").to_numpy()
    return np.split(found, np.cumsum(list(map(len, columns)))[:-1])


def _comparable(items: Items, name: str) -> Any:
    """Return a column whose values have an order; texts become numbers or times."""
    column = known_values(items, items.columns[name], name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_string(column.type):
        return _parsed(items, column, name)
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.int8())
    types, kind = pa.types, column.type
    if types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
    elif types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    elif not (
        types.is_temporal(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
    ):
        raise DataError(_no_order(items, name, f"not {kind}"))
    return column


def _parsed(items: Items, column: Any, name: str) -> Any:
    """Return texts as numbers, or as times in ISO 8601."""
    texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    worst = 0
    for kind in (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        first = _first_unreadable(texts, kind)
        if first == len(texts):
            return texts.cast(kind)
        worst = max(worst, first)
    raise DataError(_no_order(items, name, f"not {texts[worst].as_py()!r}", items.rows[worst]))


def _first_unreadable(texts: Any, kind: Any) -> int:
    """Return the position of the first text that is no value of a type; their number if all are."""

    def fails(count: int) -> bool:
        try:
            values = texts.slice(0, count).cast(kind)
        except pa.ArrowInvalid:
            return True
        return bool(pa.types.is_floating(kind) and pc.any(pc.is_nan(values)).as_py())

    if not fails(len(texts)):
        return len(texts)
    return bisect.bisect_left(range(len(texts)), True, key=lambda place: fails(place + 1))


def _no_order(items: Items, name: str, found: str, row: int | None = None) -> str:
    place = "" if row is None else f", row {row}"
    return (
        f"{items.where}{place}, column {name!r} (dataset.before): its values must be numbers or "
        f"times such as 2024-01-31 or 2024-01-31T12:00:00, {found}; write them so"
    )
