"""List the registered models and teachers."""

from __future__ import annotations

from typing import Any

from miner.embedding.models.base import DEFAULTS, MODELS
from miner.embedding.models.pairs.load import PAIR_MODELS
from miner.errors import UsageError
from miner.registry import Entry, load_attribute

__all__ = ["describe_models", "list_models"]

_OR = (
    "",
    "or package.module:attribute: a function from a batch to vectors, or an object",
    "with a method embed or encode; or a folder with a model that one of these loads",
)


def describe_models(rows: list[dict[str, Any]]) -> str:
    """Describe models as text, one line each; models to install have a line with the command.

    Parameters
    ----------
    rows : list of dict
        The result of `list_models`.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    names = [
        row["name"] + (f":{row['argument'].upper()}" if row["argument"] else "") for row in rows
    ]
    width = max(map(len, names))
    lines, pairs = [], False
    for name, row in zip(names, rows, strict=True):
        if row["pairs"] and not pairs:
            pairs = True
            lines += [*_OR, "", "teacher.model may be one of these, or a model of pairs:"]
        lines.append(f"{name:<{width}}  {row['state']:<13}  {row['summary']}")
        if row["install"]:
            lines.append(f"{'':<{width}}  {row['install']}")
    lines.append("or package.module:attribute: a function from a list of pairs to numbers")
    return "\n".join(lines)


def list_models() -> list[dict[str, Any]]:
    """Return what is known of each registered model, and of each model that scores pairs of texts.

    Returns
    -------
    list of dict
        ``name``, ``summary``, ``default_for`` (kinds of content), ``state``, ``install`` (the
        command, or None), ``argument`` (what follows a colon), ``pairs`` (whether it scores pairs).
    """
    rows = [_row(MODELS.entries[name], pairs=False) for name in MODELS.names()]
    return rows + [_row(PAIR_MODELS.entries[name], pairs=True) for name in PAIR_MODELS.names()]


def _row(entry: Entry, *, pairs: bool) -> dict[str, Any]:
    state, remedy = "ready", None
    if entry.missing:
        state, remedy = "not installed", entry.remedy
    elif not entry.needs:
        try:
            load_attribute(entry.target)
        except UsageError as error:
            state = f"broken: {error}"
    return {
        "name": entry.name,
        "summary": entry.summary,
        "default_for": [kind for kind, model in DEFAULTS.items() if model == entry.name],
        "state": state,
        "install": remedy,
        "argument": entry.argument,
        "pairs": pairs,
    }
