"""Gates: a run that misses one does not become the latest, and its work is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.errors import GateError
from tests.conftest import Result, write_vectors
from tests.operating import events, named, series

Cli = Callable[..., Result]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def words(small: Path, out: Path) -> list[str]:
    return ["run", "--data", str(small), "--out", str(out), "--quiet"]


def census(out: Path) -> dict[str, Any]:
    facts: dict[str, Any] = miner.open_run(out).manifest["census"]
    return facts


def gate(key: str, value: object) -> list[str]:
    return ["--set", f"gates.{key}={value}"]


@pytest.mark.parametrize(
    ("missed", "said", "key"),
    [
        (gate("min_triplets", 10**9), "fewer than gates.min_triplets = 1,000,000,000", "triplets"),
        (gate("max_hard_share", 0.01), "more than gates.max_hard_share = 0.01", "hard_share"),
    ],
)
def test_a_gate_that_is_missed(
    words: list[str], out: Path, cli: Cli, missed: list[str], said: str, key: str
) -> None:
    assert cli(*words, "--margin", "0.1").code == 0
    before = os.readlink(out / "latest")
    failed = cli(*words, *missed)
    assert (failed.code, failed.out) == (5, "")
    (line,) = failed.err.splitlines()
    assert line.startswith("mine: error: ")
    assert said in line
    assert "finished work is kept" in line
    assert f"still run {Path(before).name}" in line
    assert os.readlink(out / "latest") == before
    assert len(list((out / "runs").iterdir())) == 1
    (staging,) = (out / ".staging").iterdir()
    (value,) = [v for name, v in series(out / "metrics.prom").items() if "_gate_value" in name[0]]
    lines = events(cli(*words, "--log-format", "json").err)  # without the gate
    assert lines[-1]["exit_code"] == 0
    assert miner.open_run(out).run_id == staging.name
    found = census(out)
    share, total = found["hard"] / found["valid"], found["hard"] + found["semi_hard"]
    assert value == pytest.approx(total if key == "triplets" else share)
    assert f"{share:.2%} of the valid triplets" in line or f"{total:,} hard and semi-hard" in line


def test_work_is_gone_on_with(words: list[str], out: Path, cli: Cli) -> None:
    """No unit is counted again, and the run is the one that never missed a gate."""
    assert cli(*words, *gate("min_triplets", 10**9)).code == 5
    words.remove("--quiet")
    still = cli(*words, *gate("min_triplets", 10**8), "--log-format", "json")
    assert still.code == 5
    lines = events(still.err)
    result = cli(*words, *gate("min_triplets", 1), "--log-format", "json")
    assert result.code == 0
    lines += events(result.err)
    assert named(lines, "unit_done", stage="counting") == []
    assert named(lines, "unit_done", stage="writing") != []
    assert {line["computed"] for line in named(lines, "embedded")} == {0}
    other = miner.mine({"dataset": {"path": words[2]}, "output": {"path": f"{out}-2"}})
    run = miner.open_run(out)
    assert run.manifest["fingerprint"] == other.manifest["fingerprint"]
    assert run.manifest["shards"] == other.manifest["shards"]


def test_a_bound_that_is_just_reached_holds(words: list[str], out: Path, cli: Cli) -> None:
    assert cli(*words).code == 0
    found = census(out)
    total = found["hard"] + found["semi_hard"]
    share = found["hard"] / found["valid"]
    both = [*gate("min_triplets", total), *gate("max_hard_share", repr(share))]
    assert cli(*words, *both).code == 0
    told = series(out / "metrics.prom")
    for name, value in (("min_triplets", total), ("max_hard_share", share)):
        assert told[("mine_gate_value", f"gate={name}")] == value
        assert told[("mine_gate_bound", f"gate={name}")] == value
    assert cli(*words, *gate("min_triplets", total + 1)).code == 5
    assert cli(*words, *gate("max_hard_share", repr(float(np.nextafter(share, 0))))).code == 5


def test_a_finished_run_is_held_to_a_new_gate(words: list[str], out: Path, cli: Cli) -> None:
    assert cli(*words).code == 0
    run = miner.open_run(out)
    failed = cli(*words, *gate("min_triplets", 10**9))
    assert failed.code == 5
    assert f"is still run {run.run_id}" in failed.err
    assert cli(*words).code == 0
    assert len(miner.list_runs(out)[0]) == 1


def test_only_classes_that_are_written_count(words: list[str], out: Path, cli: Cli) -> None:
    assert cli(*words).code == 0
    hard = census(out)["hard"]
    one = ["--set", 'select.classes=["hard"]']
    assert cli(*words, *one, *gate("min_triplets", hard)).code == 0
    missed = cli(*words, *one, *gate("min_triplets", hard + 1))
    assert missed.code == 5
    assert f"{hard:,} hard triplets were found" in missed.err
    capped = cli(*words, "--max-triplets", "3", *gate("min_triplets", hard))
    assert capped.code == 0  # found, not written


def test_gates_are_for_callers_too(small: Path, out: Path) -> None:
    sections = {"dataset": {"path": str(small)}, "output": {"path": str(out)}}
    with pytest.raises(GateError, match=r"gates\.max_hard_share = 0"):
        miner.mine(sections | {"gates": {"max_hard_share": 0}})
    assert not (out / "latest").exists()
    assert miner.mine(sections | {"gates": {"max_hard_share": 1}}).manifest["job"]["gates"]


def test_recall_of_an_approximate_run(out: Path, tmp_path: Path, cli: Cli) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((200, 8)).astype(np.float32)
    data = write_vectors(tmp_path / "v.parquet", vectors, [f"c{n % 8}" for n in range(200)])
    words = ["run", "--data", data, "--out", out, "--index", "HNSW8", "--quiet"]
    words += ["--set", "index.candidates=3", "--set", "index.audit=50"]
    failed = cli(*words, *gate("min_recall", 0.9))
    assert failed.code == 5
    assert "less than gates.min_recall = 0.9" in failed.err
    assert "or lower gates.min_recall" in failed.err
    assert not (out / "latest").exists()
    (staging,) = (out / ".staging").iterdir()
    told = series(out / "metrics.prom")
    assert told[("mine_gate_value", "gate=min_recall")] < 0.9
    assert told[("mine_gate_bound", "gate=min_recall")] == 0.9
    result = cli(*words, *gate("min_recall", 0.0001), "--log-format", "json")
    assert result.code == 0
    run = miner.open_run(out)
    assert run.run_id == staging.name
    told = series(out / "metrics.prom")
    for name in ("hard", "semi_hard"):
        recall = run.manifest["index"]["recall"][name]["recall"]
        assert told[("mine_recall", f"class={name}")] == recall < 1
    assert cli(*words, *gate("min_recall", 0.9)).code == 5  # the finished one, too


def separate(path: Path) -> str:
    """Two classes that lie on two points: every triplet is easy."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    vectors += np.linspace(0, 1e-3, 16, dtype=np.float32).reshape(8, 2)
    return str(write_vectors(path, vectors, ["a"] * 4 + ["b"] * 4))


def one_group(path: Path) -> str:
    """Two classes whose rows are all of one group: no row is a negative, so there is no triplet."""
    vectors = np.eye(4, dtype=np.float32)
    return str(write_vectors(path, vectors, ["a", "a", "b", "b"], group=["g"] * 4))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["select.min_score=1"], "no triplet passes the filters of [select]"),
        (["select.absolute_margin=0", 'select.classes=["hard"]'], "no triplet passes the filters"),
        ([], "every triplet is easy at this margin"),
        (["dataset.path={empty}", "dataset.group=group"], "there is no valid triplet"),
    ],
)
def test_a_run_that_wrote_nothing_is_not_the_latest(
    words: list[str], out: Path, tmp_path: Path, cli: Cli, settings: list[str], why: str
) -> None:
    if not settings:
        words[2] = separate(tmp_path / "separate.parquet")
    empty = one_group(tmp_path / "group.parquet")
    more = [word for one in settings for word in ("--set", one.format(empty=empty))]
    assert cli(*words, "--seed", "9", *gate("min_rows", 0)).code == 0
    before = os.readlink(out / "latest")
    failed = cli(*words, *more)
    assert (failed.code, failed.out) == (5, "")
    (line,) = failed.err.splitlines()
    assert f"0 rows were written, fewer than gates.min_rows = 1: {why}" in line
    assert f"still run {Path(before).name}" in line
    assert os.readlink(out / "latest") == before
    told = series(out / "metrics.prom")
    assert told[("mine_gate_value", "gate=min_rows")] == 0
    assert told[("mine_gate_bound", "gate=min_rows")] == 1
    words.remove("--quiet")
    allowed = cli(*words, *more, *gate("min_rows", 0))  # goes on with what was made
    assert allowed.code == 0 and f"nothing was written: {why}" in allowed.out
    assert cli(*words, *more).code == 5  # the finished one is held to it, too


def test_rows_are_those_of_the_classes_that_are_written(
    words: list[str], out: Path, cli: Cli
) -> None:
    capped = [*words, "--max-triplets", "3"]
    assert cli(*capped, *gate("min_rows", 6)).code == 0
    missed = cli(*capped, *gate("min_rows", 7))
    assert missed.code == 5
    assert "6 rows were written, fewer than gates.min_rows = 7; check" in missed.err
    one = ["--set", 'select.classes=["hard"]']
    assert cli(*capped, *one, *gate("min_rows", 3)).code == 0
    assert cli(*capped, *one, *gate("min_rows", 4)).code == 5


def test_a_job_that_only_counts_has_nothing_to_write(words: list[str], out: Path, cli: Cli) -> None:
    assert cli(*words, "--max-triplets", "0", *gate("min_rows", 10)).code == 0
    assert ("mine_gate_value", "gate=min_rows") not in series(out / "metrics.prom")


def test_the_plan_says_that_no_row_can_be_written(tmp_path: Path, cli: Cli) -> None:
    words = ["plan", "--data", one_group(tmp_path / "g.parquet"), "--out", str(tmp_path / "out")]
    words += ["--set", "dataset.group=group"]
    assert "gates.min_rows = 1 cannot be reached" in cli(*words).out
    assert "gates.min_rows" not in cli(*words, "--max-triplets", "0").out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("gates.min_rows=-1", ["gates.min_rows = -1", "0 or more"]),
        ("gates.min_triplets=-1", ["gates.min_triplets = -1", "0 or more"]),
        ("gates.min_triplets=1.5", ["gates.min_triplets", "1.5", "a whole number"]),
        ("gates.min_triplets=many", ["gates.min_triplets", "'many'", "a whole number"]),
        ("gates.min_triplets=true", ["gates.min_triplets", "True"]),
        ("gates.max_hard_share=-0.1", ["gates.max_hard_share = -0.1", "from 0 to 1"]),
        ("gates.max_hard_share=1.1", ["gates.max_hard_share = 1.1", "from 0 to 1"]),
        ("gates.max_hard_share=nan", ["gates.max_hard_share", "nan"]),
        ("gates.max_hard_share=30%", ["gates.max_hard_share", "'30%'", "a number"]),
        ("gates.min_recall=0", ["gates.min_recall = 0", "above 0, at most 1"]),
        ("gates.min_recall=1.01", ["gates.min_recall = 1.01", "above 0, at most 1"]),
        ("gates.min_recall=nan", ["gates.min_recall", "nan"]),
        ("gates.min_recall=high", ["gates.min_recall", "'high'", "a number"]),
        ("gates.min_recal=0.9", ["gates.min_recal", "did you mean 'min_recall'?"]),
        ("gate.min_recall=0.9", ["'gate'", "did you mean 'gates'?"]),
    ],
)
def test_bounds_that_are_none(
    words: list[str], out: Path, cli: Cli, setting: str, said: list[str]
) -> None:
    result = cli(*words, "--set", setting)
    assert result.code == 2
    (line,) = result.err.splitlines()
    for word in said:
        assert word in line
    assert not out.exists()
