"""Which keys of two jobs differ: why a run is a new one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["changed_keys", "describe_changes"]

_ABSENT = object()
_SHOWN, _WIDTH = 3, 40
_WORDS = {"mine": "mine", "store.files": "dataset", "store.model": "model"}
"""What keys of an identity are called where they stand for something of the user's; with all below
them."""


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what differs between two identities.

    Parameters
    ----------
    before, after : mapping
        Nested, of what JSON can hold.

    Returns
    -------
    list of (key, was, is)
        Keys are dotted as in the job file, in order; values are shortened, "unset" where there is
        none.
    """
    old, new = dict(_flat(before)), dict(_flat(after))
    found: dict[str, tuple[str, str]] = {}
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if was is _ABSENT or now is _ABSENT or was != now:
            name = _name(key)
            # A data set or a model is told by its name alone: checksums tell nobody anything.
            words = ("", "") if name in _WORDS.values() else (_short(was), _short(now))
            found.setdefault(name, words)
    return [(name, *words) for name, words in found.items()]


def describe_changes(changes: list[tuple[str, str, str]]) -> str:
    """Say it in words, the first few keys of it."""
    said = [f"{key} (was {was}, is {now})" if was else key for key, was, now in changes[:_SHOWN]]
    more = len(changes) - _SHOWN
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", inner


def _name(key: str) -> str:
    for prefix, word in _WORDS.items():
        if key == prefix or key.startswith(f"{prefix}."):
            return word
    return key.removeprefix("job.").removeprefix("store.")


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "unset"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
