"""What there is, in words: models that can be plugged, vectors that are kept, what was removed."""

from __future__ import annotations

from typing import Any

__all__ = ["describe_kept", "describe_models", "describe_pruned"]


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
            size = f"{_mib(one['bytes']):>12}"
            lines.append(f"{mark}{one['kind']:<5}  {size}  {one['used']}  {one['model']}")
            lines.append(f"    {one['path']}")
    lines.append(f"{_mib(facts['bytes'])} are kept")
    return "\n".join(lines)


def describe_pruned(facts: dict[str, Any]) -> str:
    """Say what was removed of an output root, a line each.

    Parameters
    ----------
    facts : dict
        As `prune_output` gives them.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    verb = "would be removed" if facts["dry_run"] else "removed"
    lines = [
        f"{one['kind']:<8} {_mib(one['bytes']):>14}  {one['path']}" for one in facts["removed"]
    ]
    used = [f"in use, so it stays: {path}" for path in facts["in_use"]]
    return "\n".join([*lines, *used, f"{len(lines)} {verb}, {_mib(facts['bytes'])}"])


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


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
