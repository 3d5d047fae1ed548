"""Text of data, files and servers made safe to print: no control characters, no secrets, no end.

What comes from data may hold escape sequences that a terminal obeys (colours, titles, the
clipboard), marks that turn the direction of writing, halves of characters that cannot be written
at all; a value may be of any length.
"""

from __future__ import annotations

import json
import re
from typing import Any

from miner.storage.urls import without_secrets

__all__ = ["is_text", "printable", "printable_json", "short_message"]

_HEAD, _TAIL = 1100, 500
"""What is shown of a message that is too long: its beginning, and what to do."""
_UNSAFE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_IN_LINE = re.compile(f"[{_UNSAFE}\n\t]")


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
