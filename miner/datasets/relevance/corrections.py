"""The decisions of a person on labels and pairs (`dataset.corrections`).

The table comes from ``mine export --format review`` and went through a spreadsheet, which may
change the order and drop rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table, data_errors, require_column
from miner.datasets.content import content_digests, folded
from miner.datasets.formats.files import TEXTS, extension, open_bytes
from miner.datasets.ids import id_values
from miner.datasets.opening import open_table
from miner.datasets.relevance.cells import CUT, bare
from miner.datasets.relevance.codes import Codes
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.storage.urls import expanded
from miner.triplets.relevance import NONE

__all__ = [
    "OUTCOMES",
    "UNKNOWN",
    "WORDS",
    "Corrections",
    "Decision",
    "matched_rows",
    "open_corrections",
    "read_corrections",
    "refuse_other_text",
    "two_decisions",
]

WORDS = ("positive", "negative", "ignore")
"""The decisions on a pair."""
OUTCOMES = (
    *("relabelled", "dropped", "positives", "negatives", "ignored"),
    *("unchanged", "undecided", "left_out", "unknown"),
)
"""What became of a row of the table: the manifest counts the rows by these."""
UNKNOWN = -2
"""The row of an id that no row has."""
_KEY = "dataset.corrections"
_CELLS = ("kind", "id", "other_id", "decision", "label", "text", "other_text")


@dataclass(frozen=True, slots=True)
class Decision:
    """A row of the table that has a decision.

    Attributes
    ----------
    where : str
        The file, the row and the ids, for messages.
    ids : tuple of one or two str
        The item, or the anchor and the other row of a pair, as they are written.
    word : str
        The decision, as in its cell.
    label : str
        The label at the time of the review, or ''.
    texts : tuple of str
        The texts of the rows at the time of the review, or ''.
    """

    where: str
    ids: tuple[str, ...]
    word: str
    label: str
    texts: tuple[str, ...]

    @property
    def pair_word(self) -> str:
        """The decision on a pair, one of `WORDS`.

        Raises
        ------
        DataError
            If it is none of them.
        """
        word = self.word.strip().lower()
        if word not in WORDS:
            raise DataError(
                f"{self.where}: the decision {self.word[:40]!r} is none of {', '.join(WORDS)}; "
                "write one of these, or nothing"
            )
        return word


def _nothing() -> Counter[str]:
    return Counter(dict.fromkeys(OUTCOMES, 0))


@dataclass(frozen=True, slots=True)
class Corrections:
    """The decisions of a person.

    Attributes
    ----------
    labels, pairs : list of Decision
        Those on the label of an item, and those on a pair.
    outcome : Counter
        The number of rows of the table by what became of them (`OUTCOMES`); who applies the
        decisions counts them here.
    """

    labels: list[Decision] = field(default_factory=list)
    pairs: list[Decision] = field(default_factory=list)
    outcome: Counter[str] = field(default_factory=_nothing)

    def __bool__(self) -> bool:
        """Whether there is any decision."""
        return bool(self.labels or self.pairs)


def open_corrections(path: str) -> tuple[Table, ...]:
    """Open each file of a table of decisions as a table of its own.

    Raises
    ------
    DataError
        If no file exists there, a file is not UTF-8, or it has no ids or no decisions.
    """
    tables = []
    alone = expanded(path)
    for file in [alone] if alone.is_file() else open_table(path).files:
        if extension(file) in TEXTS:
            _refuse_encoding(file)
        table = open_table(str(file))
        for name in ("id", "decision"):
            require_column(table, name, _KEY)
        tables.append(table)
    return tuple(tables)


def _refuse_encoding(file: Path) -> None:
    """Raise a `DataError` for a file that is not UTF-8, as `dataset.encoding` is not about it."""
    try:
        with data_errors(str(file)), open_bytes(file) as opened:
            text = opened.read()
        text.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8; save it as CSV in UTF-8 (in Excel the type is called CSV UTF-8)"
        ) from error


def read_corrections(tables: Sequence[Table]) -> Corrections:
    """Read the decisions of all tables.

    Raises
    ------
    DataError
        If a row has a decision and no id, or a row on a pair has no second id.
    """
    found = Corrections()
    for table in tables:
        for where, cells in _rows(table):
            if cells["decision"].strip():
                one = _decision(where, cells)
                (found.pairs if len(one.ids) == 2 else found.labels).append(one)
            elif cells["id"].strip():
                found.outcome["undecided"] += 1
    return found


def _rows(table: Table) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield for each row where it is, and its cells as text; '' for a missing cell."""
    names = [name for name in _CELLS if name in table.types]
    row = 2 if table.untyped else 0  # a spreadsheet numbers its rows from 1, the header included
    for batch in table.batches(names):
        columns = {name: _texts(table, name, batch.column(name)) for name in names}
        for values in zip(*columns.values(), strict=True):
            cells = dict.fromkeys(_CELLS, "") | dict(zip(columns, values, strict=True))
            yield f"{table.where}, row {row}", cells
            row += 1


def _texts(table: Table, name: str, column: Any) -> list[str]:
    where = f"{table.where}, column {name!r}"
    try:
        if pa.types.is_floating(column.type) and name in ("id", "other_id"):
            column = id_values(column, where)
        texts: list[str] = column.cast(pa.string()).fill_null("").to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{where}: its values must be text, not {column.type}") from error
    return texts


def _decision(where: str, cells: dict[str, str]) -> Decision:
    ids, kind = (cells["id"], cells["other_id"]), cells["kind"].strip().lower()
    if not ids[0].strip():
        raise DataError(f"{where} has a decision and no id; fill the id in, or remove the row")
    if kind not in ("", "label", "pair"):
        raise DataError(f"{where}: the kind {kind[:40]!r} is neither label nor pair; mend it")
    pair = kind == "pair" or (not kind and bool(ids[1].strip()))
    if pair and not ids[1].strip():
        raise DataError(f"{where} is on a pair and has no other_id; fill it in, or remove the row")
    named = ids if pair else ids[:1]
    shown = ", ".join(bare(one)[:40] for one in named)
    texts = (cells["text"], cells["other_text"])[: len(named)]
    return Decision(f"{where} ({shown})", named, cells["decision"], cells["label"], texts)


def matched_rows(decisions: Sequence[Decision], side: int, items: Items, *, skip: bool) -> Codes:
    """Return the row in `items` of an id of each decision.

    Parameters
    ----------
    decisions : sequence of Decision
    side : int
        Which of the ids: 0, or 1 for the other row of a pair.
    items : Items
    skip : bool
        Whether unknown ids are allowed.

    Returns
    -------
    ndarray of int64
        `NONE` for rows that were left out of the data, `UNKNOWN` for unknown ids.

    Raises
    ------
    DataError
        If an id is unknown.
    """
    known, dropped = (ids.cast(pa.string()) for ids in (items.ids, items.dropped))
    found = np.full(len(decisions), UNKNOWN, dtype=np.int64)
    for read in (bare, str):  # an id may begin with an apostrophe, and a spreadsheet may hide one
        cells = pa.array([read(one.ids[side]) for one in decisions], pa.string())
        left_out = pc.is_in(cells, value_set=dropped).to_numpy(zero_copy_only=False)
        rows = pc.index_in(cells, value_set=known).fill_null(UNKNOWN).to_numpy().astype(np.int64)
        rows = np.where(left_out & (rows == UNKNOWN), NONE, rows)
        found = np.where(found == UNKNOWN, rows, found)
    unknown = np.flatnonzero(found == UNKNOWN)
    if len(unknown) and not skip:
        one = decisions[int(unknown[0])]
        raise DataError(
            f"{one.where}: {bare(one.ids[side])[:40]!r} is not an id of {items.where}; mend it (a "
            "spreadsheet may have changed it, such as 007 to 7), remove the row, or leave such "
            'rows out and count them: dataset.on_error = "skip"'
        )
    return found


def refuse_other_text(decisions: Sequence[Decision], side: int, items: Items, rows: Codes) -> None:
    """Raise a `DataError` if a row has another text than at the time of the review."""
    if items.folded is None:
        return
    for one, row in zip(decisions, rows.tolist(), strict=True):
        text = one.texts[side]
        if row < 0 or not text.strip() or text.endswith(CUT):
            continue
        read = content_digests([folded(bare(text)), folded(text)])
        if items.folded[row] not in read:
            name = "other_text" if side else "text"
            raise DataError(
                f"{one.where}: its {name} is not the one in {items.where}; the table was made from "
                "other data, or was edited: decide again, or empty that cell to apply it anyway"
            )


def two_decisions(before: Decision, after: Decision) -> DataError:
    """Return the error for two rows that decide differently on one thing."""
    return DataError(
        f"{before.where} has the decision {before.word[:40]!r}, {after.where} has "
        f"{after.word[:40]!r}; keep one of them"
    )
