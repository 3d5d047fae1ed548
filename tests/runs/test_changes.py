"""A new run says what made it one, and data that changes under a run is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.errors import DataError
from miner.runs.changes import changed_keys, describe_changes
from tests.conftest import write_vectors
from tests.durable import at_rename, full_disk


def test_keys_are_named_as_the_user_knows_them() -> None:
    before = {"job": {"mining": {"margin": 0.2}, "select": {}}, "store": {"files": ["a"], "x": 1}}
    after = {"job": {"mining": {"margin": 0.3}, "select": {"k": [1]}}, "store": {"files": ["b"]}}
    after["store"]["model"] = {"id": "m"}
    changes = changed_keys(before, after)
    assert ("mining.margin", "0.2", "0.3") in changes
    assert ("dataset", "", "") in changes and ("model", "", "") in changes
    assert ("x", "1", "unset") in changes
    assert changed_keys(before, before) == []
    assert describe_changes(changes[:1]) == "mining.margin (was 0.2, is 0.3)"
    assert describe_changes(changes).endswith("and 3 more")


def roles(*sides: dict[str, Any]) -> dict[str, Any]:
    usual = {"content": "text", "kind": "text", "id": "id", "where": None, "origin": ""}
    return {"store": {"roles": [{**usual, **side} for side in sides]}}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (roles({"label": "a"}), roles({"label": "b"}), 'dataset.label (was "a", is "b")'),
        (roles({}), roles({"where": "y > 2"}), 'dataset.where (was unset, is "y > 2")'),
        (roles({}, {}), roles({"where": "y"}, {}), 'dataset.anchors (was unset, is "y")'),
        (roles({}, {}), roles({}, {"where": "y"}), 'dataset.where (was unset, is "y")'),
        (
            {"store": {"links": [None, "a", None]}},
            {"store": {"links": [None, "b", None]}},
            'dataset.link_corpus (was "a", is "b")',
        ),
        (
            {"store": {"prompts": [""]}},
            {"store": {"prompts": ["q: "]}},
            'model.prompt (was "", is "q: ")',
        ),
        (
            {"store": {"where": "x" * 90 + "1" * 90}},
            {"store": {"where": "x" * 90 + "2" * 90}},
            f"where (was ...{'x' * 20}{'1' * 14}..., is ...{'x' * 20}{'2' * 14}...)",
        ),
    ],
)
def test_what_differs_is_said_and_not_what_is_alike(
    before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    assert describe_changes(changed_keys(before, after)) == told


def data(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, 4)).astype(np.float32)
    write_vectors(path, rows, [f"l{n % 5}" for n in range(60)])
    return path


def test_a_new_run_names_the_key_that_changed(tmp_path: Path, cli: Callable[..., Any]) -> None:
    path, out = data(tmp_path / "data.parquet"), tmp_path / "out"
    run = ["run", "--data", path, "--out", out]
    first = cli(*run)
    assert first.code == 0 and "a new run" not in first.err
    assert "a new run" not in cli(*run).err
    other = cli(*run, "--margin", "0.3")
    assert "a new run, which differs from run" in other.err
    assert "mining.margin (was 0.2, is 0.3)" in other.err
    grouped = cli(*run, "--margin", "0.3", "--set", "dataset.group=label")
    assert 'dataset.group (was unset, is "label")' in grouped.err
    data(path, seed=1)
    assert ": dataset" in cli(*run, "--margin", "0.3").err


def test_an_unfinished_run_of_another_job_is_not_gone_on_with(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = data(tmp_path / "data.parquet"), tmp_path / "out"
    with monkeypatch.context() as patched:
        at_rename("part-*.parquet", full_disk, patch=patched.setattr)
        assert cli("run", "--data", path, "--out", out).code == 6
    done = cli("run", "--data", path, "--out", out, "--seed", "4")
    assert "which differs from the unfinished run: select.seed (was 0, is 4)" in done.err
    assert "a new run" not in cli("run", "--data", path, "--out", out, "--seed", "4").err


@pytest.mark.parametrize("how", ["changes", "vanishes"])
def test_data_that_changes_as_it_is_read_makes_no_run(how: str, tmp_path: Path) -> None:
    path = data(tmp_path / "data.parquet")

    def change(stage: str, done: int, total: int) -> None:
        if how == "changes" and stage == "reading":
            data(path, seed=9)
        elif how == "vanishes" and stage == "embedding":
            path.rename(tmp_path / "moved.parquet")

    job = {"dataset": {"path": str(path)}, "output": {"path": str(tmp_path / "out")}}
    with pytest.raises(DataError, match=r"changed as it was read|was removed during the run"):
        miner.mine(job, progress=change)
    assert not (tmp_path / "out" / "latest").exists()
    if how == "vanishes":
        data(path)
    assert miner.mine(job).manifest["status"] == "complete"


def test_an_absent_key_and_a_null_are_both_unset() -> None:
    assert changed_keys({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}) == []
    assert changed_keys({"a": {"c": None}}, {"a": {"c": 2}}) == [("a.c", "unset", "2")]
    long = "x" * 60
    ((_, was, now),) = changed_keys({"a": long + "1"}, {"a": long + "2"})
    assert was != now and max(len(was), len(now)) <= 40
