"""The verdict on each row of a table of pairs as a number: above 0, the pair is a positive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.content import is_string
from miner.errors import DataError

__all__ = ["is_verdict", "verdict_of", "verdicts"]

_YES = (
    *("true", "yes", "entailment", "entails", "duplicate", "paraphrase", "equivalent", "relevant"),
    *("positive", "match", "similar", "same"),
)
_NO = (
    *("false", "no", "contradiction", "contradicts", "neutral", "not_entailment", "irrelevant"),
    *("non_entailment", "not_duplicate", "non_duplicate", "not_paraphrase", "not_equivalent"),
    *("not_relevant", "non_relevant", "negative", "no_match", "dissimilar", "different"),
)
_WORDS = dict.fromkeys(_YES, 1.0) | dict.fromkeys(_NO, 0.0)
_NONE = ("", "_", "nan", "null", "none", "na", "n/a")
"""How a missing verdict is written; SNLI has a hyphen."""


def is_verdict(kind: Any) -> bool:
    """Whether a column of this type can hold verdicts."""
    types = pa.types
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    return bool(is_string(kind) or numbers or types.is_boolean(kind))


def verdict_of(text: str | None) -> float | None:
    """Return the number for a verdict that is written as text.

    Returns
    -------
    float or None
        NaN for a missing verdict; None if the text is no verdict.
    """
    word = (text or "").strip().lower().replace(" ", "_").replace("-", "_")
    if word in _NONE:
        return np.nan
    if word in _WORDS:
        return _WORDS[word]
    try:
        return float(text or "")
    except ValueError:
        return None


def verdicts(column: Any, where: str, start: int, *, words: bool) -> NDArray[np.float64]:
    """Return the verdicts in a column as numbers; NaN where one is missing.

    Parameters
    ----------
    column : pyarrow.Array
    where : str
        The table and the column, for messages.
    start : int
        The number of the first row.
    words : bool
        Whether numbers are refused: for textual entailment, 0 is usual for `entailment`, and also
        for its opposite.

    Raises
    ------
    DataError
        If a value is no verdict.
    """
    if not is_string(column.type):
        if words and not pa.types.is_boolean(column.type) and column.null_count < len(column):
            raise _unclear(where)
        values = pc.cast(column, pa.float64(), safe=False)
        return np.asarray(values.fill_null(np.nan).to_numpy(zero_copy_only=False))
    coded = column.dictionary_encode()
    found = [verdict_of(text) for text in coded.dictionary.to_pylist()]
    for place, (text, value) in enumerate(zip(coded.dictionary.to_pylist(), found, strict=True)):
        if value is None:
            row = start + int(pc.index(coded.indices, place).as_py())
            raise DataError(
                f"{where}, row {row}: {text[:40]!r} is no verdict on a pair (a number, true or "
                "false, entailment or contradiction); name the column of scores by "
                'dataset.pair_score ("" for none), or the label of items by dataset.label'
            )
        if words and not np.isnan(value) and text.strip()[-1:].isdigit():
            raise _unclear(where)
    numbers = np.array([*found, np.nan], dtype=np.float64)
    places = coded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return np.asarray(numbers[places])


def _unclear(where: str) -> DataError:
    return DataError(
        f"{where}: some write entailment as 0 and some as 1; write words (entailment, neutral, "
        'contradiction), or set dataset.pair_score = "" and dataset.where, such as "label = 0"'
    )
