"""Make the command that mines a run again from the job in its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from miner.job import Job

__all__ = ["reproducing_command"]

_FLAGS = {
    "dataset.path": "--data",
    "model.name": "--model",
    "mining.margin": "--margin",
    "mining.metric": "--metric",
    "index.factory": "--index",
    "select.strategy": "--select",
    "select.max_triplets": "--max-triplets",
    "select.seed": "--seed",
    "output.path": "--out",
}
_LOCAL = ("engine", "cache")
"""Sections that do not change the output and may not suit another machine."""


def reproducing_command(job: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the arguments of a command that mines a job again without its job file.

    It has the margin, and all keys that differ from their defaults.

    Parameters
    ----------
    job : mapping of sections
        The job in a manifest.
    """
    plain = Job().facts()
    words = ["mine", "run"]
    for section, keys in job.items():
        if section in _LOCAL:
            continue
        for key, value in keys.items():
            name = f"{section}.{key}"
            if value == plain.get(section, {}).get(key) and name != "mining.margin":
                continue
            words += _option(name, value)
    return words


def _option(name: str, value: Any) -> Iterator[str]:
    if value is None:  # not in TOML; the default of all keys that allow it
        return
    if name == "mining.normalize":
        yield "--normalize" if value else "--no-normalize"
    elif name in _FLAGS and not str(value).startswith("-"):
        yield _FLAGS[name]
        yield str(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _option(f"{name}.{key}", inner)
    else:
        yield "--set"
        yield f"{name}={json.dumps(value, ensure_ascii=False)}"
