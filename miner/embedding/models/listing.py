"""What models can be plugged, and whether they are installed."""

from __future__ import annotations

from typing import Any

from miner.embedding.models.base import DEFAULTS, MODELS
from miner.errors import UsageError
from miner.registry import load_attribute

__all__ = ["list_models"]


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
