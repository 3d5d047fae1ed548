"""Statistics of the first rows of a table, by which its columns are recognised."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table
from miner.datasets.content import is_string
from miner.formatting import counted

__all__ = ["SAMPLE", "Seen", "has_dates", "has_fractions", "is_wordy", "value_type"]

SAMPLE = 1 << 15
"""Rows that are examined: more than one batch, because files are often sorted by label."""


class Seen:
    """Statistics of the first rows of the columns with scalar values, or with lists of text.

    A blank text is no value.
    """

    def __init__(self, table: Table) -> None:
        faults = getattr(table, "faults", {})
        names = [name for name, kind in table.types.items() if _scalar(value_type(kind))]
        names = [name for name in names if name not in faults]
        batches: list[Any] = []
        rows = 0
        for batch in table.batches(names) if names else ():
            batches.append(batch)
            rows += len(batch)
            if rows >= SAMPLE:
                break
        self.rows = rows
        joined = pa.Table.from_batches(batches) if batches else None
        self.columns = {name: _filled(joined[name]) for name in names} if joined else {}
        self._distinct: dict[str, int] = {}

    def distinct(self, name: str) -> int:
        """Count the distinct values of a column or of its lists; 0 if it was not examined."""
        if name not in self._distinct:
            column = self.columns.get(name)
            self._distinct[name] = (
                0 if column is None else len(pc.unique(_flat(column)).drop_null())
            )
        return self._distinct[name]

    def key(self, name: str) -> bool:
        """Whether every row has a value, and no two rows have the same."""
        column = self.columns.get(name)
        whole = column is not None and not pa.types.is_list(column.type) and not column.null_count
        return whole and self.distinct(name) == self.rows

    def codes(self, name: str) -> bool:
        """Whether a column holds integers, or texts of one word each that are not decimals."""
        column = self.columns[name]
        if not is_string(column.type) or has_fractions(column, self.some(name)):
            return bool(pa.types.is_integer(column.type))
        return not pc.any(pc.match_substring_regex(column, r"\s")).as_py()

    def blank(self, name: str) -> int:
        """Count the rows without a value in a column."""
        column = self.columns.get(name)
        return 0 if column is None else int(column.null_count)

    def first_blank(self, name: str) -> str:
        """Return which row is the first without a value, in brackets; "" if all have one."""
        row = -1 if not self.blank(name) else pc.index(self.columns[name].is_null(), True).as_py()
        return "" if row < 0 else f" (row {row} has none)"

    def repeats(self, name: str) -> bool:
        """Whether a value of the column occurs more than once."""
        column = self.columns.get(name)
        return column is not None and len(_flat(column).drop_null()) > self.distinct(name)

    def length(self, name: str) -> float:
        """Return the mean length of a text column."""
        return float(pc.mean(pc.utf8_length(_flat(self.columns[name]).drop_null())).as_py() or 0)

    def some(self, name: str) -> list[Any]:
        """Return a few values that are not null."""
        column = self.columns.get(name)
        return [] if column is None else _flat(column).drop_null().slice(0, 20).to_pylist()

    def example(self, name: str) -> str:
        """Return the first value of a column as text for the user."""
        some = self.some(name)
        return f"such as {_shown(some[0])}" if some else ""

    def values(self, name: str) -> str:
        """Describe how many distinct values a column has."""
        if name not in self.columns:
            return ""
        rows = "the first " if self.rows >= SAMPLE else ""
        found = f"{counted(self.distinct(name), 'value')} in {rows}{counted(self.rows, 'row')}"
        return f"{found}, {self.example(name)}"


def _filled(column: Any) -> Any:
    """Replace blank texts of a column by nulls."""
    if not is_string(column.type):
        return column
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    return pc.if_else(blank, pa.scalar(None, column.type), column)


def value_type(kind: Any) -> Any:
    """Return the type of a column's values; for lists and dictionaries, the type inside."""
    while pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        nested = not pa.types.is_dictionary(kind)
        kind = kind.value_type
        if nested and not is_string(kind):
            return pa.null()  # lists of numbers are vectors, not labels
    return kind


def _scalar(kind: Any) -> bool:
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(is_string(kind) or numbers or pa.types.is_boolean(kind))


def has_fractions(column: Any, some: list[Any]) -> bool:
    """Whether a column holds decimals, which are no labels; a CSV has them as text."""
    written = all(isinstance(value, str) and _is_fraction(value) for value in some)
    return bool(pa.types.is_floating(column.type)) or bool(some and written)


def _is_fraction(text: str) -> bool:
    whole, point, part = text.strip().lstrip("+-").partition(".")
    return bool(point) and (whole + part).isdigit()


def has_dates(some: list[Any]) -> bool:
    """Whether values are dates in ISO 8601, which are no labels."""
    return bool(some) and all(re.match(r"\d{4}-\d\d-\d\d", str(value)) for value in some)


def is_wordy(value: Any) -> bool:
    """Whether a value is not a plain number: it has a letter, or is a list of numbers."""
    return any(letter.isalpha() or letter == "[" for letter in str(value))


def _flat(column: Any) -> Any:
    """Flatten the lists of a column and decode its dictionaries."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.list_flatten(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 30 else text[:27] + "...")
