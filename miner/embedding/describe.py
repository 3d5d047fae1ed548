"""Models that can be plugged, and vectors that are kept: as facts and as text."""

from __future__ import annotations

from typing import Any

from miner.embedding.models.base import DEFAULTS, MODELS
from miner.errors import UsageError
from miner.formatting import bytes_text
from miner.registry import load_attribute

__all__ = ["describe_kept", "describe_models", "list_models"]


def describe_kept(facts: dict[str, Any]) -> str:
    """Say what vectors are kept, a line a folder, and what was removed.

    Parameters
    ----------
    facts : dict
        As `kept_facts` gives them.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    lines = []
    for state, mark in (("removed", "removed  "), ("kept", "")):
        for one in facts[state]:
            size = f"{bytes_text(one['bytes']):>12}"
            lines.append(f"{mark}{one['kind']:<5}  {size}  {one['used']}  {one['model']}")
            lines.append(f"    {one['path']}")
    lines.append(f"{bytes_text(facts['bytes'])} are kept")
    return "\n".join(lines)


def describe_models(rows: list[dict[str, Any]]) -> str:
    """List models, a line each; below those that are not installed, how to get them.

    Parameters
    ----------
    rows : list of dict
        As `list_models` gives them.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    names = [
        row["name"] + (f":{row['argument'].upper()}" if row["argument"] else "") for row in rows
    ]
    width = max(map(len, names))
    lines = []
    for name, row in zip(names, rows, strict=True):
        lines.append(f"{name:<{width}}  {row['state']:<13}  {row['summary']}")
        if row["install"]:
            lines.append(f"{'':<{width}}  {row['install']}")
    lines.append("\nor package.module:attribute: a function from a batch to vectors, or an object")
    lines.append("with a method embed or encode; or a folder with a model that one of these loads")
    return "\n".join(lines)


def list_models() -> list[dict[str, Any]]:
    """Return per registered model its name, summary, what it is the default of, state, remedy."""
    rows = []
    for name in MODELS.names():
        entry = MODELS.entries[name]
        state, remedy = "ready", None
        if entry.missing:
            state, remedy = "not installed", entry.remedy
        elif not entry.needs:
            try:
                load_attribute(entry.target)
            except UsageError as error:
                state = f"broken: {error}"
        default = [kind for kind, model in DEFAULTS.items() if model == name]
        rows.append(
            {
                "name": name,
                "summary": entry.summary,
                "default_for": default,
                "state": state,
                "install": remedy,
                "argument": entry.argument,
            }
        )
    return rows
