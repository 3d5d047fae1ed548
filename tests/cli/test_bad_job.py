"""Pairs, options and job files that cannot be followed: exit code, message, nothing touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli import test_bad_input
from tests.cli.test_bad_input import DATA, STORAGE, USAGE, Desk, says, text, vectors
from tests.conftest import Result

finished, desk, good = test_bad_input.finished, test_bad_input.desk, test_bad_input.good


# Pairs


def pairs(folder: Path, **parts: Any) -> Path:
    """Write queries, corpus and links, with the parts that are given; return the job file."""
    usual: dict[str, Any] = {
        "queries": {"id": ["q0", "q1"], "text": ["one", "two"]},
        "corpus": {"id": ["d0", "d1", "d2"], "text": ["a", "b", "c"]},
        "links": {"query_id": ["q0", "q1"], "corpus_id": ["d0", "d1"], "score": [1, 1]},
    }
    lines = ["[dataset]"]
    for name, columns in {**usual, **parts}.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        lines.append(f'{name} = "{folder / name}.parquet"')
    return text(folder, "job.toml", "\n".join(lines))


LINK_FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "query": ({"query_id": ["q0", "q9"]}, ["row 1", "query_id", "'q9'", "queries.parquet"]),
    "corpus": ({"corpus_id": ["x7", "d1"]}, ["row 0", "corpus_id", "'x7'", "corpus.parquet"]),
    "null": ({"corpus_id": ["d0", None]}, ["row 1", "corpus_id", "None"]),
    "no positive": ({"score": [0, -1]}, ["no link has a score above 0"]),
    "no score": ({"score": [1, None]}, ["row 1", "score"]),
    "words": ({"score": ["1", "high"]}, ["'score'", "numbers", "high"]),
}


@pytest.mark.parametrize("fault", LINK_FAULTS)
def test_links_that_name_nothing(fault: str, desk: Desk, tmp_path: Path) -> None:
    columns, words = LINK_FAULTS[fault]
    whole = {"query_id": ["q0", "q1"], "corpus_id": ["d0", "d1"], "score": [1, 1], **columns}
    says(desk.refused(DATA, pairs(tmp_path, links=whole)), tmp_path / "links.parquet", *words)


def test_link_columns_are_suggested(desk: Desk, tmp_path: Path) -> None:
    job = pairs(tmp_path, links={"query_ids": ["q0"], "corpus_id": ["d0"]})
    message = desk.refused(DATA, job)
    says(message, "links.parquet", "'query_id'", "did you mean 'query_ids'?", "dataset.link_query")


def test_queries_and_corpus_of_different_kinds_or_dimensions(desk: Desk, tmp_path: Path) -> None:
    asks = {"id": ["q0", "q1"], "embedding": [[1.0, 2.0], [3.0, 4.0]]}
    message = desk.refused(DATA, pairs(tmp_path, queries=asks))
    says(message, "queries.parquet", "vectors", "corpus.parquet", "text")
    message = desk.refused(
        DATA,
        pairs(tmp_path, queries=asks, corpus={"id": ["d0", "d1", "d2"], "embedding": vectors(3)}),
    )
    says(message, "queries.parquet", "2", "corpus.parquet", "3")


def test_beir_folder_without_its_parts(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    text(folder, "corpus.jsonl", '{"_id": "d0", "text": "a"}\n')
    says(desk.refused(DATA, "--data", folder), folder / "queries.jsonl", "no such file")
    text(folder, "queries.jsonl", '{"_id": "q0", "text": "b"}\n')
    says(desk.refused(DATA, "--data", folder), folder, "qrels/*.tsv", "links")
    (folder / "qrels").mkdir()
    text(folder / "qrels", "test.tsv", "query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    for wrong in ("qrels/tset.tsv", "/nowhere/test.tsv"):
        message = desk.refused(DATA, "--data", folder, "--set", f"dataset.links={wrong}")
        says(message, folder, wrong, "qrels/test.tsv")


# Job and options


OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "model": (["--model", "pixel"], ["model 'pixel'", "did you mean 'pixels'?", "wordllama"]),
    "torchvision": (["--model", "torchvision:resnet18"], ["use timm:NAME", "weights"]),
    "efficientnet": (["--model", "efficientnet-lite0"], ["use timm:tf_efficientnet_lite0 with"]),
    "metric": (["--metric", "cosin"], ["mining.metric", "'cosin'", "did you mean 'cosine'?"]),
    "strategy": (["--select", "al"], ["strategy 'al'", "did you mean 'all'?"]),
    "class": (["--select", "seminard"], ["'seminard'", "did you mean 'semi-hard'?"]),
    "strategy's option": (["--set", "select.options.k=1"], ["select.options.k", "strategy 'all'"]),
    "engine": (["--engine", "thread"], ["engine 'thread'", "did you mean 'threads'?"]),
    "backend": (["--engine", "joblib:loky"], ["'joblib:loky'", "use threads, processes or dask"]),
    "index": (["--index", "flta"], ["index 'flta'", "did you mean 'Flat'?"]),
    "key": (["--set", "mining.margn=1"], ["mining.margn", "did you mean 'margin'?"]),
    "section": (["--set", "minning.margin=1"], ["'minning'", "did you mean 'mining'?"]),
    "set": (["--set", "nonsense"], ["'nonsense'", "SECTION.KEY=VALUE"]),
    "set without key": (["--set", "margin=1"], ["'margin=1'", "SECTION.KEY=VALUE"]),
    "margin 0": (["--margin", "0"], ["mining.margin", "0.0", "above 0"]),
    "margin below 0": (["--margin", "-1"], ["mining.margin", "-1.0", "above 0"]),
    "margin nan": (["--margin", "nan"], ["mining.margin", "nan", "above 0"]),
    "margin inf": (["--margin", "inf"], ["mining.margin", "inf"]),
    "margin text": (["--margin", "wide"], ["margin", "'wide'", "--help"]),
    "set margin text": (["--set", "mining.margin=wide"], ["mining.margin", "'wide'", "a number"]),
    "margin of percent": (["--margin", "20"], ["mining.margin = 20", "2 at most"]),
    "margin of squares": (
        ["--margin", "4.5", "--metric", "sqeuclidean"],
        ["mining.margin = 4.5", "4 at most"],
    ),
    "margin of cosines": (
        ["--margin", "2.5", "--metric", "cosine", "--no-normalize"],
        ["mining.margin = 2.5", "2 at most"],
    ),
    "most of percent": (["--set", "select.max_score=90"], ["= 90", "every triplet", "-1 to 1"]),
    "most below": (["--set", "select.max_score=-1.5"], ["= -1.5", "no triplet", "-1 to 1"]),
    "least of percent": (["--set", "select.min_score=20"], ["= 20", "no triplet", "-1 to 1"]),
    "least of distances": (
        ["--no-normalize", "--set", "select.min_score=0.2"],
        ["select.min_score = 0.2", "no triplet", "0 at most"],
    ),
    "least above most": (
        ["--set", "select.min_score=0.5", "--set", "select.max_score=0.4"],
        ["select.min_score = 0.5", "above max_score = 0.4"],
    ),
    "guard of percent": (
        ["--set", "select.absolute_margin=5"],
        ["select.absolute_margin = 5", "no triplet", "0.05"],
    ),
    "guard below 0": (["--set", "select.absolute_margin=-0.1"], ["-0.1", "0 or more"]),
    "guard nan": (["--set", "select.absolute_margin=nan"], ["absolute_margin", "finite"]),
    "relative guard": (["--set", "select.relative_margin=5"], ["relative_margin", "0 and 1"]),
    "score inf": (["--set", "select.min_score=-inf"], ["select.min_score", "finite"]),
    "teacher nan": (
        ["--set", "teacher.model=json:dumps", "--set", "teacher.max_score=nan"],
        ["teacher.max_score = nan", "finite"],
    ),
    "budget nan": (["--set", "index.budget_minutes=nan"], ["budget_minutes = nan", "0 or more"]),
    "option": (["--margn", "1"], ["--margn", "--margin"]),
    "memory": (["--set", "mining.memory=lots"], ["mining.memory", "'lots'", "512MiB"]),
    "memory unit": (["--set", "mining.memory=5XB"], ["mining.memory", "'5XB'", "512MiB"]),
    "no memory": (["--set", "mining.memory=0MiB"], ["mining.memory", "'0MiB'", "512MiB"]),
    "memory number": (["--set", "mining.memory=512"], ["mining.memory", "512", "MiB"]),
    "workers": (["--workers", "-1"], ["engine.workers", "-1", "0 or more"]),
    "cap": (["--per-pair", "-1"], ["select.per_pair", "-1", "0 or more"]),
    "cap of 64 bits": (["--per-pair", str(1 << 63)], ["select.per_pair", "64 bits"]),
    "no lists": (["--index", "IVF0,Flat"], ["index.factory", "'IVF0,Flat'", "no lists"]),
    "batch": (["--set", "model.batch_size=0"], ["model.batch_size", "0", "1 or more"]),
    "dot": (["--metric", "dot", "--normalize"], ["dot", "never normalised", "cosine"]),
    "option date": (["--set", "model.options.a=2020-01-01"], ["model.options", "2020"]),
    "option nan": (["--set", "model.options.a=nan"], ["model.options", "nan"]),
    "module": (["--model", "nowhere_xyz:f"], ["nowhere_xyz", "installed"]),
    "attribute": (["--model", "json:dump_s"], ["dump_s", "did you mean 'dumps'?"]),
}


@pytest.mark.parametrize("fault", OPTIONS)
def test_options_that_cannot_be_followed(fault: str, desk: Desk, good: Path) -> None:
    options, words = OPTIONS[fault]
    says(desk.refused(USAGE, "--data", good, *options), *words)


@pytest.mark.parametrize(
    "options",
    [
        ["--margin", "2"],
        ["--margin", "1.5", "--metric", "cosine"],
        ["--margin", "4", "--metric", "sqeuclidean"],
        ["--margin", "30", "--metric", "dot"],
        ["--margin", "30", "--no-normalize"],
        ["--metric", "dot", "--set", "select.max_score=90"],
        ["--metric", "dot", "--set", "select.absolute_margin=20"],
        ["--no-normalize", "--set", "select.max_score=-30"],
        ["--set", "select.max_score=1", "--set", "select.min_score=-1"],
    ],
)
def test_what_can_be_meant_is_planned(
    options: list[str], good: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    """Ranges are refused where they are known, and only beyond their ends."""
    assert cli("plan", "--data", good, "--out", tmp_path / "out", *options).code == 0


JOBS: dict[str, tuple[str, list[str]]] = {
    "toml": ("[mining\nmargin = 0.2", ["not valid TOML", "line 1"]),
    "margin": ('[mining]\nmargin = "0.2"', ["mining.margin", "'0.2'", "a number"]),
    "truth as number": ("[mining]\nmargin = true", ["mining.margin", "True", "a number"]),
    "fraction": ("[select]\nseed = 1.5", ["select.seed", "1.5", "a whole number"]),
    "list": ('[dataset]\nlabel = ["a"]', ["dataset.label", "['a']", "text"]),
    "number": ("[mining]\nnormalize = 1", ["mining.normalize", "1", "true or false"]),
    "options": ("[model]\noptions = 5", ["model.options", "5", "a table"]),
    "metric": ("[mining]\nmetric = 5", ["mining.metric", "5", "euclidean"]),
    "section": ('dataset = "x"', ["[dataset]", "'x'", "section"]),
    "sections": ("[minning]\nmargin = 1", ["'minning'", "did you mean 'mining'?"]),
    "key": ("[mining]\nmargn = 1", ["mining.margn", "did you mean 'margin'?"]),
    "no data": ("[mining]\nmargin = 1", ["no data", "dataset.path", "--data"]),
    "two kinds": ('[dataset]\npath = "a"\ncorpus = "b"', ["dataset.path", "exclude"]),
    "half": ('[dataset]\nqueries = "a"\nlinks = "b"', ["dataset.corpus", "missing"]),
}


@pytest.mark.parametrize("fault", JOBS)
def test_job_files_that_cannot_be_followed(fault: str, desk: Desk, tmp_path: Path) -> None:
    content, words = JOBS[fault]
    path = text(tmp_path, "job.toml", content)
    says(desk.refused(USAGE, path), *words)


def test_options_of_a_model_over_something_else(desk: Desk, good: Path, tmp_path: Path) -> None:
    path = text(tmp_path, "job.toml", "[model]\noptions = 5")
    message = desk.refused(USAGE, path, "--data", good, "--set", "model.options.scale=2")
    says(message, "model.options", "5", "a table")


def test_missing_job(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(desk.refused(USAGE, tmp_path / "none.toml"), tmp_path / "none.toml", "mine init")
    says(desk.refused(USAGE, tmp_path), tmp_path, "job file")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    says(desk.refused(USAGE), "jobs/default.toml", "mine init", "--data")


@pytest.mark.parametrize("place", ["{data}/below", "{data}", "/proc/mined"])
def test_folders_that_cannot_be_written(place: str, desk: Desk, good: Path) -> None:
    target = place.format(data=good)
    before = good.read_bytes()
    message = desk.refused(STORAGE, "--data", good, out=target)
    says(message, target, "nothing was published", "--out")
    assert good.read_bytes() == before
