"""Decisions of a person on labelled items: other labels, rows left out, and pairs to ignore."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa

from miner.datasets.content import is_list
from miner.datasets.relevance.cells import DROP, bare, label_text
from miner.datasets.relevance.codes import Codes, encoded, known_values, spelled_names
from miner.datasets.relevance.corrections import (
    UNKNOWN,
    WORDS,
    Corrections,
    Decision,
    matched_rows,
    refuse_other_text,
    two_decisions,
)
from miner.datasets.roles import TableRoles
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import NONE, Relevance, anchor_rows, without_pairs

__all__ = ["corrected_items", "ignored_pairs"]


def corrected_items(items: Items, side: TableRoles, corrections: Corrections) -> Items:
    """Return items with the labels that a person decided on; rows to leave out have none.

    Parameters
    ----------
    items : Items
    side : TableRoles
    corrections : Corrections
        Its `labels` are used.

    Raises
    ------
    DataError
        If a decision fits neither the data nor another decision.
    """
    own, outcome = corrections.labels, corrections.outcome
    rows = matched_rows(own, 0, items, skip=side.skip)
    refuse_other_text(own, 0, items, rows)
    outcome["left_out"] += int((rows == NONE).sum())
    outcome["unknown"] += int((rows == UNKNOWN).sum())
    if is_list(items.labels.type):
        return _without_dropped(items, own, rows, outcome)
    codes, names = encoded(known_values(items, items.labels, side.label))
    texts, first = _LabelTexts(spelled_names(names)), dict[int, tuple[Decision, int]]()
    changed = codes.copy()
    for one, row in zip(own, rows.tolist(), strict=True):
        wanted = texts.decided(one)
        if row < 0:
            continue
        before, decided = first.setdefault(row, (one, wanted))
        if decided != wanted:
            raise two_decisions(before, one)
        if before is not one or wanted == codes[row]:
            outcome["unchanged"] += 1
            continue
        seen = texts.find(one.label) if one.label else None
        if seen is not None and seen != codes[row]:
            now = texts.shown(int(codes[row])) if codes[row] != NONE else ""
            raise DataError(
                f"{one.where}: its label was {texts.shown(seen)!r} at the review and is {now!r} "
                "now; decide again, or empty that cell to apply the decision anyway"
            )
        changed[row] = wanted
        outcome["dropped" if wanted == NONE else "relabelled"] += 1
    taken = pa.array(changed, mask=changed == NONE)
    return dataclasses.replace(items, labels=names.take(taken))


def _without_dropped(
    items: Items, own: Sequence[Decision], rows: Codes, outcome: Counter[str]
) -> Items:
    """Return items with lists of labels without the rows that a person dropped."""
    kept = np.ones(len(items), dtype=np.bool_)
    for one, row in zip(own, rows.tolist(), strict=True):
        if one.word.strip().lower() != DROP:
            raise DataError(
                f"{one.where}: the rows have lists of labels, which a table of decisions cannot "
                f"change; correct {items.where}, or write {DROP} to leave the row out"
            )
        if row >= 0:
            there = kept[row] and bool(items.labels[row].as_py())
            outcome["dropped" if there else "unchanged"] += 1
            kept[row] = False
    taken = pa.array(np.arange(len(items)), mask=~kept)
    return dataclasses.replace(items, labels=items.labels.take(taken))


def ignored_pairs(
    relevance: Relevance,
    items: Items,
    keep: Codes,
    labels: tuple[Codes, Codes],
    corrections: Corrections,
    *,
    skip: bool,
) -> Relevance:
    """Return a relevance without the pairs that a person decided to ignore, in both directions.

    Parameters
    ----------
    relevance : Relevance
    items : Items
    keep : ndarray of int64
        The items that are rows of the relevance, ascending.
    labels : tuple of ndarray of int64
        Item i has the labels ``labels[1][labels[0][i]:labels[0][i + 1]]``.
    corrections : Corrections
        Its `pairs` are used.
    skip : bool
        Whether unknown ids are allowed.

    Raises
    ------
    DataError
        If a decision fits neither the labels nor another decision.
    """
    on_pairs, outcome = corrections.pairs, corrections.outcome
    both = [matched_rows(on_pairs, side, items, skip=skip) for side in (0, 1)]
    for side, rows in enumerate(both):
        refuse_other_text(on_pairs, side, items, rows)
    place = np.full(len(items), NONE, dtype=np.int64)
    place[keep] = np.arange(len(keep))
    first, found = dict[tuple[int, int], Decision](), []
    for one, a, b in zip(on_pairs, *(rows.tolist() for rows in both), strict=True):
        word = one.pair_word
        if min(a, b) < 0 or NONE in (place[a], place[b]):
            outcome["unknown" if UNKNOWN in (a, b) else "left_out"] += 1
            continue
        before = first.setdefault((min(a, b), max(a, b)), one)
        if before.pair_word != word:
            raise two_decisions(before, one)
        _refuse_against_labels(one, a, b, labels)
        if word == "ignore" and before is one:
            found.append((place[a], place[b]))
            outcome["ignored"] += 1
        else:
            outcome["unchanged"] += 1
    if not found:
        return relevance
    anchors = np.full(relevance.rows, NONE, dtype=np.int64)
    anchors[anchor_rows(relevance)] = np.arange(relevance.anchors)
    some, others = np.array(found + [(b, a) for a, b in found]).T
    pairs = anchors[some] * relevance.rows + others
    return without_pairs(relevance, np.unique(pairs[anchors[some] != NONE]))


def _refuse_against_labels(one: Decision, a: int, b: int, labels: tuple[Codes, Codes]) -> None:
    """Raise a `DataError` for a decision that only other labels can express."""
    if a == b:
        raise DataError(f"{one.where}: a row and itself are no pair; mend the ids")
    mine, other = (labels[1][slice(*labels[0][row : row + 2])] for row in (a, b))
    shared = bool(len(np.intersect1d(mine, other)))
    if one.pair_word == ("negative" if shared else "positive"):
        have = "share a label" if shared else "have different labels"
        raise DataError(
            f"{one.where}: the two {have}, so they are no {one.pair_word} pair; give one of them "
            "another label in a row of its own, or write ignore for neither"
        )


class _LabelTexts:
    """The labels of the data, to be found by their texts.

    Parameters
    ----------
    names : pyarrow.Array
        The value of each code.
    """

    def __init__(self, names: Any) -> None:
        self._kind = names.type
        self._names = [label_text(value) for value in names.to_pylist()]
        self._codes = {self._key(name): code for code, name in enumerate(self._names)}

    def _key(self, text: str) -> Any:
        types = pa.types
        if types.is_integer(self._kind) or types.is_floating(self._kind):
            try:
                number = Decimal(text.strip())
            except InvalidOperation:
                return None
            return number if number.is_finite() else None
        return text.strip().lower() if types.is_boolean(self._kind) else text

    def find(self, cell: str) -> int | None:
        """Return the code of a label; None if no row has it."""
        for text in (bare(cell), cell, cell.strip()):
            code = self._codes.get(self._key(text))
            if code is not None:
                return code
        return None

    def decided(self, one: Decision) -> int:
        """Return the code of the label that a decision names, or `NONE` for `DROP`.

        Raises
        ------
        DataError
            If no row has this label.
        """
        if one.word.strip().lower() == DROP:
            return NONE
        code = self.find(one.word)
        if code is None and one.word.strip().lower() in WORDS:
            raise DataError(
                f"{one.where}: {one.word.strip()[:40]!r} is for pairs; fill in other_id, or write "
                f"a label, or {DROP}"
            )
        if code is None:
            text = bare(one.word)[:40]
            close = get_close_matches(text, self._names, n=1, cutoff=0.5)
            near = f" (did you mean {close[0]!r}?)" if close else ""
            raise DataError(
                f"{one.where}: no row has the label {text!r}{near}; write a label of the data, "
                f"{DROP} to leave the row out, or nothing to keep it"
            )
        return code

    def shown(self, code: int) -> str:
        """Return the text of a label, shortened."""
        return self._names[code][:40]
