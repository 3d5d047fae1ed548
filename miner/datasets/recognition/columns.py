"""Infer which columns hold the ids, the content and the labels, by their names and values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table, require_column
from miner.datasets.content import Kind, column_kind, is_string
from miner.datasets.formats.images import SUFFIXES
from miner.datasets.layouts.pair_columns import PairColumns, find_pairs
from miner.datasets.layouts.verdicts import verdict_of
from miner.datasets.recognition.names import CONTENT, GROUPS, IDS, LABELS, SPLITS
from miner.datasets.recognition.seen import (
    SAMPLE,
    Seen,
    has_dates,
    has_fractions,
    is_wordy,
    value_type,
)
from miner.datasets.relevance.links import refuse_links
from miner.errors import DataError

__all__ = ["InferredRoles", "guess_items", "guess_pairs"]


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
    blank : int
        The number of the first rows whose content is blank.
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
    blank: int
    words: dict[str, str]


def guess_pairs(table: Table) -> PairColumns | None:
    """Return the columns of a table of pairs; None if it seems to be no table of pairs.

    A column `label` whose values are no verdicts is the label of items.
    """
    found = find_pairs(table.types)
    if found is None or found.score is None or found.score.lower() != "label":
        return found
    if not is_string(table.types[found.score]):
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
    seen = Seen(table)
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
    if seen.distinct(label) == 1 and seen.rows < SAMPLE:
        raise DataError(
            f"{table.where}, column {label!r}: all rows have one label, so there are no negatives; "
            "name another column with --label"
        )
    words["label"] = seen.values(label)
    taken |= {label}
    group, split = (_named(table, names, taken) for names in (GROUPS, SPLITS))
    blank = seen.blank(content)
    return InferredRoles(identity, content, label, group, split, kind, precomputed, blank, words)


def _content(table: Table, seen: Seen, taken: set[str]) -> str:
    """Choose the column to embed: by its name, then lists of floats or images, then long texts."""
    free = [name for name in table.types if name not in taken]
    for name in _by_name(free, CONTENT):
        if _embeddable(table, name) and 2 * seen.blank(name) <= seen.rows:
            return name
    for name in free:
        kind = table.types[name]
        if _embeddable(table, name) and not is_string(value_type(kind)):
            return name
    texts = [name for name in free if name in seen.columns and is_string(table.types[name])]
    texts = [name for name in texts if name.lower() not in IDS]
    texts = [name for name in texts if name.lower() not in LABELS or not seen.repeats(name)]
    texts = [name for name in texts if any(map(is_wordy, seen.some(name)))]
    longest = max(texts, key=seen.length, default=None)
    if longest is None:
        for name in _by_name(free, CONTENT):  # its type has a message of its own
            column_kind(table.where, name, table.types[name], None)
        raise DataError(
            f"{table.where} has no column that can be embedded (texts, images, or lists of "
            f"numbers in one column): name one with --content. It has: {_all(table)}"
        )
    return longest


def _kind(table: Table, seen: Seen, content: str) -> tuple[Kind, bool]:
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


def _identity(table: Table, seen: Seen, taken: set[str]) -> str | None:
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
            f"all rows, and these are not{seen.first_blank('id')}: "
            "correct them, rename the column (row numbers are then used), or name another with --id"
        )
    aside = {*usual, *_by_name(free, (*CONTENT, *GROUPS, *SPLITS))}
    others = [name for name in free if name not in aside and seen.key(name) and seen.codes(name)]
    keys += sorted(others, key=lambda name: not all(map(is_wordy, seen.some(name))))
    return keys[0] if keys else None


def _label(table: Table, seen: Seen, taken: set[str]) -> tuple[str, list[str]]:
    """Choose the label column, by its name or its repeated values; return also other candidates."""
    free = [name for name in seen.columns if name not in taken]
    named = [name for name in _by_name(free, LABELS) if seen.distinct(name)]
    most = max(seen.rows // 2, 1)
    whole = [name for name in free if not has_fractions(seen.columns[name], seen.some(name))]
    whole = [name for name in whole if seen.repeats(name) and not has_dates(seen.some(name))]
    shared = [name for name in whole if 2 <= seen.distinct(name) <= most]
    aside = {name.lower() for name in (*GROUPS, *SPLITS, *IDS)}
    shared = [name for name in shared if name.lower() not in aside and name not in named]
    usable = [name for name in named if seen.repeats(name)]
    found = [
        *usable,
        *sorted(shared, key=lambda name: not all(map(is_wordy, seen.some(name)))),
    ]
    if not found:
        faults = getattr(table, "faults", {})
        for name in _by_name(list(faults), LABELS):
            raise DataError(faults[name])
        hint = getattr(table, "hints", {}).get("label")
        if hint:
            raise DataError(f"{table.where} {hint}")
        raise DataError(
            f"{table.where} has no column that looks like a label (a value that several rows "
            "share): add one that says which rows belong together and name it with --label, or "
            f"bring pairs, in columns anchor and positive. It has: {_all(table)}"
        )
    if table.untyped and not usable and found[0] in seen.columns[found[0]].to_pylist():
        raise DataError(
            f"{table.where}: its first line seems to be a row, not the names of the columns "
            f"({found[0]!r} is also a value below); write a line of names above it, or name the "
            "label with --label"
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


def _all(table: Table) -> str:
    return ", ".join(map(repr, sorted(table.types)))
