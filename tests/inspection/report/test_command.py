"""The command in a report mines the same job."""

from __future__ import annotations

from typing import Any

import pytest

import miner
from miner.cli.job_options import _FLAGS, _setting
from miner.inspection.report.rerun_command import reproducing_command

JOBS: list[dict[str, Any]] = [
    {"dataset": {"path": "a b.csv"}},
    {"dataset": {"path": "-x.csv", "where": "split = 'train' and length(text) > 20"}},
    {"dataset": {"queries": "q.csv", "corpus": "c.csv", "links": "l.csv"}},
    {
        "dataset": {"path": "d.parquet", "label": "12", "on_error": "skip"},
        "model": {"name": "pixels", "options": {"size": 8, "mode": "L"}, "prompt": 'a "b" é\n'},
        "mining": {"margin": 0.05, "metric": "cosine", "normalize": False, "loss": False},
        "select": {"strategy": "hardest", "options": {"k": 4}, "ranks": [10, 20], "suspects": True},
        "gates": {"min_triplets": 3},
        "output": {"content": False, "path": "elsewhere"},
    },
]


@pytest.mark.parametrize("sections", JOBS)
def test_the_command_gives_the_job_back(sections: dict[str, Any]) -> None:
    job = miner.parse_job(sections)
    words = reproducing_command(job.facts())
    flags = {"--" + name.replace("_", "-"): key for name, key in _FLAGS.items()}
    assert words[:2] == ["mine", "run"]
    overrides: dict[str, Any] = {}
    rest = iter(words[2:])
    for word in rest:
        if word == "--set":
            overrides.update([_setting(next(rest))])
        elif word.endswith("normalize"):
            overrides["mining.normalize"] = word == "--normalize"
        else:
            value = next(rest)
            overrides[flags[word]] = float(value) if word == "--margin" else value
    assert miner.parse_job({}, overrides).facts() == job.facts()
