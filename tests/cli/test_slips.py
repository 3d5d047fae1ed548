"""The slips of a first hour: each costs one line, and no data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from miner.cli.main import main
from tests.conftest import ROOT, Result, write_vectors
from tests.durable import Crash, at_rename, crash

Cli = Callable[..., Result]


def test_a_newcomers_slips(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("text,label\na,x\nb,x\nc,y\nd,y\n")
    before = Path("data.csv").read_bytes()
    result = cli("init", "data.csv", "--job", "data.csv", "--force")
    assert result.code == 2 and "is the data itself" in result.err
    assert Path("data.csv").read_bytes() == before
    result = cli("run", "data.csv")
    assert result.code == 2 and "use --data data.csv" in result.err
    assert cli("show", "--triplets", "-1").code == 2
    alone = cli()
    assert alone.code == 2 and alone.err.startswith("Usage: mine")
    assert cli("run", "--data", "data.csv", "--quiet").code == 0
    assert "mined already" in cli("plan", "--data", "data.csv").out
    Path("links.csv").write_text("query_id,corpus_id\n0,1\n")
    sides = [f"dataset.{name}=data.csv" for name in ("queries", "corpus")]
    settings = [word for side in (*sides, "dataset.links=links.csv") for word in ("--set", side)]
    assert cli("run", *settings, "--out", "pairs", "--quiet").code == 0


def test_a_path_that_is_not_there_is_wrong_usage(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").touch()
    Path("empty").mkdir()
    lists = (["runs"], ["cache"], ["prune"], ["prune", "--vectors", "0"])
    opens = (["show"], ["verify"], ["report"], ["compare"], ["export", "--format", "ids"])
    for words in (*lists, *opens):
        for path in ("nosuch", "a file"):
            done = cli(words[0], path, *words[1:])
            assert (done.code, done.out) == (2, "") and path in done.err
            assert done.err.count("\n") == 1
    for words in lists:
        assert cli(words[0], "empty", *words[1:]).code == 0
    for words in opens:
        done = cli(words[0], "empty", *words[1:])
        assert done.code == 6 and "is not a finished run" in done.err
    for words in (["cache", "empty"], ["prune", "empty", "--vectors", "0"]):
        done = cli(*words, "--cache", "nosuch")
        assert done.code == 2 and "nosuch: no such folder" in done.err
    for command in ("run", "plan"):
        assert cli(command, "nosuch").code == 2
        assert cli(command, "empty").code == 2
    failed = cli("run", "--data", "nosuch", "--out", "out")
    assert failed.code == 3 and failed.err.endswith(". There is no run in out yet.\n")


def test_mistakes_are_answered_with_what_was_meant(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.csv").write_text("name,category\n" + "some text,same\n" * 9)
    Path("file").write_text("")
    digits = ROOT / "sample_data/digits.parquet"
    meant = {
        ("init", "one.csv"): (3, "column 'category': all rows have one label"),
        ("run", "--data", digits, "--strategy", "hardest"): (2, "Did you mean --select?"),
        ("run", "--data", digits, "--set", "margin=0.3"): (2, "did you mean mining.margin=0.3?"),
        ("run", "--data", digits, "--set", "select.strategi=all"): (2, "options: unknown key"),
        ("run", "--data", digits, "--out", "file"): (6, "file is a file or lies below one"),
        ("show",): (2, "`mine run` makes one"),
    }
    for words, (code, said) in meant.items():
        done = cli(*words)
        assert (done.code, said in done.err) == (code, True), done.err
    out = tmp_path / "out"
    assert cli("run", "--data", digits, "--out", out, "--max-triplets", 100).code == 0
    done = cli("compare", out)
    assert done.code == 2 and "one run is given, and there is no mined/latest" in done.err
    assert "name a format: --format triplet" in cli("export", out).err
    done = cli("export", out, "--format", "triplet", "--out", "file", "--force")
    assert done.code == 2 and "not a folder of an export; name another --out" in done.err


def test_an_unfinished_run_that_was_given_up_is_not_compared_with(tmp_path: Path, cli: Cli) -> None:
    data = write_vectors(tmp_path / "v.parquet", np.eye(6, dtype=np.float32), list("aabbcc"))
    words = ("run", "--data", data, "--out", tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        at_rename("census.parquet", crash, patch=patch.setattr)
        with pytest.raises((SystemExit, Crash)):
            main([str(word) for word in (*words, "--margin", 0.9)])
    assert cli(*words, "--margin", 0.5).code == 0
    done = cli(*words, "--margin", 0.4)
    assert "which differs from run" in done.err and "unfinished" not in done.err
