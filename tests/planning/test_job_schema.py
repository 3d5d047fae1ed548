"""The JSON Schema of the job file knows all keys, and takes the jobs that `mine` takes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import miner
from miner.planning.job_schema import DESCRIPTIONS
from tests.conftest import ROOT

JOBS = [*sorted((ROOT / "jobs").glob("*.toml")), ROOT / "miner/docs/job-file.md"]


def sections(path: Path) -> dict[str, Any]:
    text = path.read_text()
    if path.suffix == ".md":
        text = text.split("```toml\n")[1].split("```")[0]
    return tomllib.loads(text)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_it_takes_our_jobs(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(sections(path), miner.job_schema())


@pytest.mark.parametrize(
    "job",
    [
        {"mining": {"margin": "0.2"}},
        {"mining": {"metric": "manhattan"}},
        {"mining": {"margins": 0.2}},
        {"minings": {}},
        {"select": {"classes": ["easy"]}},
        {"select": {"ranks": [1.5]}},
    ],
)
def test_it_refuses_what_a_run_refuses(job: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(miner.MineError):
        miner.parse_job({"dataset": {"path": "x"}, **job})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, miner.job_schema())


def test_it_has_the_defaults_and_describes_each_key() -> None:
    facts = miner.parse_job({"dataset": {"path": "x"}}).facts()
    schema = miner.job_schema()["properties"]
    assert {name: [*keys["properties"]] for name, keys in schema.items()} == {
        name: [*keys] for name, keys in facts.items()
    }
    for section, keys in DESCRIPTIONS.items():
        assert [*keys] == [*schema[section]["properties"]]
        for key, facts_of in schema[section]["properties"].items():
            default = facts[section][key]
            if default not in (None, {}) and key != "path":
                assert facts_of["default"] == default
            assert facts_of["description"].endswith(".")


def test_classes_are_spelled_either_way() -> None:
    jobs = [
        miner.parse_job({"dataset": {"path": "x"}, "select": {"classes": [name]}})
        for name in ("semi_hard", "semi-hard")
    ]
    assert jobs[0] == jobs[1] and jobs[0].identity() == jobs[1].identity()
