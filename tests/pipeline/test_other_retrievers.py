"""Negatives come from the candidates alone, and are those that three loops take among them."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.embedding.eviction import kept_facts
from miner.embedding.store import open_store
from miner.runs.describe import describe_run
from miner.runs.staging import Staging
from tests.conftest import ROOT, Result
from tests.hard_data import vectors
from tests.oracle import enumerate_triplets
from tests.select_oracle import MARGIN, Data, chosen, dropped

Place = tuple[str, str, int, float]
"""A query, a document, its rank and its score."""
HANDBOOK = ROOT / "sample_data/handbook"


def write_data(folder: Path, kind: str) -> dict[str, Any]:
    """Labelled items, or pairs, of precomputed vectors; return the section of the job."""
    folder.mkdir(exist_ok=True)
    rows = vectors("tied", 40, 5, seed=3).tolist()
    rows[10:] = vectors("random", 30, 5, seed=4).tolist()
    vector = pa.list_(pa.float32())
    if kind == "labelled":
        table = pa.table(
            {
                "id": pa.array(range(100, 140)),
                "embedding": pa.array(rows, vector),
                "label": [f"c{n % 7}" for n in range(40)],
                "group": [f"g{n % 9}" for n in range(40)],
            }
        )
        pq.write_table(table, folder / "items.parquet")
        return {"path": str(folder / "items.parquet"), "group": "group"}
    asked = vectors("random", 12, 5, seed=5)
    asked[:3] = rows[10:13]
    ids = pa.array([f"q{n}" for n in range(12)])
    pq.write_table(
        pa.table({"id": ids, "embedding": pa.array(asked.tolist(), vector)}), folder / "q.parquet"
    )
    ids = pa.array(range(100, 140))
    pq.write_table(pa.table({"id": ids, "embedding": pa.array(rows, vector)}), folder / "c.parquet")
    links = [(f"q{n}", 100 + (n * k) % 40, 1) for n in range(11) for k in (1, 7, 3)]
    columns = zip(("query_id", "corpus_id", "score"), zip(*links, strict=True), strict=True)
    pq.write_table(pa.table({name: list(column) for name, column in columns}), folder / "l.parquet")
    return {name: str(folder / f"{name[0]}.parquet") for name in ("queries", "corpus", "links")}


def ask(kind: str, anchor: int) -> str:
    """The id of an anchor, as text."""
    return str(100 + anchor) if kind == "labelled" else f"q{anchor}"


def ranked(kind: str, seed: int, each: int, step: int) -> list[Place]:
    """A run: positives, the anchor itself and repeated documents are in it, and unknown ids."""
    rng = np.random.default_rng(seed)
    found = []
    for anchor in range(0, 40 if kind == "labelled" else 12, step):
        documents = [*rng.choice(40, each, replace=False).tolist(), anchor]
        documents += documents[:2]
        rng.shuffle(documents)
        for rank, document in enumerate(documents, start=1):
            name = "none" if rng.random() < 0.1 else str(100 + document)
            found.append((ask(kind, anchor), name, rank, 30.0 - rank))
    found.append(("nobody", "101", 1, 1.0))
    order = rng.permutation(len(found))
    return [found[place] for place in order]


def write_trec(path: Path, run: list[Place], mark: str = " ") -> str:
    text = "".join(mark.join((q, "Q0", d, str(r), str(s), "x")) + "\n" for q, d, r, s in run)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def write_lines(path: Path, run: list[Place], query: str = "query_id", name: str = "docid") -> str:
    lines = [json.dumps({query: q, name: d, "score": s}) for q, d, _, s in run]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def first(run: list[Place], depth: int) -> dict[str, list[str]]:
    """The first documents of each query, by rank."""
    found: dict[str, list[str]] = defaultdict(list)
    for query, document, _, _ in sorted(run, key=lambda place: place[2]):
        found[query].append(document)
    return {query: documents[:depth] for query, documents in found.items()}


def mine(data: dict[str, Any], out: Path, runs: list[str], **sections: Any) -> miner.Run:
    candidates = {"runs": runs, **sections.pop("candidates", {})}
    mining = {"margin": MARGIN, **sections.pop("mining", {})}
    return miner.mine(
        {
            "dataset": data,
            "model": {"name": "precomputed"},
            "candidates": candidates,
            "mining": mining,
            "output": {"path": str(out)},
            **sections,
        }
    )


def truth_of(run: miner.Run) -> Data:
    """The vectors and the relevance of a run, with every triplet classified by three loops."""
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    anchors, rows = store.vectors(0), store.vectors(store.row_side)
    relevance = store.relevance()
    truth = enumerate_triplets("euclidean", MARGIN, anchors, rows, relevance)
    return Data("euclidean", True, anchors, rows, relevance, truth)


def proposed(
    kind: str, found: Data, runs: dict[str, list[Place]], depth: int, own: int
) -> dict[int, dict[int, list[str]]]:
    """Who proposed which negative of each anchor; only the candidates stay in `found`."""
    lists = {name: first(run, depth) for name, run in runs.items()}
    result: dict[int, dict[int, list[str]]] = {}
    for anchor in range(found.relevance.anchors):
        whole = found.ranked(anchor)
        names: dict[int, list[str]] = defaultdict(list)
        for name, of in lists.items():
            known = {int(one) - 100 for one in of.get(ask(kind, anchor), []) if one != "none"}
            for row in known:
                names[row].append(name)
        for row in whole[:own]:
            names[row].append("mine")
        found.order[anchor] = [row for row in whole if row in names]
        result[anchor] = names
    return result


def triplets(run: miner.Run, folder: str) -> list[tuple[int, int, int, list[str]]]:
    """What a run wrote, as rows, with the sources."""
    table = run.triplets(folder).to_table()
    anchor = [int(str(one).removeprefix("q")) % 100 for one in table["anchor_id"].to_pylist()]
    rows = [[one - 100 for one in table[f"{r}_id"].to_pylist()] for r in ("positive", "negative")]
    return list(zip(anchor, *rows, table["source"].to_pylist(), strict=True))


SELECTS: list[dict[str, Any]] = [
    {"strategy": "all"},
    {"strategy": "hardest", "options": {"k": 2}, "relative_margin": 0.05, "suspects": True},
    {"strategy": "hardest", "skip_nearest": 2, "max_score": 0.8, "suspects": True},
    {"strategy": "semi-hard"},
    {"strategy": "semi-hard", "options": {"nth": 2}, "classes": ["semi_hard"]},
    {"strategy": "batch-hard"},
    {"strategy": "easy-positive"},
    {"strategy": "all", "ranks": (1, 5)},
]


@pytest.mark.parametrize("select", SELECTS, ids=lambda keys: f"{keys['strategy']}-{len(keys)}")
@pytest.mark.parametrize("kind", ["labelled", "pairs"])
@pytest.mark.parametrize(("depth", "own"), [(100, 0), (6, 4)])
def test_it_writes_what_three_loops_take_among_the_candidates(
    select: dict[str, Any], kind: str, depth: int, own: int, tmp_path: Path
) -> None:
    runs = {"one": ranked(kind, 1, 12, 1), "two": ranked(kind, 2, 8, 2)}
    data = write_data(tmp_path / "data", kind)
    files = [
        write_trec(tmp_path / "one.trec", runs["one"]),
        write_lines(tmp_path / "two.jsonl", runs["two"]),
    ]
    run = mine(
        data, tmp_path / "out", files, candidates={"depth": depth, "own": own}, select=select
    )
    found = truth_of(run)
    census = {name: len(found.truth.sets[name]) for name in ("hard", "semi_hard")}
    sources = proposed(kind, found, runs, depth, own)
    expected = chosen(found, select)
    for name in ("hard", "semi_hard"):
        written = triplets(run, name)
        assert [one[:3] for one in written] == sorted(expected[name], key=lambda t: t[:2])
        assert all(names == sources[a][n] for a, _, n, names in written)
        assert run.manifest["census"][name] == run.manifest["written"][name]["of"] == census[name]
        assert run.manifest["written"][name]["rows"] == len(written)
    if select.get("suspects"):
        listed = {(a, n) for a, names in sources.items() for n in names}
        drop = {t for t in dropped(found, select) if (t[0], t[2]) in listed}
        assert {one[:3] for one in triplets(run, "suspects")} == drop
    assert not miner.verify_run(run, full=True).problems
    facts = run.manifest["candidates"]
    able = [a for a in sources if len(found.relevance.positives(a))]
    assert facts["anchors_without"] == sum(not found.order[a] for a in able)
    assert [one["name"] for one in facts["runs"]] == ["one", "two"]
    assert f"{facts['negatives']:,} pairs that one, two" in describe_run(run)
    assert "one: of " in describe_run(run) and " 1 of unknown queries" in describe_run(run)
    for one in facts["runs"]:
        lines = runs[one["name"]]
        assert one["lines"] == len(lines) and one["lines_of_unknown_queries"] == 1
        assert one["lines_of_unknown_documents"] == sum(d == "none" for _, d, _, _ in lines) > 0


@pytest.mark.parametrize("kind", ["labelled", "pairs"])
def test_samples_and_caps_stay_within_the_candidates(kind: str, tmp_path: Path) -> None:
    runs = {"one": ranked(kind, 1, 20, 1)}
    data = write_data(tmp_path / "data", kind)
    file = write_trec(tmp_path / "one.trec.gz", runs["one"], "\t")
    for number, select in enumerate(
        (
            {"strategy": "uniform", "options": {"k": 3}},
            {"strategy": "all", "max_triplets": 60},
            {"strategy": "simans", "per_anchor": 5, "per_negative": 3},
            {"strategy": "distance-weighted", "per_pair": 2},
        )
    ):
        run = mine(data, tmp_path / str(number), [file], select=select)
        found = truth_of(run)
        sources = proposed(kind, found, runs, 100, 0)
        for name in ("hard", "semi_hard"):
            written = [one[:3] for one in triplets(run, name)]
            allowed = {t for t in found.truth.sets[name] if t[2] in sources[t[0]]}
            assert set(written) <= allowed and len(set(written)) == len(written)
            facts = run.manifest["written"][name]
            assert facts["available"] == len(allowed)
            assert facts["rows"] == len(written) > 0
            if "max_triplets" in select:
                weights = run.triplets(name).to_table()["weight"].to_numpy()
                assert len(written) == min(60, len(allowed))
                assert weights.sum() == pytest.approx(len(allowed), rel=1e-5)


@pytest.mark.parametrize("denoise", [False, True])
def test_the_same_bytes_whatever_the_engine(denoise: bool, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", "labelled")
    file = write_trec(tmp_path / "one.run", ranked("labelled", 1, 20, 1))
    seen = set()
    for number, engine in enumerate(
        ({"name": "threads", "workers": 1}, {"name": "processes", "workers": 2})
    ):
        run = mine(
            data, tmp_path / str(number), [file], candidates={"own": 5}, engine=engine,
            select={"denoise": denoise}, mining={"neighbours": 5},
        )  # fmt: skip
        seen.add(tuple(shard["sha256"] for shard in run.manifest["shards"]))
        noisy = set(pq.read_table(run.path / "label_noise.parquet")["anchor_id"].to_pylist())
        assert noisy
        for name in ("hard", "semi_hard"):
            rows = {100 + row for one in triplets(run, name) for row in one[:3]}
            assert not denoise or not noisy & rows
    assert len(seen) == 1


@pytest.mark.parametrize(
    "stage", ["proposed-00", "proposed-01-00002", "candidates", "recount-00002"]
)
def test_a_killed_run_continues_to_the_same_bytes(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_data(tmp_path / "data", "labelled")
    file = write_trec(tmp_path / "one.run", ranked("labelled", 1, 20, 1))

    def again() -> miner.Run:
        return mine(data, tmp_path / "out", [file], candidates={"own": 5}, engine={"workers": 1})

    whole = mine(data, tmp_path / "whole", [file], candidates={"own": 5})
    record, done = Staging.record, []

    def killed(self: Staging, name: str, facts: Any) -> None:
        if name == stage:
            raise KeyboardInterrupt
        record(self, name, facts)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            again()

    def counted(self: Staging, name: str, facts: Any) -> None:
        done.append(name)
        record(self, name, facts)

    monkeypatch.setattr(Staging, "record", counted)
    run = again()
    assert stage in done and ("count-00000" in done) == (stage == "proposed-00")
    assert [one["sha256"] for one in run.manifest["shards"]] == [
        one["sha256"] for one in whole.manifest["shards"]
    ]
    assert run.manifest["candidates"] == whole.manifest["candidates"]
    assert again().run_id == run.run_id


def test_all_formats_propose_the_same(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", "pairs")
    best = sorted(ranked("pairs", 1, 12, 1), key=lambda place: -place[2])
    run = list({place[:2]: place for place in best if place[0] != "nobody"}.values())
    columns = dict(zip(("qid", "docno", "rank", "score"), zip(*run, strict=True), strict=True))
    folder = tmp_path / "runs"
    folder.mkdir()
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), folder / "b.parquet")
    with (folder / "c.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([list(columns), *run])
    write_lines(folder / "d.jsonl", run, "query", "pid")
    by_query: dict[str, list[Place]] = defaultdict(list)
    for place in sorted(run, key=lambda place: place[2]):
        by_query[place[0]].append(place)
    lists = [{"query_id": q, "docs": [p[1] for p in of]} for q, of in by_query.items()]
    (folder / "e.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lists))
    objects = [
        {"qid": q, "hits": [{"docid": p[1], "score": p[3]} for p in reversed(of)]}
        for q, of in by_query.items()
    ]
    (folder / "f.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for query, document, _, score in sorted(run, key=lambda place: place[2]):
        scores[query][document] = score
    (folder / "h.json").write_text(json.dumps(scores))
    write_trec(folder / "a.txt", run)
    write_trec(folder / "g.trec.gz", run, "\t")
    seen, keys = set(), []
    for path in sorted(folder.iterdir()):
        out = tmp_path / path.name
        one = mine(data, out, [str(path)], candidates={"depth": 5})
        assert one.manifest["candidates"]["runs"][0]["lines"] == len(run)
        keys.append(one.manifest["candidates"]["proposed"])
        seen.add(tuple(t[:3] for name in ("hard", "semi_hard") for t in triplets(one, name)))
    assert len(seen) == 1 and len(set(keys)) == 1 and len(keys) == 8


def best_by_bm25(queries: list[str], documents: list[str], depth: int) -> list[list[int]]:
    """The best documents of each query by Lucene's BM25, written the stupid way."""
    words = [Counter(re.findall(r"\w+", text.lower())) for text in documents]
    mean = sum(map(Counter.total, words)) / len(words)
    found = []
    for query in queries:
        scores = [0.0] * len(documents)
        for word in re.findall(r"\w+", query.lower()):
            holding = sum(word in one for one in words)
            rare = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            for row, one in enumerate(words):
                weight = one[word] + 1.5 * (0.25 + 0.75 * one.total() / mean)
                scores[row] += rare * one[word] / weight
        order = sorted(range(len(words)), key=lambda row: (-round(scores[row], 9), row))
        found.append([row for row in order if scores[row] > 0][:depth])
    return found


def test_bm25_ranks_by_shared_words(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="an extra")
    job = {
        "dataset": {"path": str(HANDBOOK)},
        "candidates": {"runs": ["bm25"], "depth": 20, "own": 3},
        "select": {"max_triplets": 10**6},
    }
    run = miner.mine({**job, "output": {"path": str(tmp_path / "a")}})
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    texts = [store.texts(side).all().to_pylist() for side in (0, 1)]
    best = best_by_bm25(*texts, 20)
    assert run.manifest["candidates"]["runs"][0]["pairs"] == sum(map(len, best))
    seen = set()
    for name in ("semi_hard", "hard"):
        table = run.triplets(name).to_table()
        columns = (table[name].to_pylist() for name in ("anchor_id", "negative_id", "source"))
        for anchor, row, names in zip(*columns, strict=True):
            query, document = int(anchor[1:]) - 1, int(row[1:]) - 1
            assert ("bm25" in names) == (document in best[query])
            seen.add(tuple(names))
    assert seen == {("bm25",), ("mine",), ("bm25", "mine")}
    engine = {"name": "processes", "workers": 2}
    other = miner.mine({**job, "engine": engine, "output": {"path": str(tmp_path / "b")}})
    assert [one["sha256"] for one in run.manifest["shards"]] == [
        one["sha256"] for one in other.manifest["shards"]
    ]


def test_a_teacher_judges_candidates_and_trainers_read_the_shards(
    tmp_path: Path, cli: Callable[..., Result]
) -> None:
    run = [(f"q{q:02}", f"p{p:03}", p, 1.0) for q in range(1, 61) for p in range(1, 40)]
    job = {
        "dataset": {"path": str(HANDBOOK)},
        "candidates": {"runs": [write_trec(tmp_path / "run.trec", run)], "own": 2},
        "teacher": {"model": "tests.pipeline.test_teacher:overlap", "max_score": 0.2},
    }
    out = tmp_path / "out"
    mined = miner.mine({**job, "output": {"path": str(out)}})
    assert mined.schema().names[-3:] == ["teacher_ap", "teacher_an", "source"]
    assert not miner.verify_run(mined, full=True).problems
    plain = {key: job[key] for key in ("dataset", "candidates")}
    again = miner.mine({**plain, "output": {"path": str(out)}})
    assert again.schema().names[-1] == "source" and "teacher_ap" not in again.schema().names
    found = cli("export", out / "latest", "--format", "n-tuple")
    assert found.code == 0, found.err
    assert cli("compare", mined.path, again.path).code == 0
    assert cli("show", out / "latest").code == 0
    planned = cli(
        "plan", "--data", HANDBOOK, "--set", f"candidates.runs={job['candidates']['runs']}"
    )
    assert planned.code == 0 and "among the candidates of run" in planned.out


@pytest.mark.parametrize("damaged", [False, True])
def test_kept_candidates_are_not_found_again(damaged: bool, tmp_path: Path) -> None:
    """A changed threshold of a teacher searches nothing, counts nothing and scores nothing."""
    pytest.importorskip("bm25s")
    run = [(f"q{q:02}", f"p{p:03}", p, 1.0) for q in range(1, 61) for p in range(1, 40)]
    said: list[str] = []

    def mined(out: str, most: float) -> miner.Run:
        said.clear()
        return miner.mine(
            {
                "dataset": {"path": str(HANDBOOK)},
                "candidates": {"runs": ["bm25", write_trec(tmp_path / "r.trec", run)], "own": 2},
                "teacher": {"model": "tests.pipeline.test_teacher:overlap", "max_score": most},
                "output": {"path": str(tmp_path / out)},
            },
            progress=lambda stage, done, total: said.append(stage),
        )

    first = mined("out", 0.2)
    assert {"searching with bm25", "searching with the model"} <= {*said}
    if damaged:
        (kept,) = (tmp_path / "out").glob(".store/*/candidates/*/candidates.npy")
        kept.write_bytes(kept.read_bytes()[:-1])
    again = mined("out", 0.1)
    searched = any(stage.startswith("searching") for stage in said)
    assert searched == damaged and "counting" not in said
    assert again.manifest["teacher"]["computed"] == 0
    assert again.manifest["candidates"] == first.manifest["candidates"]
    other = mined("other", 0.1)
    assert [one["sha256"] for one in again.manifest["shards"]] == [
        one["sha256"] for one in other.manifest["shards"]
    ]
    kinds = {one["kind"] for one in kept_facts(tmp_path / "out")["kept"]}
    assert {"store", "count", "candidate", "pool"} <= kinds


def test_a_job_without_candidates_is_the_job_it_was() -> None:
    plain = miner.parse_job({"dataset": {"path": "x"}}).identity()
    assert "candidates" not in plain


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, ["candidates.depth=0"], ["candidates.depth", "1 or more"]),
        (2, ["candidates.own=3"], ["candidates.own", "candidates.runs"]),
        (2, ['candidates.runs=["bm25", "bm25"]'], ["'bm25'", "rename"]),
        (2, ['candidates.runs=["bm25"]', "output.content=false"], ["output.content"]),
        (2, ['candidates.runs=["bm25"]', "index.factory=HNSW32"], ["index.factory", "exact"]),
        (2, ['candidates.runs=["BM25"]'], ["no such file", "did you mean 'bm25'"]),
        (3, ['candidates.runs=["bm25s"]'], ["no such file", "bm25s"]),
        (3, ['candidates.runs=["{qrels}"]'], ["qrels.trec", "TREC run", "6 columns"]),
        (3, ['candidates.runs=["{bad}"]'], ["bad.trec, line 2", "5 columns", "a rank"]),
        (3, ['candidates.runs=["{other}"]'], ["other.trec", "'x1'", "'q01'"]),
        (3, ['candidates.runs=["{texts}"]'], ["no column with a document"]),
        (3, ['candidates.runs=["{nan}"]'], ["nan.csv", "row 1", "'high'"]),
        (3, ['candidates.runs=["{empty}"]'], ["empty.run is empty: it has no"]),
        (3, ['candidates.runs=["{blank}"]'], ["blank.trec is empty: it has no"]),
        (2, ['candidates.runs=[""]'], ["candidates.runs has an empty path"]),
        (3, ['candidates.runs=["{odd}"]'], ["odd.run", "TREC run"]),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_mistakes_are_said(
    code: int, arguments: list[str], words: list[str], tmp_path: Path, cli: Callable[..., Result]
) -> None:
    files = {
        "qrels.trec": "q01 0 p001 1\n",
        "bad.trec": "q01 Q0 p001 1 2.5 x\nq01 Q0 p002 2 x\n",
        "other.trec": "x1 Q0 p001 1 2.5 x\n",
        "texts.csv": "query_id,words\nq01,hello\n",
        "nan.csv": "qid,docid,score\nq01,p001,2\nq01,p002,high\n",
        "empty.run": "",
        "blank.trec": "\n \n",
        "odd.run": "q01,p001\n",
    }
    places = {}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        places[name.partition(".")[0]] = str(tmp_path / name)
    options = [
        option
        for one in arguments
        for option in ("--set", one.format(**places) if "{" in one else one)
    ]
    found = cli("run", "--data", HANDBOOK, "--out", tmp_path / "out", *options)
    assert found.code == code, found.err
    assert all(word in found.err for word in words), found.err
    assert len(found.err.strip().splitlines()) <= 12
