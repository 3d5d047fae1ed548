"""Text of data, files and servers made safe to print: no control characters, no secrets, no end.

What comes from data may hold escape sequences that a terminal obeys (colours, titles, the
clipboard), marks that turn the direction of writing, halves of characters that cannot be written
at all; a value may be of any length.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

__all__ = [
    "LINE_WIDTH",
    "bytes_text",
    "change_text",
    "count_text",
    "counted",
    "cut_line",
    "distance_text",
    "is_text",
    "printable",
    "printable_json",
    "scale_text",
    "seconds_text",
    "share_text",
    "short_message",
    "without_secrets",
]

LINE_WIDTH = 78
"""Columns of a line of text for a terminal."""

_HEAD, _TAIL = 1100, 500
"""What is shown of a message that is too long: its beginning, and what to do."""
_UNSAFE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_IN_LINE = re.compile(f"[{_UNSAFE}\n\t]")
_SECRET = re.compile(r"(?<=://)[^/@\s]*@")


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: to the system any bytes are one."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return a text whose control characters, but for new lines and tabs, are escapes."""
    return _IN_TEXT.sub(_escape, text)


def short_message(text: str) -> str:
    """Return a message on one line: printable, without secrets of URLs, cut in the middle."""
    line = _IN_LINE.sub(_escape, without_secrets(text))
    if len(line) <= _HEAD + _TAIL:
        return line
    return f"{line[:_HEAD]} [...] {line[-_TAIL:]}"


def printable_json(facts: Any) -> str:
    """Return facts as JSON that reads back as the same, and is safe to print."""
    return _IN_TEXT.sub(_json_escape, json.dumps(facts, indent=2, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def without_secrets(text: str) -> str:
    """Leave ``user:password@`` out of the URLs in a text."""
    return _SECRET.sub("", text)


def count_text(value: float) -> str:
    """Write a count with separators."""
    return f"{round(value):,}"


def counted(count: int, noun: str, nouns: str = "") -> str:
    """Write a count with its noun, such as ``1 row`` and ``2,000 rows``.

    Parameters
    ----------
    count : int
    noun : str
        Of one.
    nouns : str
        Of several, where that is not the noun with an ``s``.
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def share_text(value: float | None) -> str:
    """Write a share in percent, and never 0 or 100 for what is not; a dash for one of nothing."""
    if value is None:
        return "\N{EN DASH}"
    if value and value < 0.00005:
        return "< 0.01\u00a0%"
    if 0.99995 < value < 1:
        return "> 99.99\u00a0%"
    return f"{100 * value:.2f}\u00a0%"


def distance_text(value: float) -> str:
    """Write a distance, and never 0 for what is not."""
    if value and not 0.00005 <= abs(value) < 1000:
        return f"{value:.4g}"
    return f"{value + 0.0:.4f}"


def scale_text(value: float, step: float) -> str:
    """Write a value of a scale with the digits that its steps need."""
    last = math.floor(math.log10(step))
    if -4 <= last < 6:
        return f"{value:,.{max(0, -last)}f}"
    first = math.floor(math.log10(abs(value))) if value else last
    return f"{value:.{max(first - last, 0) + 1}g}"


def seconds_text(value: float) -> str:
    """Write a duration in the unit that people would name it by."""
    if value < 120:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:,.0f} min" if value < 7200 else f"{value / 3600:,.1f} h"


def bytes_text(value: float) -> str:
    """Write a size in the largest unit of which there is one."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


def change_text(change: float) -> str:
    """Write a difference of shares in percentage points."""
    return f"{100 * change:+.2f}"


def cut_line(line: str) -> str:
    """Return a text on one line of the terminal, cut where it is too long."""
    line = printable(" ".join(line.split("\n")))
    return line if len(line) <= LINE_WIDTH else line[: LINE_WIDTH - 3] + "..."
