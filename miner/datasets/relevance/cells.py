"""Cells of a table of decisions, which a spreadsheet may change.

A spreadsheet takes some texts for numbers, dates or formulas. Such a text is written with an
apostrophe before it (`guarded`), and one apostrophe is removed when it is read (`bare`).
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["CUT", "DROP", "bare", "guarded", "label_text"]

DROP = "drop"
"""The decision to leave a row out."""
CUT = " [...]"
"""The end of a text that was shortened for the table."""
_MARK = "'"
_LONGEST = 15
"""The most digits of a number that spreadsheets keep."""
_TAKEN = re.compile(
    r"""\s*[=+\-@'].* | [\t\r\n].*     # a formula, or the mark itself
      | [\W_]*\d.{0,30}                # a number, an amount, a date, a time
      | [^\W\d_]{3,}[ ./-]?\d{1,4}     # perhaps a month with a day or a year
      | (?i:true|false|wahr|falsch|vrai|faux|verdadero|falso|vero)""",
    re.VERBOSE | re.DOTALL,
)
"""Texts that a spreadsheet could take for something else."""


def guarded(value: Any) -> str:
    """Return a value as the text of a cell that a spreadsheet does not change."""
    text = label_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        taken = len(text) > _LONGEST
    else:
        taken = text.strip().lower() == DROP or _TAKEN.fullmatch(text) is not None
    return _MARK + text if taken else text


def bare(cell: str) -> str:
    """Return the text of a cell without the mark."""
    return cell.removeprefix(_MARK)


def label_text(value: Any) -> str:
    """Return the text by which a table of decisions names a label or an id."""
    return str(value).lower() if isinstance(value, bool) else str(value)
