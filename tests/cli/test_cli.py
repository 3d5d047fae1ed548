"""The command line of section 3: options, what is printed where, exit codes, signals."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.storage.locks import lock_output
from tests.conftest import ROOT, Result
from tests.operating import SLOW, end, start

Cli = Callable[..., Result]
MINE = "from miner.cli.main import main; main()"


@pytest.fixture
def home(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path, the working folder of the test; `small.parquet` is in it."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        shutil.copy(small, folder)
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.fixture
def texts(home: Path) -> list[dict[str, Any]]:
    """30 short texts in 3 classes, also as a CSV and a BEIR folder."""
    rng = np.random.default_rng(4)
    words = ["gear", "chain", "brake", "wheel", "rain", "sun", "snow", "bread", "soup", "salt"]
    rows = [
        {"id": n, "text": " ".join(rng.choice(words, 4)), "label": f"c{n % 3}"} for n in range(30)
    ]
    lines = [f"{row['id']},{row['text']},{row['label']}" for row in rows]
    Path("texts.csv").write_text("\n".join(["id,text,label", *lines]) + "\n")
    pq.write_table(pa.Table.from_pylist(rows), "texts.parquet")
    Path("beir/qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{row['id']}", "title": "", "text": row["text"]} for row in rows]
    queries = [{"_id": "q1", "text": "gear chain"}, {"_id": "q2", "text": "sun snow"}]
    for name, table in (("corpus", corpus), ("queries", queries)):
        Path(f"beir/{name}.jsonl").write_text("\n".join(map(json.dumps, table)) + "\n")
    links = "query-id\tcorpus-id\tscore\nq1\td0\t1\nq1\td3\t1\nq2\td5\t1\n"
    Path("beir/qrels/test.tsv").write_text(links)
    return rows


def write_job(**sections: dict[str, Any]) -> None:
    """Write jobs/default.toml."""
    lines = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    Path("jobs").mkdir(exist_ok=True)
    Path("jobs/default.toml").write_text("\n".join(lines) + "\n")


def facts(result: Result) -> Any:
    """The one JSON document on stdout."""
    assert result.code == 0, result
    assert result.err == ""
    return json.loads(result.out)


def shards(run: str | Path) -> dict[str, bytes]:
    """The bytes of a run's shards and census."""
    found = sorted(Path(run).resolve().rglob("*.parquet"))
    return {str(path.relative_to(Path(run).resolve())): path.read_bytes() for path in found}


def narrow(text: str) -> bool:
    # A command to type stays in one line, however deep the folder is that it names.
    return max(len(line) for line in text.splitlines() if "pip install" not in line) <= 80


def test_without_a_job_and_without_data(cli: Cli, home: Path) -> None:
    result = cli("run")
    assert (result.code, result.out) == (2, "")
    assert "mine init" in result.err.splitlines()[0]
    assert [path.name for path in home.iterdir()] == ["small.parquet"]


def test_data_alone_means_the_built_in_defaults(cli: Cli, home: Path) -> None:
    write_job(dataset={"path": "nowhere.csv"}, mining={"margin": 0.7}, select={"seed": 9})
    job = facts(cli("run", "--data", "small.parquet", "--json"))["job"]
    assert job == miner.parse_job({"dataset": {"path": "small.parquet"}}).facts()
    assert (job["mining"]["margin"], job["select"]["seed"]) == (0.2, 0)


def test_the_default_job_and_options_over_it(cli: Cli, home: Path) -> None:
    write_job(
        dataset={"path": "small.parquet"},
        mining={"margin": 0.7, "metric": "cosine"},
        select={"max_triplets": 20, "seed": 9},
        output={"path": "here"},
    )
    plain = facts(cli("run", "--json"))
    assert plain["path"] == str((home / "here/latest").resolve())
    assert (plain["job"]["mining"]["margin"], plain["job"]["mining"]["metric"]) == (0.7, "cosine")
    assert plain["written"]["hard"]["rows"] == 20
    options = "--margin 0.3 --metric euclidean --no-normalize --per-pair 2 --per-anchor 5 --seed 4"
    more = "--max-triplets 30 --out there --engine processes --workers 2 --index Flat"
    settings = "--set mining.memory=64MiB --set mining.loss=false --set model.batch_size=16"
    words = f"{options} {more} {settings} --model precomputed --select all --json".split()
    job = facts(cli("run", "jobs/default.toml", *words))["job"]
    assert list(job["mining"].values())[:5] == [0.3, "euclidean", False, "64MiB", False]
    caps = {"max_triplets": 30, "per_pair": 2, "per_anchor": 5, "seed": 4}
    default = miner.parse_job({"dataset": {"path": "small.parquet"}}).select
    assert job["select"] == dataclasses.asdict(default) | caps | {"classes": ["hard", "semi_hard"]}
    assert job["output"] == {"path": "there", "content": True, "report": True}
    assert list(job["engine"].values()) == ["processes", 2, "auto", None, 30.0]
    assert job["model"]["name"] == "precomputed" and job["model"]["batch_size"] == 16
    normal = facts(cli("run", "--normalize", "--json"))
    assert normal["mined"] is False
    assert normal["run_id"] == plain["run_id"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--margin", "x"], "margin"),
        (["--margin", "-1"], "mining.margin"),
        (["--set", "mining.margn=1"], "margin"),
        (["--set", "mining.margin='far'"], "mining.margin"),
        (["--set", "margin=1"], "SECTION.KEY"),
        (["--metric", "euclid"], "euclidean"),
        (["--engine", "thread"], "threads"),
        (["--model", "precomputd"], "precomputed"),
        (["--nonsense"], "--nonsense"),
        (["missing.toml"], "missing.toml"),
    ],
)
def test_wrong_usage(cli: Cli, home: Path, arguments: list[str], word: str) -> None:
    result = cli("run", "--data", "small.parquet", *arguments)
    assert (result.code, result.out) == (2, "")
    assert word in result.err
    assert "Traceback" not in result.err
    assert not (home / "mined/runs").exists()


def test_wrong_data(cli: Cli, home: Path) -> None:
    result = cli("run", "--data", "nowhere.csv")
    assert (result.code, result.out) == (3, "")
    assert "nowhere.csv" in result.err


def test_quiet_and_json(cli: Cli, home: Path) -> None:
    assert cli("run", "--data", "small.parquet", "--quiet") == Result(0, "", "")
    first = facts(cli("show", "--json"))["manifest"]
    again = facts(cli("run", "--data", "small.parquet", "--json"))
    assert (again["mined"], again["run_id"]) == (False, first["run_id"])
    assert {key: again[key] for key in first} == first
    assert cli("run", "--data", "small.parquet", "--quiet", "--force") == Result(0, "", "")
    assert len(facts(cli("runs", "--json"))) == 2


def test_already_mined_and_force(cli: Cli, home: Path) -> None:
    assert "already mined" not in cli("run", "--data", "small.parquet").out
    bytes_, first = shards("mined/latest"), os.readlink("mined/latest")
    result = cli("run", "--data", "small.parquet", "--engine", "processes")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("already mined")
    assert "--force" in result.out
    assert os.readlink("mined/latest") == first
    assert cli("run", "--data", "small.parquet", "--force").code == 0
    assert os.readlink("mined/latest") != first
    assert shards("mined/latest") == shards(f"mined/{first}") == bytes_
    assert len(bytes_) == 6


def test_plan_and_dry_run_write_nothing(cli: Cli, texts: list[Any], home: Path) -> None:
    before = sorted(home.rglob("*"))
    for data, anchors, valid in (
        ("small.parquet", 60, 60 * 11 * 48),
        ("texts.csv", 30, None),
        ("beir", 2, None),
    ):
        plan = facts(cli("plan", "--data", data, "--json"))
        assert plan["dataset"]["anchors"] == anchors
        assert valid in (None, plan["valid"])
        assert plan["triplets_at_most"] == plan["valid"] and plan["already_mined"] is None
        assert plan["memory_bytes"] > 0 < plan["disk_bytes"]
        dry = facts(cli("run", "--data", data, "--dry-run", "--json"))
        assert sorted(dry) == sorted(plan)
        for text in (cli("plan", "--data", data), cli("run", "--data", data, "--dry-run")):
            assert (text.code, text.err) == (0, "")
            assert f"{plan['valid']:,} valid" in text.out
            assert narrow(text.out)
    assert sorted(home.rglob("*")) == before
    assert cli("run", "--data", "nowhere.csv", "--dry-run").code == 3


@pytest.mark.parametrize("data", ["texts.csv", "texts.parquet", "beir"])
def test_init_writes_a_job_that_runs(cli: Cli, texts: list[Any], home: Path, data: str) -> None:
    result = cli("init", data)
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("next: mine plan\nthen: mine run\n")
    assert narrow(result.out)
    text = Path("jobs/default.toml").read_text()
    assert tomllib.loads(text)["dataset"]["path"] == data
    manifest = facts(cli("run", "--json"))
    assert manifest["mined"]
    assert manifest["model"]["id"] == "wordllama"
    assert manifest["dataset"]["items"] == (32 if data == "beir" else 30)
    refused = cli("init", "small.parquet")
    assert (refused.code, refused.out) == (2, "")
    assert "--force" in refused.err
    assert Path("jobs/default.toml").read_text() == text
    assert facts(cli("init", data, "--job", "a/b.toml", "--json"))["job"] == "a/b.toml"
    assert cli("init", "small.parquet", "--force").code == 0
    assert tomllib.loads(Path("jobs/default.toml").read_text())["dataset"] == {
        "path": "small.parquet",
        "id": "id",
        "content": "embedding",
        "label": "label",
    }


def test_runs_show_models_and_verify(cli: Cli, texts: list[Any], home: Path) -> None:
    assert facts(cli("runs", "--json")) == []
    assert cli("runs").out == "no runs in mined\n"
    assert cli("show").code == 2
    runs = [facts(cli("run", "--data", "texts.csv", "--json", "--seed", n)) for n in range(2)]
    listed = facts(cli("runs", "--json"))
    assert {row["run_id"] for row in listed} == {run["run_id"] for run in runs}
    assert [row["run_id"] for row in listed if row["latest"]] == [runs[1]["run_id"]]
    for row in listed:
        assert row["hard"] == runs[0]["census"]["hard"]
        assert row["written"]["hard"] == runs[0]["written"]["hard"]["rows"]
    shown = facts(cli("show", runs[0]["path"], "--json", "--triplets", 2))
    assert shown["manifest"] == {k: v for k, v in runs[0].items() if k not in ("mined", "path")}
    hard = pq.read_table("mined/latest/hard").to_pylist()
    assert shown["triplets"]["hard"] == [hard[0], hard[len(hard) // 2]]
    show = cli("show").out
    for role in ("anchor", "positive", "negative"):
        assert hard[0][role] in show
    assert f"{runs[1]['census']['valid']:,} valid triplets" in show
    names = {row["name"]: row["default_for"] for row in facts(cli("models", "--json"))}
    assert names["wordllama"] == ["text"]
    assert {"precomputed", "pixels"} <= set(names)
    assert facts(cli("verify", "--json"))["ok"] is True
    mined = cli("run", "--data", "texts.csv", "--max-triplets", 100)
    assert "100 written" in mined.out
    for command in ("runs", "show", "models", "verify"):
        result = cli(command)
        assert (result.code, result.err) == (0, "")
        assert narrow(result.out), result.out
    assert narrow(mined.out), mined.out


def test_a_large_summary_fits_80_columns(cli: Cli, home: Path) -> None:
    shutil.copy(ROOT / "sample_data/digits.parquet", "digits.parquet")
    out = cli("run", "--data", "digits.parquet", "--max-triplets", 10_000).out
    assert "519,439,560 valid" in out
    assert narrow(out), out


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], None])
def test_help_and_import_are_light(home: Path, arguments: list[str] | None) -> None:
    heavy = "{'faiss', 'pyarrow', 'torch', 'numba', 'joblib'}"
    call = (
        "import miner"
        if arguments is None
        else f"from miner.cli.main import main; main({arguments})"
    )
    code = f"import sys\ntry:\n {call}\nfinally:\n print(sorted({heavy} & set(sys.modules)))"
    result = end(start(code))
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("[]\n")
    assert arguments is None or result.out.startswith("Usage: mine")


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)],
)
def test_a_signal_ends_a_run_that_then_goes_on(
    cli: Cli, home: Path, number: signal.Signals, code: int, workers: int
) -> None:
    words = ["run", "--data", "small.parquet", "--workers", str(workers)]
    assert cli(*words, "--out", "other").code == 0
    assert cli(*words, "--margin", "0.1").code == 0
    before = os.readlink("mined/latest")
    process = start(SLOW + MINE, *words)
    for _ in range(600):
        if list(home.glob("mined/.staging/*/work/count-*.json")):
            break
        time.sleep(0.05)
    process.send_signal(number)
    result = end(process)
    assert result.code == code, result
    assert "continues from here" in result.err.splitlines()[-1]
    assert re.fullmatch(r"((mine: .*)?\n)+", result.err), result.err
    assert os.readlink("mined/latest") == before
    done = len(list(home.glob("mined/.staging/*/work/count-*.json")))
    assert 1 <= done < 4
    assert cli(*words).code == 0
    assert shards("mined/latest") == shards("other/latest")
    assert os.readlink("mined/latest") != before
    assert list(home.glob("mined/.staging/*")) == []


def test_one_writer_at_a_time(cli: Cli, home: Path) -> None:
    words = ["run", "--data", "small.parquet"]
    with lock_output(Path("mined")):
        result = end(start(MINE, *words))
        assert (result.code, result.out) == (4, "")
        assert f"process {os.getpid()}" in result.err
        assert result.err.count("\n") == 1
        assert cli("run", "--data", "small.parquet", "--out", "elsewhere").code == 0
        assert not Path("mined/runs").exists()
    assert cli(*words).code == 0
