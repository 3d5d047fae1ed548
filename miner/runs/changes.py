"""Lists the keys that differ between two run identities: the reasons for a new run."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["changed_keys", "describe_changes"]

_ABSENT = object()
_SHOWN, _WIDTH = 3, 40
_WORDS = {
    "mine": "mine",
    "store.files": "dataset",
    "store.model": "model",
    "scores": "teacher.model",
    "candidates": "candidates.runs",
    "store.corrections": "dataset.corrections",
}
"""User-facing names of groups of identity keys; each includes all keys below it."""
_KEYS = {
    "index": "index.factory",
    "store.normalize": "mining.normalize",
    "store.texts": "output.content",
    "texts": "output.content",
    "store.links.0": "dataset.link_query",
    "store.links.1": "dataset.link_corpus",
    "store.links.2": "dataset.link_score",
}
"""The job key that determines an identity key, if their names differ."""
_LIST = re.compile(r"store\.(roles|prompts)\.([01])(?:\.(\w+))?")
"""Identity keys of each side: 0 is the items or the queries, 1 is the corpus."""
_ROLES = {
    "kind": "kind of content",
    "origin": "the columns of pairs or dataset.where",
    "across": "dataset.positives_across",
    "within": "dataset.negatives_within",
}
_PROMPTS = {"0": "query_prompt", "1": "document_prompt"}


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the differences of two identities.

    Parameters
    ----------
    before, after : mapping
        Nested mappings of JSON values.

    Returns
    -------
    list of (key, was, is)
        Keys are dotted as in the job file, and sorted. Values are shortened texts; a missing value
        is "unset".
    """
    old, new = dict(_flat(before)), dict(_flat(after))
    pairs = any("store.roles.1.kind" in one for one in (old, new))
    found: dict[str, tuple[str, str]] = {}
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if _text(was) != _text(now):  # an absent key and a null are both unset
            name = _name(key, pairs=pairs)
            # Checksums of a data set or a model would not help the user.
            words = ("", "") if name in _WORDS.values() else _both(was, now)
            found.setdefault(name, words)
    return [(name, *words) for name, words in found.items()]


def describe_changes(changes: list[tuple[str, str, str]]) -> str:
    """Return the first few changes as a text."""
    said = [f"{key} (was {was}, is {now})" if was else key for key, was, now in changes[:_SHOWN]]
    more = len(changes) - _SHOWN
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")


def _flat(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all nested values with dotted keys; the items of lists per side get their index."""
    for key, inner in value.items():
        name = f"{above}{key}"
        if name in ("store.roles", "store.prompts", "store.links") and isinstance(inner, list):
            inner = {str(number): one for number, one in enumerate(inner)}
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{name}.")
        else:
            yield name, inner


def _name(key: str, *, pairs: bool) -> str:
    """Return the name that the job file uses for an identity key."""
    for prefix, word in _WORDS.items():
        if key == prefix or key.startswith(f"{prefix}."):
            return word
    listed = _LIST.fullmatch(key)
    if listed is None:
        return _KEYS.get(key, key.removeprefix("job.").removeprefix("store."))
    kind, side, role = listed.groups()
    if kind == "prompts":
        return f"model.{_PROMPTS[side]}" if pairs else "model.prompt"
    if role == "where" and pairs and side == "0":
        return "dataset.anchors"
    return _ROLES.get(role) or f"dataset.{role or 'path'}"


def _both(was: Any, now: Any) -> tuple[str, str]:
    """Return the texts of two different values, shortened so that they still differ."""
    texts = [_text(was), _text(now)]
    equal = (a == b for a, b in zip(*texts, strict=False))
    same = sum(itertools.takewhile(bool, equal))
    cut = max(0, same - _WIDTH // 2) if max(map(len, texts)) > _WIDTH else 0
    first, second = (_short(text, cut) for text in texts)
    return first, second


def _text(value: Any) -> str:
    return "unset" if value is _ABSENT or value is None else json.dumps(value, ensure_ascii=True)


def _short(text: str, cut: int) -> str:
    """Return a text without its first `cut` characters, at most `_WIDTH` characters long."""
    text = f"...{text[cut:]}" if cut else text
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
