"""The slips of a first hour: each costs one line, and no data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result

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
    assert "already mined" in cli("plan", "--data", "data.csv").out
    Path("links.csv").write_text("query_id,corpus_id\n0,1\n")
    sides = [f"dataset.{name}=data.csv" for name in ("queries", "corpus")]
    settings = [word for side in (*sides, "dataset.links=links.csv") for word in ("--set", side)]
    assert cli("run", *settings, "--out", "pairs", "--quiet").code == 0
