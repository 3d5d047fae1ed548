"""What models can be plugged, and whether they are installed."""

from __future__ import annotations

from typing import Any

from miner.errors import UsageError
from miner.models.base import DEFAULTS, MODELS
from miner.registry import load_attribute

__all__ = ["list_models"]


def list_models() -> list[dict[str, Any]]:
    """Return per registered model its name, summary, the content it is the default of, state."""
    rows = []
    for name in MODELS.names():
        entry = MODELS.entries[name]
        try:
            load_attribute(entry.target)
            state = "ready"
        except (ImportError, UsageError) as error:
            state = f"not installed: {error}"
        default = [kind for kind, model in DEFAULTS.items() if model == name]
        rows.append(
            {"name": name, "summary": entry.summary, "default_for": default, "state": state}
        )
    return rows
