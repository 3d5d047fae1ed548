"""Format numbers, and make text from data, files and servers safe to print.

Text from outside may contain escape sequences that a terminal executes (colours, titles, the
clipboard), marks that change the direction of writing, and lone surrogates, which cannot be encoded
as UTF-8. It may have any length, and URLs in it may contain credentials.
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
"""Characters of a line of terminal output."""

_HEAD, _TAIL = 1100, 500
"""Characters kept at the start and at the end of a long message: the end says what to do."""
_UNSAFE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_IN_LINE = re.compile(f"[{_UNSAFE}\n\t]")
_SECRET = re.compile(r"(?<=://)[^/@\s]*@")


def is_text(name: str) -> bool:
    """Return whether a file name can be encoded as UTF-8; the system allows any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return the text with control characters escaped, except newlines and tabs."""
    return _IN_TEXT.sub(_escape, text)


def short_message(text: str) -> str:
    """Return a message as one printable line, without credentials in URLs, shortened if long."""
    line = _IN_LINE.sub(_escape, without_secrets(text))
    if len(line) <= _HEAD + _TAIL:
        return line
    return f"{line[:_HEAD]} [...] {line[-_TAIL:]}"


def printable_json(facts: Any) -> str:
    """Return facts as indented JSON that is safe to print and parses to the same values."""
    return _IN_TEXT.sub(_json_escape, json.dumps(facts, indent=2, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def without_secrets(text: str) -> str:
    """Remove ``user:password@`` from the URLs in a text."""
    return _SECRET.sub("", text)


def count_text(value: float) -> str:
    """Return a count with thousands separators."""
    return f"{round(value):,}"


def counted(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun, such as ``1 row`` or ``2,000 rows``.

    Parameters
    ----------
    count : int
    noun : str
        The singular.
    nouns : str
        The plural, if it is not the singular with an ``s``.
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def share_text(value: float | None) -> str:
    """Return a share in percent, or a dash for None; never round to exactly 0 or 100."""
    if value is None:
        return "\N{EN DASH}"
    if value and value < 0.00005:
        return "< 0.01\u00a0%"
    if 0.99995 < value < 1:
        return "> 99.99\u00a0%"
    return f"{100 * value:.2f}\u00a0%"


def distance_text(value: float) -> str:
    """Return a distance as text; a value that is not 0 is never rounded to 0."""
    if value and not 0.00005 <= abs(value) < 1000:
        return f"{value:.4g}"
    return f"{value + 0.0:.4f}"


def scale_text(value: float, step: float) -> str:
    """Return a value on an axis with as many digits as the step between ticks needs."""
    last = math.floor(math.log10(step))
    if -4 <= last < 6:
        return f"{value:,.{max(0, -last)}f}"
    first = math.floor(math.log10(abs(value))) if value else last
    return f"{value:.{max(first - last, 0) + 1}g}"


def seconds_text(value: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if value < 120:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:,.0f} min" if value < 7200 else f"{value / 3600:,.1f} h"


def bytes_text(value: float) -> str:
    """Return a size in the largest unit that gives at least 1."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


def change_text(change: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * change:+.2f}"


def cut_line(line: str) -> str:
    """Return a text as one line of at most `LINE_WIDTH` characters."""
    line = printable(" ".join(line.split("\n")))
    return line if len(line) <= LINE_WIDTH else line[: LINE_WIDTH - 3] + "..."
