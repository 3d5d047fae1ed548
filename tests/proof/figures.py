"""The figures of a proof as a file: of every set, method and seed, and of the machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.proof.evaluation import Scores
from tests.proof.training import Trained

__all__ = ["Found", "machine", "read_figures", "write_figures"]

Found = Mapping[str, Sequence[Trained]]
"""The trainings of each method, one per seed."""


def machine() -> dict[str, Any]:
    """Return facts about the machine and the versions."""
    words = Path("/proc/cpuinfo")
    lines = words.read_text().splitlines() if words.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def write_figures(
    path: Path, sets: Mapping[str, Found], facts: Mapping[str, Any], nightly: Mapping[str, Any]
) -> None:
    """Write all figures, one line per method, so that two files can be compared."""
    lines = [f'"facts": {json.dumps(facts)}', f'"nightly": {json.dumps(nightly)}']
    for name, found in sets.items():
        rows = [f"  {json.dumps(key)}: {json.dumps(_rows(runs))}" for key, runs in found.items()]
        lines.append(f"{json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n }")
    path.write_text("{\n " + ",\n ".join(lines) + "\n}\n")


def read_figures(path: Path) -> tuple[dict[str, dict[str, list[Trained]]], dict[str, Any]]:
    """Return the trainings by set and method, and the other facts."""
    held = json.loads(path.read_text())
    facts = {"facts": held.pop("facts"), "nightly": held.pop("nightly")}
    sets = {
        name: {method: [_trained(row) for row in rows] for method, rows in found.items()}
        for name, found in held.items()
    }
    return sets, facts


def _rows(runs: Sequence[Trained]) -> list[dict[str, Any]]:
    return [_rounded(asdict(one)) for one in runs]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value


def _trained(row: dict[str, Any]) -> Trained:
    return Trained(**{**row, "by_round": tuple(Scores(**scores) for scores in row["by_round"])})
