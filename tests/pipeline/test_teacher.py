"""A teacher scores what was drawn, and decides what is written: against three loops."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, UsageError
from miner.runs.describe import describe_run
from tests.conftest import ROOT
from tests.sizes import make_small

WORDS = "ash bay cat dog elm fox gum hay ivy jay".split()
CALLS: list[list[tuple[str, str]]] = []
HERE = "tests.pipeline.test_teacher"
MARGIN = 0.3
Row = dict[str, Any]


def embed(texts: list[str]) -> np.ndarray:
    """Count each word."""
    return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype="f4")


def overlap(pairs: list[tuple[str, str]]) -> list[float]:
    """The share of words that two texts have in common."""
    CALLS.append(list(pairs))
    sets = [(set(left.split()), set(right.split())) for left, right in pairs]
    return [len(left & right) / len(left | right) for left, right in sets]


def short(pairs: list[tuple[str, str]]) -> list[float]:
    return overlap(pairs)[1:]


def unsure(pairs: list[tuple[str, str]]) -> list[float]:
    return [float("nan")] * len(pairs)


def broken(pairs: list[tuple[str, str]]) -> list[float]:
    raise RuntimeError("out of luck")


class Embeds(miner.Model):
    """A teacher that is an embedding model."""

    def embed(self, batch: Any) -> np.ndarray:
        return embed(batch) + 1


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    CALLS.clear()
    yield


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(8)
    rows = [" ".join(rng.choice(WORDS, 5)) + f" n{n}" for n in range(40)]
    table = pa.table({"id": range(40), "text": rows, "label": [n % 4 for n in range(40)]})
    path = tmp_path_factory.mktemp("texts") / "texts.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Queries and documents, where ids are texts and a query has several documents."""
    rng, folder = np.random.default_rng(9), tmp_path_factory.mktemp("linked")
    for name, count in (("queries", 12), ("corpus", 30)):
        rows = [" ".join(rng.choice(WORDS, 4)) + f" {name[0]}{n}" for n in range(count)]
        ids = [f"{name[0]}{n:02}" for n in range(count)]
        pq.write_table(pa.table({"id": ids, "text": rows}), folder / f"{name}.parquet")
    links = sorted({(int(q), int(d)) for q, d in rng.integers([12, 30], size=(30, 2)) % [12, 30]})
    table = {
        "query_id": [f"q{q:02}" for q, _ in links],
        "corpus_id": [f"c{d:02}" for _, d in links],
    }
    pq.write_table(pa.table(table), folder / "links.parquet")
    return {name: str(folder / f"{name}.parquet") for name in ("queries", "corpus", "links")}


def mine(
    data: Path | dict[str, str],
    out: Path,
    teacher: dict[str, Any] | None = None,
    engine: str = "threads",
    **select: Any,
) -> miner.Run:
    job = {
        "dataset": {"path": str(data)} if isinstance(data, Path) else data,
        "model": {"name": f"{HERE}:embed"},
        "mining": {"margin": MARGIN},
        "engine": {"name": engine, "workers": 2},
        "select": {"max_triplets": 10**6, **select},
        "gates": {"min_rows": 0},
        "output": {"path": str(out)},
        "cache": {"path": str(out / "cache")},
    }
    if teacher is not None:
        job["teacher"] = {"model": f"{HERE}:overlap", **teacher}
    return miner.mine(job)


def rows(run: miner.Run, folder: str) -> list[Row]:
    found: list[Row] = run.triplets(folder).to_table().to_pylist()
    return found


def shards(run: miner.Run) -> list[str]:
    return [shard["sha256"] for shard in run.manifest["shards"]]


def key(row: Row) -> tuple[Any, Any, Any]:
    return row["anchor_id"], row["positive_id"], row["negative_id"]


def rejected(row: Row, rules: dict[str, float]) -> bool:
    t_p, t_n = (
        float(np.float32(overlap([(row["anchor"], row[role])])[0]))
        for role in ("positive", "negative")
    )
    limits = [rules["max_score"]] if "max_score" in rules else []
    if "absolute_margin" in rules:
        limits.append(t_p - rules["absolute_margin"])
    if "relative_margin" in rules:
        limits.append(t_p - rules["relative_margin"] * abs(t_p))
    return any(t_n > limit for limit in limits)


def exact(row: Row) -> float:
    """The distance of the negative in float64, on unit vectors rounded to float32."""
    a, n = (embed([row[role]]).astype(np.float64) for role in ("anchor", "negative"))
    unit = [(x / np.linalg.norm(x)).astype(np.float32).astype(np.float64) for x in (a, n)]
    return float(np.sqrt(((unit[0] - unit[1]) ** 2).sum(-1))[0])


def lists(every: list[Row]) -> dict[tuple[Any, Any], list[Row]]:
    """The triplets of each pair and class, nearest negative first, ties by row."""
    found: dict[tuple[Any, Any], list[Row]] = {}
    for row in every:
        found.setdefault((row["anchor_id"], row["positive_id"]), []).append(row)
    for mine_ in found.values():
        mine_.sort(key=lambda row: (exact(row), row["negative_id"]))
    return found


def expected(
    chosen: list[Row], every: list[Row], rules: dict[str, float], spares: int
) -> tuple[list[tuple[Any, Any, Any]], int, int]:
    """What is written of the chosen triplets of a class, how many are rejected and replaced."""
    result, lost, replaced = [], 0, 0
    left = lists(chosen)
    for pair, listed in lists(every).items():
        own = {key(row) for row in left.get(pair, [])}
        at = {key(row): rank for rank, row in enumerate(listed)}
        taken, after = set(own), 0
        extra: list[Row] = []
        for rank in sorted(at[name] for name in own):
            after, missing = max(after, rank + 1), spares
            while missing and after < len(listed):
                if key(listed[after]) not in taken:
                    taken.add(key(listed[after]))
                    extra.append(listed[after])
                    missing -= 1
                after += 1
        gone = [row for row in left.get(pair, []) if rejected(row, rules)]
        used = [row for row in extra if not rejected(row, rules)][: len(gone)]
        lost, replaced = lost + len(gone), replaced + len(used)
        result += [key(row) for row in left.get(pair, []) if row not in gone]
        result += [key(row) for row in used]
    return sorted(result), lost, replaced


SELECTIONS: list[dict[str, Any]] = [
    {"strategy": "hardest", "options": {"k": 2}},
    {"strategy": "hardest", "options": {"k": 3}, "per_pair": 2},
    {"strategy": "hardest", "options": {"k": 3}, "max_triplets": 60},
    {"strategy": "semi-hard", "options": {"nth": 3}},
    {"strategy": "batch-hard"},
    {"strategy": "easy-positive", "options": {"variant": "epshn"}},
    {"strategy": "uniform", "options": {"k": 4}},
    {"strategy": "warp", "options": {"k": 2}},
    {"strategy": "all", "max_triplets": 50, "seed": 3},
    {"strategy": "all", "per_anchor": 3, "skip_nearest": 2},
    {"strategy": "all"},
]
RULES: list[dict[str, float]] = [
    {"max_score": 0.25},
    {"relative_margin": 0.2},
    {"absolute_margin": 0.1, "max_score": 0.4},
    {"max_score": -1.0},
]


@pytest.mark.sampled(14)
@pytest.mark.parametrize("spares", [0, 1, 3])
@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("select", SELECTIONS, ids=str)
@pytest.mark.parametrize("kind", ["labels", "links"])
def test_what_is_written(
    kind: str,
    select: dict[str, Any],
    rules: dict[str, float],
    spares: int,
    texts: Path,
    linked: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_small(monkeypatch, judged=7, scored=9)
    data: Path | dict[str, str] = texts if kind == "labels" else linked
    filters = {name: value for name, value in select.items() if name == "skip_nearest"}
    every = mine(data, tmp_path / "every", **filters)
    drawn = mine(data, tmp_path / "out", {"spares": spares}, **select)
    run = mine(data, tmp_path / "out", {"spares": spares, **rules}, **select)
    assert run.manifest["teacher"]["computed"] == 0
    for folder in ("hard", "semi_hard"):
        chosen, found = rows(drawn, folder), rows(run, folder)
        truth, lost, replaced = expected(chosen, rows(every, folder), rules, spares)
        assert sorted(map(key, found)) == truth
        written = run.manifest["written"][folder]
        assert (written["rejected"], written["replaced"]) == (lost, replaced)
        assert written["rows"] == len(chosen) - lost + replaced == len(found)
        assert {name: written[name] for name in ("wanted", "available", "of")} == {
            name: drawn.manifest["written"][folder][name] for name in ("wanted", "available", "of")
        }
        for row in found:
            for role in ("positive", "negative"):
                score = np.float32(overlap([(row["anchor"], row[role])])[0])
                assert row[f"teacher_{'ap' if role == 'positive' else 'an'}"] == score
        # The order of a shard is that of anchor, positive and distance.
        order = [(row["anchor_id"], row["positive_id"], exact(row)) for row in found]
        assert order == sorted(order)
    assert not miner.verify_run(run, full=True).problems


def test_each_distinct_pair_is_scored_once(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, scored=9)
    run = mine(texts, tmp_path / "out", {"spares": 1, "batch_size": 16}, strategy="hardest")
    pairs = {
        (row["anchor"], row[role])
        for folder in ("hard", "semi_hard")
        for row in rows(run, folder)
        for role in ("positive", "negative")
    }
    asked = [pair for call in CALLS if len(call) != 8 for pair in call]
    assert len(set(asked)) == len(asked) == run.manifest["teacher"]["pairs"] >= len(pairs)
    assert pairs <= set(asked) and max(map(len, CALLS)) == 16
    assert "teacher" in describe_run(run)


def test_a_changed_threshold_scores_and_counts_nothing(texts: Path, tmp_path: Path) -> None:
    """And gives the bytes of a run from nothing, on every engine."""
    select = {"strategy": "semi-hard", "per_negative": 5}
    mine(texts, tmp_path / "out", {"max_score": 0.3}, **select)
    CALLS.clear()
    for teacher in (
        {"max_score": 0.2},
        {"relative_margin": 0.1, "rejected": "suspects"},
        {"absolute_margin": 0.0, "rejected": "promote"},
        {"activation": "sigmoid", "max_score": 0.6},
    ):
        run = mine(texts, tmp_path / "out", teacher, **select)
        assert run.manifest["teacher"]["computed"] == 0
        assert run.manifest["census"]["reused"]
        assert max(map(len, CALLS), default=0) <= 8  # only the pairs that identify the function
        alone = mine(texts, tmp_path / "alone", teacher, engine="processes", **select)
        assert shards(alone) == shards(run)
        assert [f["sha256"] for f in alone.manifest["files"] if "promoted" in f["path"]] == [
            f["sha256"] for f in run.manifest["files"] if "promoted" in f["path"]
        ]
        CALLS.clear()
    again = mine(texts, tmp_path / "out", {"max_score": 0.3}, **{**select, "per_negative": 2})
    assert again.manifest["teacher"]["computed"] == 0
    assert not any(len(call) > 8 for call in CALLS)


def test_suspects_are_what_the_teacher_rejects(texts: Path, tmp_path: Path) -> None:
    select = {"strategy": "hardest", "options": {"k": 2}}
    rules = {"relative_margin": 0.3}
    dropped = mine(texts, tmp_path / "a", {"spares": 1, **rules}, **select)
    run = mine(texts, tmp_path / "a", {"spares": 1, "rejected": "suspects", **rules}, **select)
    suspects = rows(run, "suspects")
    assert suspects and all(rejected(row, rules) for row in suspects)
    for folder in ("hard", "semi_hard"):
        assert rows(run, folder) == rows(dropped, folder)
    facts = run.manifest["written"]
    assert facts["suspects"]["rows"] == facts["suspects"]["of"] == len(suspects)
    assert len(suspects) >= sum(facts[name]["rejected"] for name in ("hard", "semi_hard"))
    assert [row["anchor_id"] for row in suspects] == sorted(row["anchor_id"] for row in suspects)
    assert not miner.verify_run(run, full=True).problems


def test_promoted_pairs_are_written_and_are_no_negatives(texts: Path, tmp_path: Path) -> None:
    rules = {"absolute_margin": 0.0}
    teacher = {"spares": 2, "rejected": "promote", **rules}
    run = mine(texts, tmp_path / "out", teacher, strategy="all", max_triplets=400)
    table = pq.read_table(run.path / "promoted.parquet").to_pylist()
    pairs = {(row["anchor_id"], row["positive_id"]) for row in table}
    assert len(pairs) == len(table) == run.manifest["teacher"]["promoted"] > 0
    assert [*map(tuple, sorted(pairs))] == [(r["anchor_id"], r["positive_id"]) for r in table]
    for row in table:
        assert row["teacher"] == np.float32(overlap([(row["anchor"], row["positive"])])[0])
    every = [row for folder in ("hard", "semi_hard") for row in rows(run, folder)]
    assert every and not {(row["anchor_id"], row["negative_id"]) for row in every} & pairs
    assert not any(rejected(row, rules) for row in every)
    said = next(f for f in run.manifest["files"] if f["path"] == "promoted.parquet")
    assert said["rows"] == len(table)
    assert f"{len(table):,}" in describe_run(run)
    assert not miner.verify_run(run, full=True).problems


def test_rows_with_the_text_of_a_promoted_pair_are_no_negatives(tmp_path: Path) -> None:
    """Draws of two positives take two rows of one text, of which the rules reject one."""
    tables = {
        "queries": {"id": ["q"], "text": ["ash bay cat dog"]},
        "corpus": {
            "id": ["p1", "p2", "n1", "n2", "n3"],
            "text": ["ash elm", "ash bay cat gum", *["ash bay fox"] * 2, "fox"],
        },
        "links": {"query_id": ["q", "q"], "corpus_id": ["p1", "p2"]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    data = {name: str(tmp_path / f"{name}.parquet") for name in tables}
    teacher = {"absolute_margin": 0.0, "rejected": "promote", "spares": 0}
    seen = set()
    for seed in range(8):
        run = mine(data, tmp_path / "out", teacher, strategy="all", per_pair=1, seed=seed)
        promoted = pq.read_table(run.path / "promoted.parquet")["positive"].to_pylist()
        found = [row["negative"] for name in ("hard", "semi_hard") for row in rows(run, name)]
        assert not set(promoted) & set(found)
        seen.add((len(promoted), len(found)))
    assert max(seen)[0] == 2  # both rows were drawn


def test_guards_and_denoise_come_before_the_teacher(texts: Path, tmp_path: Path) -> None:
    select = {"max_score": 0.8, "suspects": True, "denoise": True, "strategy": "hardest"}
    run = mine(texts, tmp_path / "out", {"max_score": 0.3}, **select)
    assert "teacher_an" not in run.triplets("suspects").schema.names
    assert run.manifest["written"]["suspects"]["rows"] > 0
    changed = mine(texts, tmp_path / "out", {"max_score": 0.2}, **select)
    assert changed.manifest["teacher"]["computed"] == 0
    assert shards(mine(texts, tmp_path / "other", {"max_score": 0.2}, **select)) == shards(changed)


def test_an_embedding_model_as_teacher(texts: Path, linked: dict[str, str], tmp_path: Path) -> None:
    for number, data in enumerate((texts, linked)):
        teacher = {"model": f"{HERE}:Embeds", "max_score": 0.9}
        run = mine(data, tmp_path / f"out{number}", teacher, strategy="hardest")
        for row in rows(run, "hard"):
            a, p, n = Embeds().embed([row[x] for x in ("anchor", "positive", "negative")])
            for other, name in ((p, "teacher_ap"), (n, "teacher_an")):
                cosine = a @ other / np.linalg.norm(a) / np.linalg.norm(other)
                assert row[name] == pytest.approx(cosine, abs=1e-6)
            assert row["teacher_an"] <= 0.9
        assert sum(run.manifest["written"][name]["rejected"] for name in ("hard", "semi_hard"))
        again = mine(data, tmp_path / f"out{number}", {**teacher, "max_score": 0.8})
        assert again.manifest["teacher"]["weights"] == run.manifest["teacher"]["weights"]


@pytest.mark.parametrize(
    ("teacher", "kind", "words"),
    [
        ({"model": f"{HERE}:overlapp"}, UsageError, "did you mean 'overlap'"),
        ({"model": f"{HERE}:WORDS"}, UsageError, "is not a function"),
        ({"model": "cross-encoder"}, UsageError, "cross-encoder:PATH"),
        ({"model": "cross-encoder:./nowhere"}, UsageError, "no such folder: ./nowhere"),
        ({"model": f"{HERE}:short"}, DataError, "one number a pair"),
        ({"model": f"{HERE}:unsure"}, DataError, "not finite"),
        ({"model": f"{HERE}:broken"}, DataError, "RuntimeError: out of luck"),
        ({"model": "no-such-model"}, UsageError, "no-such-model"),
        ({"model": ""}, UsageError, "teacher.model is empty"),
        ({"model": "http://host/rerank"}, UsageError, "write http:http://host/rerank"),
        ({"model": f"{HERE}:Embeds", "max_score": 1.5}, UsageError, "rejects none"),
        ({"model": f"{HERE}:Embeds", "max_score": -1.5}, UsageError, "rejects all"),
        ({"model": f"{HERE}:Embeds", "absolute_margin": 2}, UsageError, "rejects all"),
        ({"activation": "sigmoid", "max_score": 2}, UsageError, "are from 0 to 1"),
        ({"model": "wordllama", "activation": "sigmoid"}, UsageError, "are cosines"),
        ({"options": {"x": 1}}, UsageError, "takes no teacher.options"),
        ({"prompt": "query: "}, UsageError, "teacher.prompt is for embedding models"),
        ({"spares": -1}, UsageError, "teacher.spares = -1"),
        ({"batch_size": 0}, UsageError, "teacher.batch_size = 0"),
        ({"max_score": float("nan")}, UsageError, "teacher.max_score = nan must be a finite"),
        ({"absolute_margin": -1}, UsageError, "0 or more"),
        ({"relative_margin": 2}, UsageError, "between 0 and 1"),
        ({"rejected": "promote"}, UsageError, "nothing is rejected"),
        ({"rejected": "keep"}, UsageError, "drop"),
        ({"activation": "relu"}, UsageError, "sigmoid"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_teachers_that_cannot_be_used(
    teacher: dict[str, Any], kind: type[Exception], words: str, texts: Path, tmp_path: Path
) -> None:
    if str(teacher.get("model")).startswith("cross-encoder:"):
        pytest.importorskip("sentence_transformers")
    with pytest.raises(kind) as raised:
        mine(texts, tmp_path / "out", teacher)
    assert words in str(raised.value)
    assert str(raised.value).count("\n") < 2
    assert not (tmp_path / "out/latest").exists()


def test_jobs_in_which_a_teacher_has_no_meaning(texts: Path, tmp_path: Path) -> None:
    base: dict[str, Any] = {
        "dataset": {"path": str(texts)},
        "model": {"name": f"{HERE}:embed"},
        "output": {"path": str(tmp_path / "out"), "content": False},
    }
    with pytest.raises(UsageError, match=r"output\.content = true"):
        miner.mine({**base, "teacher": {"model": f"{HERE}:overlap"}})
    with pytest.raises(UsageError, match=r"teacher\.max_score has no meaning without a teacher"):
        miner.mine({**base, "teacher": {"max_score": 0.5}})
    both = {"model": f"{HERE}:overlap", "max_score": 0.5, "rejected": "suspects"}
    select = {"max_score": 0.5, "suspects": True}
    with pytest.raises(UsageError, match="both write to suspects/"):
        mine(texts, tmp_path / "out", both, **select)
    with pytest.raises(UsageError, match=r"set teacher\.model to the scorer"):
        mine(texts, tmp_path / "out", rescore="a:b")


FAILED: list[bool] = []
TURNED: list[bool] = []


def scored() -> list[list[tuple[str, str]]]:
    """The calls of the teacher, without probes."""
    return [pairs for pairs in CALLS if len(pairs) > 8]


def sometimes(pairs: list[tuple[str, str]]) -> list[float]:
    """Fail at the third call after the probe, once."""
    if len(pairs) > 8 and len(scored()) == 2 and not FAILED:
        FAILED.append(True)
        raise ConnectionError("gone")
    return overlap(pairs)


def turning(pairs: list[tuple[str, str]]) -> list[float]:
    """Score otherwise from the third call on that is no probe."""
    scores = overlap(pairs)
    return [1 - score for score in scores] if TURNED and len(scored()) > 2 else scores


def test_a_run_that_died_does_not_score_again_what_was_scored(texts: Path, tmp_path: Path) -> None:
    teacher = {"model": f"{HERE}:sometimes", "max_score": 0.3, "batch_size": 32}
    select: dict[str, Any] = {"per_negative": 3, "max_score": 0.9, "suspects": True}
    FAILED.clear()
    with pytest.raises(DataError, match="ConnectionError: gone"):
        mine(texts, tmp_path / "out", teacher, **select)
    before = len(scored())
    run = mine(texts, tmp_path / "out", teacher, **select)
    again = len(scored()) - before
    CALLS.clear()
    whole = mine(texts, tmp_path / "whole", teacher, **select)
    assert 0 < before < len(scored()) == before + again
    assert shards(run) == shards(whole)
    assert run.manifest["written"] == whole.manifest["written"]
    assert run.manifest["written"]["suspects"]["rows"] > 0


KILLED = f"""
import os, signal, sys
import tests.pipeline.test_teacher as here
def dies(pairs):
    if len(pairs) > 8 and len(here.scored()) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return here.overlap(pairs)
here.sometimes = dies
from pathlib import Path
teacher = {{"model": "{HERE}:sometimes", "max_score": 0.3, "batch_size": 32}}
here.mine(Path(sys.argv[1]), Path(sys.argv[2]), teacher, sys.argv[3], strategy="hardest")
"""


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_run_that_was_killed_as_it_scored(engine: str, texts: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(texts), str(tmp_path / "out"), engine]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed
    assert not (tmp_path / "out/latest").exists()
    teacher = {"model": f"{HERE}:sometimes", "max_score": 0.3, "batch_size": 32}
    FAILED.append(True)  # it does not fail here
    run = mine(texts, tmp_path / "out", teacher, engine, strategy="hardest")
    whole = mine(texts, tmp_path / "whole", teacher, strategy="hardest")
    assert shards(run) == shards(whole)
    assert run.manifest["written"] == whole.manifest["written"]


@pytest.mark.parametrize("stays", [True, False])
def test_a_teacher_that_changes_ends_the_run(stays: bool, texts: Path, tmp_path: Path) -> None:
    teacher = {"model": f"{HERE}:turning", "max_score": 0.3, "batch_size": 32}
    TURNED.append(True)
    with pytest.raises(DataError, match="answers its probe differently"):
        mine(texts, tmp_path / "out", teacher)
    assert not (tmp_path / "out/latest").exists()
    if not stays:
        TURNED.clear()
    run = mine(texts, tmp_path / "out", teacher)
    whole = mine(texts, tmp_path / "whole", teacher)  # all of it by the scorer that answers now
    TURNED.clear()
    assert shards(run) == shards(whole)


def test_kept_pools_are_few_and_a_damaged_one_is_made_again(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = mine(texts, out, {"max_score": 0.3}, seed=0)
    for seed in range(1, 6):
        mine(texts, out, {"max_score": 0.3}, seed=seed)
    pools = [*out.glob(".store/*/pools/*/record.json")]
    assert len(pools) == 4
    newest = max(pools, key=lambda path: path.stat().st_mtime_ns).parent
    content = bytearray((newest / "scores.npy").read_bytes())
    content[-1] ^= 1
    (newest / "scores.npy").write_bytes(content)
    run = mine(texts, out, {"max_score": 0.2}, seed=5)
    assert run.manifest["teacher"]["computed"] == 0  # its scores are cached by their texts
    assert shards(run) == shards(mine(texts, tmp_path / "other", {"max_score": 0.2}, seed=5))
    assert shards(first) == shards(mine(texts, tmp_path / "other", {"max_score": 0.3}, seed=0))


def test_the_cap_of_a_negative_counts_what_is_left(texts: Path, tmp_path: Path) -> None:
    free = mine(texts, tmp_path / "out", {"max_score": 0.25, "spares": 0}, max_triplets=700)
    capped = mine(
        texts, tmp_path / "out", {"max_score": 0.25, "spares": 0}, max_triplets=700, per_negative=2
    )
    for folder in ("hard", "semi_hard"):
        left = Counter(row["negative_id"] for row in rows(free, folder))
        assert Counter(row["negative_id"] for row in rows(capped, folder)) == Counter(
            {negative: min(2, count) for negative, count in left.items()}
        )


def test_nothing_is_written_and_why(texts: Path, tmp_path: Path) -> None:
    run = mine(texts, tmp_path / "out", {"max_score": -1.0})
    assert "the teacher rejected all triplets" in describe_run(run)
    counted = mine(texts, tmp_path / "out", {"max_score": 0.5}, max_triplets=0)
    assert counted.manifest["teacher"]["pairs"] == 0
    json.dumps([counted.manifest, list(itertools.chain(rows(run, "hard")))])
