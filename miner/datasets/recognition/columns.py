"""Infer which columns hold the ids, the content and the labels, by their names and values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table, require_column
from miner.datasets.content import Kind, column_kind, is_string
from miner.datasets.formats.images import SUFFIXES
from miner.datasets.layouts.pair_columns import PairColumns, find_pairs
from miner.datasets.layouts.verdicts import verdict_of
from miner.datasets.recognition.names import CONTENT, GROUPS, IDS, LABELS, SPLITS
from miner.datasets.relevance.links import refuse_links
from miner.errors import DataError
from miner.formatting import counted

__all__ = ["InferredRoles", "guess_items", "guess_pairs"]

_SAMPLE = 1 << 15
"""Rows that are examined: more than one batch, because files are often sorted by label."""


@dataclass(frozen=True, slots=True)
class InferredRoles:
    """The inferred roles of the columns of a table of labelled items.

    Attributes
    ----------
    id, content, label : str or None
        Names of columns. Without an id, row numbers serve as ids.
    group, split : str or None
        Columns that a job may use.
    kind : str
        The kind of content.
    precomputed : bool
        Whether the content column holds vectors written as text.
    words : dict of str
        For each role, a description of the values of its column.
    """

    id: str | None
    content: str
    label: str
    group: str | None
    split: str | None
    kind: Kind
    precomputed: bool
    words: dict[str, str]


def guess_pairs(table: Table) -> PairColumns | None:
    """Return the columns of a table of pairs; None if it seems to be no table of pairs.

    A column `label` whose values are no verdicts is the label of items.
    """
    found = find_pairs(table.types)
    if found is None or found.score is None or not is_string(table.types[found.score]):
        return found
    batch = next(iter(table.batches([found.score])), None)
    values = [] if batch is None else pc.unique(batch.column(0)).to_pylist()
    return found if all(verdict_of(text) is not None for text in values) else None


def guess_items(
    table: Table, *, identity: str | None, content: str | None, label: str | None
) -> InferredRoles:
    """Infer the roles of columns from their names, types and first values.

    Parameters
    ----------
    table : Table
    identity, content, label : str or None
        Columns that the user has named; None to infer them.

    Raises
    ------
    DataError
        If no column can be content or label, or a named column does not exist.
    """
    for name, option in ((identity, "--id"), (content, "--content"), (label, "--label")):
        if name is not None:
            require_column(table, name, option)
    if content is None and not any(_by_name([*table.types], CONTENT)):
        refuse_links(table)
    seen = _Seen(table)
    words: dict[str, str] = {}
    taken = {name for name in (identity, content, label) if name is not None}
    if content is None:
        content = _content(table, seen, taken)
    words["content"] = seen.example(content)
    kind, precomputed = _kind(table, seen, content)
    taken |= {content}
    if identity is None:
        identity = _identity(table, seen, taken)
    if identity is not None:
        taken |= {identity}
    words["id"] = seen.example(identity) if identity else "the row number"
    if label is None:
        label, rivals = _label(table, seen, taken)
        words["rivals"] = ", ".join(rivals)
    if seen.distinct(label) == 1 and seen.rows < _SAMPLE:
        raise DataError(
            f"{table.where}, column {label!r}: all rows have one label, so there are no negatives; "
            "name another column with --label"
        )
    words["label"] = seen.values(label)
    taken |= {label}
    group, split = (_named(table, names, taken) for names in (GROUPS, SPLITS))
    return InferredRoles(identity, content, label, group, split, kind, precomputed, words)


class _Seen:
    """Statistics of the first rows of the columns with scalar values, or with lists of text."""

    def __init__(self, table: Table) -> None:
        faults = getattr(table, "faults", {})
        names = [name for name, kind in table.types.items() if _scalar(_value_type(kind))]
        names = [name for name in names if name not in faults]
        batches: list[Any] = []
        rows = 0
        for batch in table.batches(names) if names else ():
            batches.append(batch)
            rows += len(batch)
            if rows >= _SAMPLE:
                break
        self.rows = rows
        joined = pa.Table.from_batches(batches) if batches else None
        self.columns = {name: joined[name] for name in names} if joined else {}
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
        if not is_string(column.type) or _fractions(column, self.some(name)):
            return bool(pa.types.is_integer(column.type))
        return not pc.any(pc.match_substring_regex(column, r"\s")).as_py()

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
        rows = "the first " if self.rows >= _SAMPLE else ""
        found = f"{counted(self.distinct(name), 'value')} in {rows}{counted(self.rows, 'row')}"
        return f"{found}, {self.example(name)}"


def _content(table: Table, seen: _Seen, taken: set[str]) -> str:
    """Choose the column to embed: by its name, then lists of floats or images, then long texts."""
    free = [name for name in table.types if name not in taken]
    for name in _by_name(free, CONTENT):
        if _embeddable(table, name):
            return name
    for name in free:
        kind = table.types[name]
        if _embeddable(table, name) and not is_string(_value_type(kind)):
            return name
    texts = [name for name in free if name in seen.columns and is_string(table.types[name])]
    texts = [name for name in texts if name.lower() not in (*IDS, *LABELS)]
    texts = [name for name in texts if any(map(_wordy, seen.some(name)))]
    longest = max(texts, key=seen.length, default=None)
    if longest is None:
        raise DataError(
            f"{table.where} has no column that can be embedded (texts, images, or lists of "
            f"numbers in one column): name one with --content. It has: {_all(table)}"
        )
    return longest


def _kind(table: Table, seen: _Seen, content: str) -> tuple[Kind, bool]:
    """Return the kind of content, and whether it is vectors written as text."""
    kind = column_kind(table.where, content, table.types[content], None)
    some = [value for value in seen.some(content) if isinstance(value, str)]
    if kind == "text" and some and all(value.strip()[:1] == "[" for value in some):
        return "vectors", True
    if kind == "text" and some and all(value.lower().endswith(SUFFIXES) for value in some):
        raise DataError(
            f"{table.where}, column {content!r} holds the names of image files: call the column "
            "image, and they are read from there"
        )
    return kind, False


def _identity(table: Table, seen: _Seen, taken: set[str]) -> str | None:
    """Choose a column of unique ids: by its name, else one of codes or integers."""
    free = [name for name in table.types if name not in taken]
    usual = list(_by_name(free, IDS))
    usual += [name for name in free if name.lower().endswith("_id") and name not in usual]
    keys = [
        name for name in usual if seen.key(name) and not pa.types.is_floating(table.types[name])
    ]
    if not keys and "id" in free:  # a job uses this column by default, not row numbers
        raise DataError(
            f"{table.where}, column 'id': ids must be unique texts or whole numbers in "
            "all rows, and these are not: "
            "correct them, rename the column (row numbers are then used), or name another with --id"
        )
    aside = {*usual, *_by_name(free, (*CONTENT, *GROUPS, *SPLITS))}
    others = [name for name in free if name not in aside and seen.key(name) and seen.codes(name)]
    keys += sorted(others, key=lambda name: not all(map(_wordy, seen.some(name))))
    return keys[0] if keys else None


def _label(table: Table, seen: _Seen, taken: set[str]) -> tuple[str, list[str]]:
    """Choose the label column, by its name or its repeated values; return also other candidates."""
    free = [name for name in seen.columns if name not in taken]
    named = [name for name in _by_name(free, LABELS) if seen.distinct(name)]
    most = max(seen.rows // 2, 1)
    whole = [name for name in free if not _fractions(seen.columns[name], seen.some(name))]
    shared = [name for name in whole if 2 <= seen.distinct(name) <= most]
    aside = {name.lower() for name in (*GROUPS, *SPLITS, *IDS)}
    shared = [name for name in shared if name.lower() not in aside and name not in named]
    usable = [name for name in named if seen.repeats(name)]
    found = [
        *usable,
        *sorted(shared, key=lambda name: not is_string(_value_type(table.types[name]))),
    ]
    if not found:
        hint = getattr(table, "hints", {}).get("label")
        if hint:
            raise DataError(f"{table.where} {hint}")
        raise DataError(
            f"{table.where} has no column that looks like a label (a value that several rows "
            "share): add one that says which rows belong together and name it with --label, or "
            f"bring pairs, in columns anchor and positive. It has: {_all(table)}"
        )
    return found[0], [] if usable else found[1:4]


def _embeddable(table: Table, name: str) -> bool:
    try:
        column_kind(table.where, name, table.types[name], None)
    except DataError:
        return False
    return True


def _by_name(free: list[str], names: tuple[str, ...]) -> Iterator[str]:
    """Yield the columns of `free` whose names are in `names`, in the order of `names`."""
    lower = {name.lower(): name for name in reversed(free)}
    return (lower[name] for name in names if name in lower)


def _named(table: Table, names: tuple[str, ...], taken: set[str]) -> str | None:
    return next(_by_name([name for name in table.types if name not in taken], names), None)


def _value_type(kind: Any) -> Any:
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


def _fractions(column: Any, some: list[Any]) -> bool:
    """Whether a column holds decimals, which are no labels; a CSV has them as text."""
    written = all(isinstance(value, str) and _is_fraction(value) for value in some)
    return bool(pa.types.is_floating(column.type)) or bool(some and written)


def _is_fraction(text: str) -> bool:
    whole, point, part = text.strip().lstrip("+-").partition(".")
    return bool(point) and (whole + part).isdigit()


def _wordy(value: Any) -> bool:
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


def _all(table: Table) -> str:
    return ", ".join(map(repr, sorted(table.types)))
