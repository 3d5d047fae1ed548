"""Rescoring: what a second model finds too relevant is dropped, counted, and not replaced."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, UsageError
from miner.runs.describe import describe_run
from tests.sizes import make_small

WORDS = "ash bay cat dog elm fox gum hay ivy jay".split()
CALLS: list[list[tuple[str, str]]] = []


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


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(8)
    rows = [" ".join(rng.choice(WORDS, 5)) + f" n{n}" for n in range(40)]
    table = pa.table({"id": range(40), "text": rows, "label": [n % 4 for n in range(40)]})
    pq.write_table(table, tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


def mine(data: Path, out: Path, engine: str = "threads", **select: Any) -> miner.Run:
    return miner.mine(
        {
            "dataset": {"path": str(data)},
            "model": {"name": "tests.pipeline.test_rescore:embed"},
            "mining": {"margin": 0.3},
            "engine": {"name": engine, "workers": 2},
            "select": select,
            "gates": {"min_rows": 0},
            "output": {"path": str(out)},
        }
    )


def rows(run: miner.Run, folder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run.triplets(folder).to_table().to_pylist()
    return found


@pytest.mark.parametrize("chunk", [9, 1 << 13])
def test_negatives_that_score_too_high_are_dropped(
    chunk: int, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, rescored=chunk)
    CALLS.clear()
    free = mine(texts, tmp_path / "a", max_triplets=700)
    rescore = {"rescore": "tests.pipeline.test_rescore:overlap", "rescore_max": 0.25}
    run = mine(texts, tmp_path / "b", max_triplets=700, **rescore)
    assert all(len(set(pairs)) == len(pairs) <= chunk for pairs in CALLS)
    for folder in ("hard", "semi_hard"):
        whole = rows(free, folder)
        kept = [row for row in whole if overlap([(row["anchor"], row["negative"])])[0] <= 0.25]
        assert rows(run, folder) == kept and 0 < len(kept) < len(whole)
        facts = run.manifest["written"][folder]
        assert (facts["rows"], facts["rescored"]) == (len(kept), len(whole) - len(kept))
        assert "rescored" not in free.manifest["written"][folder]
    assert f"{facts['rescored']:,} dropped by the rescorer" in describe_run(run)
    assert not miner.verify_run(run, full=True).problems
    again = mine(texts, tmp_path / "c", "processes", max_triplets=700, **rescore)
    assert [s["sha256"] for s in again.manifest["shards"]] == [
        s["sha256"] for s in run.manifest["shards"]
    ]
    capped = mine(texts, tmp_path / "d", max_triplets=700, per_negative=2, **rescore)
    for folder in ("hard", "semi_hard"):  # the cap counts what is left
        left = Counter(row["negative_id"] for row in rows(run, folder))
        assert Counter(row["negative_id"] for row in rows(capped, folder)) == Counter(
            {negative: min(2, count) for negative, count in left.items()}
        )


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("tests.pipeline.test_rescore:overlapp", UsageError, "did you mean 'overlap'"),
        ("tests.pipeline.test_rescore:WORDS", UsageError, "is not a function"),
        ("cross-encoder", UsageError, "cross-encoder:PATH"),
        ("cross-encoder:./nowhere", UsageError, "no such folder: ./nowhere"),
        ("tests.pipeline.test_rescore:short", DataError, "one number a pair"),
        ("tests.pipeline.test_rescore:unsure", DataError, "not finite"),
        ("tests.pipeline.test_rescore:broken", DataError, "RuntimeError: out of luck"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scorers_that_cannot_be_used(
    name: str, kind: type[Exception], words: str, texts: Path, tmp_path: Path
) -> None:
    if name.startswith("cross-encoder:"):
        pytest.importorskip("sentence_transformers")
    with pytest.raises(kind, match=words.replace("(", r"\(")) as raised:
        mine(texts, tmp_path / "out", rescore=name, rescore_max=0.5)
    assert str(raised.value).count("\n") < 2
    assert not (tmp_path / "out/latest").exists()


def test_without_content_there_is_nothing_to_score(texts: Path, tmp_path: Path) -> None:
    job = {
        "dataset": {"path": str(texts)},
        "model": {"name": "tests.pipeline.test_rescore:embed"},
        "select": {"rescore": "tests.pipeline.test_rescore:overlap", "rescore_max": 0.5},
        "output": {"path": str(tmp_path / "out"), "content": False},
    }
    with pytest.raises(UsageError, match=r"output\.content = true"):
        miner.mine(job)


def sometimes(pairs: list[tuple[str, str]]) -> list[float]:
    """Fail at the third call after the probe, once."""
    if len(pairs) > 8 and len(scored()) == 2 and not FAILED:
        FAILED.append(True)
        raise ConnectionError("gone")
    return overlap(pairs)


def scored() -> list[list[tuple[str, str]]]:
    """The calls of the rescorer, without probes."""
    return [pairs for pairs in CALLS if len(pairs) > 8]


def turning(pairs: list[tuple[str, str]]) -> list[float]:
    """Score otherwise from the third call on that is no probe."""
    scores = overlap(pairs)
    return [1 - score for score in scores] if TURNED and len(scored()) > 2 else scores


FAILED: list[bool] = []
TURNED: list[bool] = []


def test_a_run_that_died_does_not_score_again_what_was_scored(texts: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"rescore": "tests.pipeline.test_rescore:sometimes", "rescore_max": 0.3}
    keys |= {"per_negative": 3, "max_score": 0.9, "suspects": True}
    CALLS.clear()
    FAILED.clear()
    with pytest.raises(DataError, match="ConnectionError: gone"):
        mine(texts, tmp_path / "out", **keys)
    before = len(scored())
    run = mine(texts, tmp_path / "out", **keys)
    again = len(scored()) - before
    CALLS.clear()
    whole = mine(texts, tmp_path / "whole", **keys)
    assert 0 < before < len(scored()) == before + again
    assert [s["sha256"] for s in run.manifest["shards"]] == [
        s["sha256"] for s in whole.manifest["shards"]
    ]
    assert run.manifest["written"] == whole.manifest["written"]
    assert run.manifest["written"]["suspects"]["rows"] > 0


@pytest.mark.parametrize("stays", [True, False])
def test_a_scorer_that_changes_ends_the_run(stays: bool, texts: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"rescore": "tests.pipeline.test_rescore:turning", "rescore_max": 0.3}
    CALLS.clear()
    TURNED.append(True)
    with pytest.raises(DataError, match="scored the same pairs differently than before"):
        mine(texts, tmp_path / "out", **keys)
    assert not (tmp_path / "out/latest").exists()
    if not stays:
        TURNED.clear()
    run = mine(texts, tmp_path / "out", **keys)
    whole = mine(texts, tmp_path / "whole", **keys)  # all of it by the scorer that answers now
    TURNED.clear()
    assert [s["sha256"] for s in run.manifest["shards"]] == [
        s["sha256"] for s in whole.manifest["shards"]
    ]
