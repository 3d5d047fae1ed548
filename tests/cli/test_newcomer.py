"""Mistakes of a first day: what is said, and the exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import miner
from miner.errors import StorageError
from miner.runs.describe import describe_run
from miner.storage.files import storage_errors
from tests.conftest import ROOT, Result

REQUESTS = str(ROOT / "sample_data/support_requests.csv")
HANDBOOK = str(ROOT / "sample_data/handbook")

MISTAKES: list[tuple[list[str], int, list[str]]] = [
    (["dataset.label=intnet"], 3, ["no column 'intnet'", "dataset.label", "id, label, text"]),
    (["dataset.label=text"], 3, ["'text'", "occurs only once", "--set dataset.label=NAME"]),
    (["dataset.where=label = 'no such'"], 3, ["no row passes dataset.where = \"label = 'no such'"]),
    (["select.strategy=hardst"], 2, ["'hardst'", "did you mean 'hardest'"]),
    (["select.options.k=3"], 2, ["strategy 'all'", "select.options.k", "no keys"]),
    (["select.strategy=hardest", "select.options.q=3"], 2, ["select.options.q: Known: k"]),
    (["select.per_negativ=1"], 2, ["select.per_negativ: did you mean 'per_negative'"]),
    (["select.per_negative=-1"], 2, ["select.per_negative = -1 must be 0 or more"]),
    (["select.suspects=true"], 2, ["absolute_margin, relative_margin or max_score", "set one"]),
    (["select.classes=hard"], 2, ["must be a list, such as ['hard']"]),
    (["select.max_triplets=1e6"], 2, ["must be a whole number, such as 1000000"]),
    (["mining.margin=0"], 2, ["above 0", "such as 0.2"]),
    (["mining.margin=-0.2"], 2, ["above 0", "such as 0.2"]),
]


@pytest.mark.parametrize(("settings", "code", "words"), MISTAKES, ids=str)
def test_a_mistake_is_told_in_a_line(
    settings: list[str], code: int, words: list[str], cli: Callable[..., Result], tmp_path: Path
) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    result = cli("run", "--data", REQUESTS, "--out", tmp_path / "out", *sets)
    told = [line for line in result.err.splitlines() if line != "mine: reading"]
    assert (result.code, result.out, len(told)) == (code, "", 1)
    assert told[0].startswith("mine: error: ")
    for word in words:
        assert word in told[0]
    assert not (tmp_path / "out" / "latest").exists()


@pytest.mark.parametrize("key", ["where", "anchors"])
def test_a_filter_of_pairs_that_leaves_nothing(
    key: str, cli: Callable[..., Result], tmp_path: Path
) -> None:
    setting = f"dataset.{key}=id = 'nowhere'"
    result = cli("run", "--data", HANDBOOK, "--out", tmp_path / "out", "--set", setting)
    assert result.code == 3
    assert f"no row passes dataset.{key} = \"id = 'nowhere'\"" in result.err


def test_filters_that_leave_no_triplet_are_told(small: Path, tmp_path: Path) -> None:
    def said(**sections: dict[str, object]) -> str:
        out = {"path": str(tmp_path / "out")}
        job = {"dataset": {"path": str(small)}, "output": out, **sections}
        return describe_run(miner.mine(job))

    none = said(select={"min_score": 1.0}, gates={"min_rows": 0})
    assert "nothing was written: no triplet passes the filters of [select]" in none
    assert "load" not in none
    assert "nothing was written" not in said() + said(select={"max_triplets": 0})


def test_the_line_that_loads_names_a_class_with_rows(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "a_folder_with_quite_a_long_name"
    result = cli("run", "--data", REQUESTS, "--out", out, "--select", "semi-hard")
    assert "latest/semi_hard/*.parquet" in result.out and "latest/hard" not in result.out
    run = miner.open_run(out)
    assert run.triplets("semi_hard").count_rows() > 0 == run.triplets("hard").count_rows()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_may_not_be_written_is_told(code: int) -> None:
    with pytest.raises(StorageError) as told, storage_errors(Path("out")):
        raise OSError(code, os.strerror(code), "out/.lock")
    assert str(told.value).startswith(f"out/.lock: {os.strerror(code)}; nothing was published")
    assert str(told.value).endswith("name a folder that you may write to")


def test_a_plan_warns_of_an_output_that_cannot_be_written(
    small: Path, tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ("plan", "--data", small, "--out")
    assert "warning" not in cli(*plan, tmp_path / "new" / "out").out
    assert "cannot be written to: use --out" in cli(*plan, small).out  # a file
    monkeypatch.setattr(os, "access", lambda path, mode, **_: str(path) == str(small))
    assert "cannot be written to: use --out" in cli(*plan, tmp_path / "out").out


def test_a_count_that_can_only_be_read_serves(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "out")}}
    miner.mine(job)

    touch = os.utime

    def refuse(path: Path, *times: Any, **more: Any) -> None:
        if Path(path).name == "record.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        touch(path, *times, **more)

    monkeypatch.setattr(os, "utime", refuse)
    run = miner.mine({**job, "select": {"seed": 1}})
    assert run.manifest["census"]["reused"] is True
