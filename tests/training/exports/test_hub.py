"""`--push-to-hub` with a Hub that is only written down: nothing here reaches the network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import miner
from tests.conftest import Result
from tests.later import later

datasets = later("datasets")
RunOf = Callable[[str], miner.Run]
Cli = Callable[..., Result]
TOKEN = "hf_notATokenOfAnybody"

# Their imports warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What was pushed; there is a token."""
    calls: list[dict[str, Any]] = []

    def push(self: Any, repo_id: str, **options: Any) -> None:
        calls.append({"repository": repo_id, "rows": self.to_list(), **options})

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    datasets.disable_progress_bars()
    yield calls
    datasets.enable_progress_bars()


def words(run: miner.Run, out: Path, name: str = "triplet") -> list[Any]:
    return ["export", run.path, "--format", name, "--out", out, "--push-to-hub", "me/mined"]


@pytest.mark.parametrize("options", [[], ["--file-format", "jsonl"]])
def test_an_export_is_pushed_after_it_is_written(
    cli: Cli, run_of: RunOf, tmp_path: Path, pushed: list[dict[str, Any]], options: list[str]
) -> None:
    done = cli(*words(run_of("texts"), tmp_path / "x"), *options)
    assert (done.code, done.err) == (0, "")
    assert "pushed    to me/mined, which is private if it is new" in done.out
    miner.export_triplets(run_of("texts"), "triplet", out=tmp_path / "y")
    assert pushed == [
        {
            "repository": "me/mined",
            "rows": pq.read_table(tmp_path / "y").to_pylist(),
            "config_name": "triplet",
            "private": True,
            "token": TOKEN,
        }
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]


def test_each_table_is_a_configuration(
    taught: RunOf, tmp_path: Path, pushed: list[dict[str, Any]]
) -> None:
    facts = miner.export_triplets(
        taught("texts"), "pylate-kd", out=tmp_path / "x", push_to_hub="mined"
    )
    assert facts["hub"] == "mined"
    for one, name in zip(pushed, ("train", "queries", "documents"), strict=True):
        assert one["config_name"] == name
        assert one["rows"] == pq.read_table(tmp_path / "x" / name).to_pylist()


def test_nothing_is_pushed_unasked(
    run_of: RunOf, tmp_path: Path, pushed: list[dict[str, Any]]
) -> None:
    facts = miner.export_triplets(run_of("texts"), "triplet", out=tmp_path / "x")
    assert pushed == [] and facts["hub"] is None


def test_a_push_that_fails_leaves_the_export(
    cli: Cli,
    run_of: RunOf,
    tmp_path: Path,
    pushed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Any, repo_id: str, **options: Any) -> None:
        raise ConnectionError("403 Forbidden:\nyou do not own this name")

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", refuse)
    done = cli(*words(run_of("texts"), tmp_path / "x"))
    assert (done.code, done.out) == (6, "")
    assert "is written, but not pushed to me/mined: 403 Forbidden:" in done.err
    assert done.err.count("\n") == 1 and TOKEN not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert pq.read_table(tmp_path / "x").num_rows > 10


def test_what_is_missing_is_said_before_anything_is_written(
    cli: Cli, run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    given = words(run_of("texts"), tmp_path / "x")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    done = cli(*given)
    assert done.code == 2 and "needs a token: set HF_TOKEN, or run hf auth login" in done.err
    done = cli(*given[:-1], "not a name")
    assert done.code == 2 and "write NAME or OWNER/NAME" in done.err
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = cli(*given)
    assert (
        done.code == 2 and "--push-to-hub needs datasets: " in done.err and "[trainers]" in done.err
    )
    assert list(tmp_path.iterdir()) == []
