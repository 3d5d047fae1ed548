"""What stands behind the ids of a run: texts, labels and pictures of rows, made fit to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from miner.datasets.source import Source
from miner.embedding.store import Store
from miner.errors import MineError
from miner.formatting import printable
from miner.inspection.report.thumbnails import thumbnails
from miner.triplets.relevance import Relevance
from miner.triplets.relevance.row_labels import Labels, labels_of
from miner.triplets.types import Rows

__all__ = ["Contents", "Item", "cut_text", "label_text"]


_MOST_TEXT, _MOST_NAME = 280, 64
"""Characters of a text, and of an id or label, that are shown."""
_MOST_MARKS = 4


@dataclass(frozen=True, slots=True)
class Item:
    """A row as it is shown: text and picture are empty where there is none."""

    id: str
    label: str = ""
    text: str = ""
    picture: str = ""


def cut_text(value: Any, most: int = _MOST_NAME) -> str:
    """Return a value as one printable line of bounded length and height."""
    line = " ".join(_low(printable(str(value)[: 4 * most])).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def label_text(value: Any) -> str:
    """Return a label as `cut_text` does, and words for one of which nothing is to be seen."""
    return cut_text(value) or "(blank)"


def _low(text: str) -> str:
    """Drop marks that are piled on one letter: writing has few, and more cover other lines."""
    if text.isascii():
        return text
    kept, pile = [], 0
    for letter in text:
        pile = pile + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if pile <= _MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


@dataclass
class Contents:
    """Looks rows up.

    Parameters
    ----------
    store : Store or None
        The vectors' store of the run, where it is still there: it knows texts and labels.
    source : Source or None
        The data, where they are still there: only they hold images.
    """

    store: Store | None
    source: Source | None
    _pictures: dict[tuple[int, str], str] = field(default_factory=dict)

    @cached_property
    def relevance(self) -> Relevance | None:
        """Who is relevant to whom."""
        return None if self.store is None else self.store.relevance()

    @cached_property
    def _labels(self) -> Labels | None:
        return None if self.relevance is None else labels_of(self.relevance)

    @property
    def row_side(self) -> int:
        """The side of positives and negatives."""
        if self.store is not None:
            return self.store.row_side
        return 0 if self.source is None else len(self.source.sides) - 1

    def ids(self, side: int, rows: Rows) -> list[Any]:
        """Return the ids of some rows."""
        assert self.store is not None
        return list(self.store.ids(side).take(rows).to_pylist())

    def items(self, side: int, ids: Sequence[Any], rows: Rows) -> list[Item]:
        """Return rows as they are shown; `rows` are -1 where only the id is known."""
        known = np.flatnonzero(rows >= 0)
        texts = dict(zip(known.tolist(), self._texts(side, rows[known]), strict=False))
        labels = dict(zip(known.tolist(), self._names(side, rows[known]), strict=False))
        return [
            Item(
                cut_text(one),
                labels.get(place, ""),
                texts.get(place, ""),
                self._pictures.get((side, str(one)), ""),
            )
            for place, one in enumerate(ids)
        ]

    def items_by_id(self, side: int, ids: Sequence[Any]) -> list[Item]:
        """Return rows as they are shown, by their ids."""
        rows = np.full(len(ids), -1, dtype=np.int64)
        if self.store is not None and len(ids):
            rows = self.store.ids(side).rows_of(ids)
        return self.items(side, ids, rows)

    def _texts(self, side: int, rows: Rows) -> list[str]:
        spool = None if self.store is None else self.store.texts(side)
        if spool is None or not len(rows):
            return []
        return [cut_text(text, _MOST_TEXT) for text in spool.take(rows).to_pylist()]

    def _names(self, side: int, rows: Rows) -> list[str]:
        names = None if self.store is None else self.store.label_names()
        if names is None or self._labels is None or not len(rows):
            return []
        codes = self._labels.anchors if side == 0 else self._labels.rows
        return [label_text(name) for name in names.take(codes[rows]).to_pylist()]

    def load_pictures(self, wanted: Iterable[tuple[int, Any]]) -> None:
        """Read the pictures of some (side, id) once, so that `items` shows them.

        Data that changed or cannot be read any more leave the page without pictures.
        """
        if self.source is None or self.source.kind != "image":
            return
        by_side: dict[int, set[str]] = {}
        for side, one in wanted:
            number = min(side, len(self.source.sides) - 1)
            by_side.setdefault(number, set()).add(str(one))
        for number, ids in by_side.items():
            try:
                found = thumbnails(self.source.sides[number], sorted(ids))
            except (MineError, OSError):
                continue
            for side in {number, self.row_side if number == len(self.source.sides) - 1 else 0}:
                self._pictures |= {(side, one): url for one, url in found.items()}
