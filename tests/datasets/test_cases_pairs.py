"""Tables of pairs as people have them: rows 4, 5, 6, 17, 18 and 19 of the cases, and neighbours."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError
from tests.conftest import Result
from tests.datasets.test_formats import TEXT_MODEL, Row, write

Cli = Callable[..., Result]
TABLES = ("parquet", "csv", "jsonl")
ASKS = [f"question {n} x" for n in range(8)]
TELLS = [f"answer {n} x" for n in range(8)]
OTHERS = [f"other {n} x" for n in range(8)]
HALF = [n % 2 for n in range(8)]


def rows_of(**columns: Sequence[Any]) -> list[Row]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def mined(folder: Path, path: Path | str, **dataset: Any) -> dict[str, Any]:
    """Mine a table without its columns being named; return the manifest."""
    run = miner.mine(
        {
            "dataset": {"path": str(path), **dataset},
            "model": TEXT_MODEL,
            "mining": {"margin": 0.2},
            "output": {"path": str(folder / "out")},
        }
    )
    return run.manifest


def valid(pairs: Mapping[str, set[str]], corpus: set[str]) -> int:
    """Count the triplets of anchors, their positives and the rest of the corpus."""
    return sum(len(own) * len(corpus - own - {anchor}) for anchor, own in pairs.items())


NAMES = [
    ("anchor", "positive"),
    ("query", "answer"),
    ("Question", "Answer"),
    ("query", "document"),
    ("query", "passage"),
    ("question1", "question2"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("query", "response"),
]


@pytest.mark.sampled(16)
@pytest.mark.parametrize("names", NAMES, ids="-".join)
@pytest.mark.parametrize("kind", TABLES)
def test_pairs_by_their_usual_names(names: tuple[str, str], kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t.{kind}", rows_of(**{names[0]: ASKS, names[1]: TELLS}))
    manifest = mined(tmp_path, path)
    assert manifest["census"]["valid"] == 56
    assert manifest["dataset"]["used"] == {"anchor": names[0], "positive": names[1]}
    assert manifest["dataset"]["unused"] == []


VERDICTS: list[tuple[str, str, str, list[Any]]] = [
    ("question1", "question2", "is_duplicate", HALF),
    ("anchor", "positive", "score", HALF),
    ("anchor", "positive", "score", [float(n) for n in HALF]),
    ("anchor", "positive", "score", [n / 2 - 0.1 for n in HALF]),
    ("anchor", "positive", "label", [bool(n) for n in HALF]),
    ("sentence1", "sentence2", "score", [4.8 * n for n in HALF]),
    ("sentence1", "sentence2", "label", HALF),
    ("text1", "text2", "Label", [("different", "Similar")[n] for n in HALF]),
    ("premise", "hypothesis", "label", ["contradiction", "entailment"] * 4),
    ("premise", "hypothesis", "label", ["neutral", "entailment"] * 4),
    ("sentence1", "sentence2", "gold_label", ["not_entailment", "entailment"] * 4),
    ("query", "document", "relevance", [str(3 * n) for n in HALF]),
    ("query", "response", "label", [0.8 * n for n in HALF]),
]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("columns", VERDICTS, ids=lambda one: "-".join(map(str, one)))
@pytest.mark.parametrize("kind", TABLES)
def test_a_verdict_says_which_pairs_are_positives(
    columns: tuple[str, str, str, list[Any]], kind: str, tmp_path: Path
) -> None:
    first, second, verdict, values = columns
    path = write(tmp_path / f"t.{kind}", rows_of(**{first: ASKS, second: TELLS, verdict: values}))
    manifest = mined(tmp_path, path)
    facts = manifest["dataset"]
    assert manifest["census"]["valid"] == 28
    assert (facts["links"], facts["judged_non_relevant"]) == (4, 4)
    assert facts["skipped"] == {"unlinked_queries": 4}
    assert facts["used"] == {"anchor": first, "positive": second, "score": verdict}


def test_a_score_is_named_or_left_out(tmp_path: Path) -> None:
    rows = rows_of(anchor=ASKS, positive=TELLS, score=[1] * 8, mark=HALF)
    path = write(tmp_path / "t.csv", rows)
    assert mined(tmp_path, path, pair_score="mark")["census"]["valid"] == 28
    plain = mined(tmp_path, path, pair_score="")
    assert plain["census"]["valid"] == 56
    assert plain["dataset"]["unused"] == ["score"]


def test_columns_of_pairs_may_have_any_names(tmp_path: Path) -> None:
    rows = rows_of(a=ASKS, b=TELLS, c=OTHERS, d=[f"{other}!" for other in OTHERS], score=HALF)
    path = write(tmp_path / "t.parquet", rows)
    named = {"pair_anchor": "a", "pair_positive": "b"}
    assert mined(tmp_path, path, **named)["census"]["valid"] == 28
    manifest = mined(tmp_path, path, **named, pair_negatives=["c", "d"], pair_score="score")
    assert manifest["census"]["valid"] == 4 * 23
    assert manifest["dataset"]["judged_non_relevant"] == 4 + 16
    with pytest.raises(DataError, match=r"no column 'e' \(dataset\.pair_negatives\)"):
        mined(tmp_path, path, **named, pair_negatives=["e"])
    with pytest.raises(DataError, match=r"not known as a table of pairs.*dataset\.pair_anchor"):
        mined(tmp_path, path, pair_negatives=["c"])


@pytest.mark.parametrize("kind", TABLES)
def test_rows_without_a_verdict(kind: str, tmp_path: Path) -> None:
    values = ["entailment", "-", "neutral", "", *["entailment"] * 4]
    rows = rows_of(premise=ASKS, hypothesis=TELLS, label=values)
    path = write(tmp_path / f"t.{kind}", rows)
    with pytest.raises(DataError, match=r"column 'label', row 1 has no verdict.*on_error"):
        mined(tmp_path, path)
    manifest = mined(tmp_path, path, on_error="skip")
    assert manifest["census"]["valid"] == 5 * 5
    assert manifest["dataset"]["skipped"]["unjudged"] == 2
    kept = mined(tmp_path, path, where="label not in ('-', '')")
    assert kept["census"]["valid"] == 25 and kept["dataset"]["unused"] == []


@pytest.mark.parametrize("kind", TABLES)
def test_entailment_by_number_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t.{kind}", rows_of(premise=ASKS, hypothesis=TELLS, label=HALF))
    with pytest.raises(DataError, match="some write entailment as 0 and some as 1; write words"):
        mined(tmp_path, path)
    kept = mined(tmp_path, path, pair_score="", where="label = 0")
    assert kept["census"]["valid"] == 4 * 3


def test_a_word_that_is_no_verdict_is_named(tmp_path: Path) -> None:
    rows = rows_of(query=ASKS, answer=TELLS, label=["yes", "sport"] * 4)
    with pytest.raises(DataError, match=r"column 'label', row 1: 'sport' is no verdict"):
        mined(tmp_path, write(tmp_path / "t.csv", rows))


NEGATIVES = ("negative", "neg", "hard_negative", "Negative_1", "negative1", "neg_doc", "negatives")


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", NEGATIVES)
@pytest.mark.parametrize("kind", TABLES)
def test_negatives_are_part_of_the_corpus(name: str, kind: str, tmp_path: Path) -> None:
    rows = rows_of(**{"anchor": ASKS, "positive": TELLS, name: OTHERS})
    manifest = mined(tmp_path, write(tmp_path / f"t.{kind}", rows))
    facts = manifest["dataset"]
    assert manifest["census"]["valid"] == 8 * 15
    assert (facts["corpus"], facts["links"], facts["judged_non_relevant"]) == (16, 8, 8)
    assert facts["used"]["negatives"] == [name]


@pytest.mark.parametrize("kind", TABLES)
def test_rows_have_different_numbers_of_negatives(kind: str, tmp_path: Path) -> None:
    """Negatives may be missing, be another row's positive, or even the row's own positive."""
    second = [None, "  ", TELLS[0], OTHERS[0], TELLS[4], None, "new", "new"]
    rows = rows_of(query=ASKS, positive=TELLS, negative_1=OTHERS, negative_2=second)
    manifest = mined(tmp_path, write(tmp_path / f"t.{kind}", rows))
    facts = manifest["dataset"]
    assert facts["corpus"] == 17 and facts["judged_non_relevant"] == 8 + 5
    assert manifest["census"]["valid"] == 8 * 16
    left = mined(tmp_path, tmp_path / f"t.{kind}", pair_negatives=[])
    assert left["census"]["valid"] == 56
    assert left["dataset"]["unused"] == ["negative_1", "negative_2"]


def test_a_score_of_three_texts_is_no_verdict(tmp_path: Path) -> None:
    rows = rows_of(query=ASKS, positive=TELLS, negative=OTHERS, score=[-1.5] * 8)
    manifest = mined(tmp_path, write(tmp_path / "t.parquet", rows))
    assert manifest["census"]["valid"] == 120 and manifest["dataset"]["unused"] == ["score"]


def test_a_negative_of_another_type_is_named(tmp_path: Path) -> None:
    rows = rows_of(anchor=ASKS, positive=TELLS, negative=range(8))
    path = write(tmp_path / "t.parquet", rows)
    manifest = mined(tmp_path, path)
    assert manifest["census"]["valid"] == 56 and manifest["dataset"]["unused"] == ["negative"]
    with pytest.raises(DataError, match="'negative' holds int64, 'positive' holds string"):
        mined(tmp_path, path, pair_negatives=["negative"])


def test_a_negative_has_no_group(tmp_path: Path) -> None:
    """The group of a row is that of its anchor and positive."""
    rows = rows_of(anchor=ASKS, positive=TELLS, negative=OTHERS, group=[n // 2 for n in range(8)])
    manifest = mined(tmp_path, write(tmp_path / "t.parquet", rows), group="group")
    assert manifest["census"]["valid"] == 8 * 14


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def passage(text: str, number: int) -> dict[str, str]:
    return {"docid": f"d{number}", "title": "", "text": text}


def flag(n: int) -> Row:
    scores = {"pos_scores": [0.9, 0.8], "neg_scores": [-2.0, -3.0]}
    more = {"prompt": "Find it", "id": f"q{n}"} | scores
    return {"query": ASKS[n], "pos": [TELLS[n], TELLS[n - 1]], "neg": [OTHERS[n], "same"], **more}


def tevatron(n: int) -> Row:
    row: Row = {"query_id": str(n), "query": ASKS[n], "answers": ["a"]}
    row["positive_passages"] = [passage(TELLS[n], n), passage(TELLS[n - 1], n)]
    row["negative_passages"] = [passage(OTHERS[n], n), passage("same", 99)]
    return row


def swift(n: int) -> Row:
    return {
        "messages": said(ASKS[n]),
        "positive_messages": [said(TELLS[n]), said(TELLS[n - 1])],
        "negative_messages": [said(OTHERS[n]), said("same")],
    }


def dense(n: int) -> Row:
    """Facebook's DPR."""
    row = tevatron(n)
    return {
        "question": row["query"],
        "positive_ctxs": row["positive_passages"],
        "hard_negative_ctxs": row["negative_passages"],
        "negative_ctxs": [],
    }


@pytest.mark.parametrize("make", [flag, tevatron, swift, dense])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_lists_of_positives_and_negatives(
    make: Callable[[int], Row], kind: str, tmp_path: Path
) -> None:
    rows = [make(n) for n in range(8)]
    manifest = mined(tmp_path, write(tmp_path / f"t.{kind}", rows))
    pairs = {ASKS[n]: {TELLS[n], TELLS[n - 1]} for n in range(8)}
    assert manifest["census"]["valid"] == valid(pairs, {*TELLS, *OTHERS, "same"}) == 8 * 2 * 15
    facts = manifest["dataset"]
    assert (facts["queries"], facts["corpus"], facts["links"]) == (8, 17, 16)
    assert facts["judged_non_relevant"] == 16
    assert facts["unused"] == (["pos_scores", "neg_scores"] if make is flag else [])


def test_swift_as_it_was(tmp_path: Path) -> None:
    rows = rows_of(query=ASKS, response=TELLS, rejected_response=[[one, "same"] for one in OTHERS])
    assert mined(tmp_path, write(tmp_path / "t.jsonl", rows))["census"]["valid"] == 8 * 16
    rows = rows_of(query=ASKS, response=TELLS, rejected_response=OTHERS)
    assert mined(tmp_path, write(tmp_path / "u.jsonl", rows))["census"]["valid"] == 8 * 15


def test_the_texts_of_lists_are_in_the_shards(tmp_path: Path) -> None:
    rows = [tevatron(n) for n in range(8)]
    for row in rows:
        row["positive_passages"][0]["title"] = "Title"
    path = write(tmp_path / "t.jsonl", rows)
    job = {"dataset": {"path": str(path)}, "model": TEXT_MODEL, "mining": {"margin": 0.2}}
    run = miner.mine({**job, "output": {"path": str(tmp_path / "out")}})
    table = pa.concat_tables(run.triplets(name).to_table() for name in ("hard", "semi_hard"))
    texts: dict[int, str] = {}
    for row in table.to_pylist():
        n = ASKS.index(row["anchor"])
        assert row["anchor_id"] == n
        assert row["positive"] in (f"Title {TELLS[n]}", TELLS[n - 1])
        for role in ("positive", "negative"):
            assert texts.setdefault(row[f"{role}_id"], row[role]) == row[role]
    assert set(texts.values()) > {"same", *OTHERS}


def test_rows_without_positives_or_negatives(tmp_path: Path) -> None:
    rows = [flag(n) for n in range(8)]
    rows[0] |= {"pos": [], "neg": []}
    rows[1] |= {"neg": None}
    manifest = mined(tmp_path, write(tmp_path / "t.jsonl", rows))
    assert manifest["dataset"]["skipped"] == {"unlinked_queries": 1}
    assert (manifest["dataset"]["corpus"], manifest["dataset"]["judged_non_relevant"]) == (15, 12)


def test_more_contents_than_a_batch_in_a_row(tmp_path: Path) -> None:
    rows = [{"query": "a", "pos": ["p"], "neg": [f"n{n}" for n in range(9000)]}]
    rows += [{"query": "b", "pos": ["q"], "neg": ["n8999", "p"]}]
    manifest = mined(tmp_path, write(tmp_path / "t.jsonl", rows))
    assert manifest["dataset"]["corpus"] == 9002 and manifest["census"]["valid"] == 2 * 9001


REFUSED: list[tuple[str, list[Row], str]] = [
    ("csv", [{"query": "a", "pos": '["b", "c"]'}] * 3, "holds lists that are written as text"),
    ("jsonl", [{"query": "a", "pos": [7, 8]}], "has none of the columns text"),
    ("jsonl", [{**swift(0), "images": ["a.png"]}], "holds the images of the messages"),
    ("jsonl", [{"query": "a", "pos": ["b", ""]}], "has an empty text"),
    ("jsonl", [{"query": "a", "pos": []}], "is empty"),
    ("jsonl", [{"query": ["a"], "pos": ["b"]}], "holds lists of text"),
]


@pytest.mark.parametrize(("kind", "rows", "words"), REFUSED, ids=lambda one: str(one)[:40])
def test_what_cannot_be_pairs_is_said(
    kind: str, rows: list[Row], words: str, tmp_path: Path, cli: Cli
) -> None:
    path = write(tmp_path / f"t.{kind}", rows)
    done = cli("run", "--data", path, "--out", tmp_path / "out", "--model", TEXT_MODEL["name"])
    assert done.code == 3 and words in done.err and len(done.err.strip().splitlines()) == 1


def test_vectors_may_have_negatives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {
        name: pa.array(rng.standard_normal((8, 4)).tolist(), pa.list_(pa.float32()))
        for name in ("anchor", "positive", "negative")
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    job = {"dataset": {"path": str(tmp_path / "t.parquet")}, "mining": {"margin": 0.2}}
    run = miner.mine({**job, "output": {"path": str(tmp_path / "out")}})
    assert run.manifest["census"]["valid"] == 120


def interactions(folder: Path, user: str, item: str, score: str) -> dict[str, str]:
    """Eight users and eight items; each user rates two items, the second one 0."""
    given = [(n, n, 4.5) for n in range(8)] + [(n, (n + 1) % 8, 0.0) for n in range(8)]
    tables = {
        "queries": rows_of(**{user: [f"u{n}" for n in range(8)], "text": ASKS}),
        "corpus": rows_of(**{item: [f"i{n}" for n in range(8)], "text": TELLS}),
        "links": [
            {user: f"u{u}", item: f"i{i}", score: rated, "timestamp": n}
            for n, (u, i, rated) in enumerate(given)
        ],
    }
    names = {"queries": "users", "corpus": "items", "links": "ratings"}
    return {role: str(write(folder / f"{names[role]}.csv", rows)) for role, rows in tables.items()}


@pytest.mark.parametrize(
    "names", [("user_id", "item_id", "rating"), ("userId", "movieId", "rating")], ids="-".join
)
def test_interactions_are_links(names: tuple[str, str, str], tmp_path: Path, cli: Cli) -> None:
    files = interactions(tmp_path, *names)
    job = {"dataset": files, "model": TEXT_MODEL, "mining": {"margin": 0.2}}
    manifest = miner.mine({**job, "output": {"path": str(tmp_path / "out")}}).manifest
    facts = manifest["dataset"]
    assert manifest["census"]["valid"] == 8 * 7
    assert (facts["links"], facts["judged_non_relevant"]) == (8, 8)
    assert facts["used"]["query_id"] == names[0] and facts["used"]["link_score"] == "rating"
    assert facts["unused"] == ["timestamp"]
    for command in ("run", "init"):
        data = ["--data"] if command == "run" else []
        alone = cli(command, *data, files["links"])
        assert alone.code == 3 and len(alone.err.strip().splitlines()) == 1
        assert f"holds links ({names[0]}, {names[1]}) without content" in alone.err


STARTED: list[tuple[str, list[Row], dict[str, Any], list[str], int]] = [
    (
        "a.csv",
        rows_of(id=range(8), question1=ASKS, question2=TELLS, is_duplicate=HALF),
        {"pair_anchor": "question1", "pair_positive": "question2", "pair_score": "is_duplicate"},
        ["score     is_duplicate: only pairs above 0 are positives", "ignored   id"],
        28,
    ),
    (
        "b.jsonl",
        [flag(n) for n in range(8)],
        {"pair_anchor": "query", "pair_positive": "pos", "pair_negatives": ["neg"]},
        ["as FlagEmbedding has them", "negatives neg", "ignored   prompt, id, pos_scores"],
        240,
    ),
    (
        "c.jsonl",
        [tevatron(n) for n in range(8)],
        {
            "pair_anchor": "query",
            "pair_positive": "positive_passages",
            "pair_negatives": ["negative_passages"],
        },
        ["as Tevatron has them", "ignored   query_id, answers"],
        240,
    ),
    (
        "d.parquet",
        [swift(n) for n in range(8)],
        {
            "pair_anchor": "messages",
            "pair_positive": "positive_messages",
            "pair_negatives": ["negative_messages"],
        },
        ["as ms-swift has them"],
        240,
    ),
    (
        "e.parquet",
        rows_of(sentence1=ASKS, sentence2=TELLS, label=HALF, split=["train"] * 8),
        {"pair_anchor": "sentence1", "pair_positive": "sentence2", "pair_score": "label"},
        ["ignored   split"],
        28,
    ),
    (
        "f.csv",
        rows_of(question=ASKS, answer=TELLS, label=["sport", "money"] * 4),
        {"content": "question", "label": "label"},
        ["ignored   answer"],
        8 * 3 * 4,
    ),
]


@pytest.mark.parametrize(
    ("name", "rows", "wanted", "words", "count"), STARTED, ids=[one[0] for one in STARTED]
)
def test_init_recognises_pairs(
    name: str,
    rows: list[Row],
    wanted: dict[str, Any],
    words: list[str],
    count: int,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, rows)
    done = cli("init", name, "--job", "job.toml")
    assert done.code == 0, done.err
    for word in words:
        assert word in done.out
    dataset = tomllib.loads(Path("job.toml").read_text())["dataset"]
    assert dataset == {"path": name, **wanted}
    ran = cli("run", "job.toml", "--model", TEXT_MODEL["name"], "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["census"]["valid"] == count


def test_init_takes_users_items_and_ratings(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    interactions(tmp_path, "user_id", "item_id", "rating")
    done = cli("init", ".", "--job", "job.toml")
    assert done.code == 0, done.err
    assert "ignored   timestamp" in done.out
    ran = cli("run", "job.toml", "--model", TEXT_MODEL["name"], "--json")
    assert ran.code == 0 and json.loads(ran.out)["census"]["valid"] == 56


def test_the_summary_and_the_plan_name_the_columns(tmp_path: Path, cli: Cli) -> None:
    rows = rows_of(anchor=ASKS, positive=TELLS, split=["train"] * 8, score=HALF, note=["n"] * 8)
    path = write(tmp_path / "t.csv", rows)
    for command in ("plan", "run"):
        done = cli(
            command, "--data", path, "--out", tmp_path / "out", "--model", TEXT_MODEL["name"]
        )
        assert "columns   anchor anchor; positive positive; score score\n" in done.out, done.err
        assert "unused    columns that may matter: split\n" in done.out
    rows = rows_of(text=ASKS, label=HALF, session_id=range(8), note=OTHERS)
    done = cli("plan", "--json", "--data", write(tmp_path / "u.csv", rows))
    facts = json.loads(done.out)["dataset"]
    assert facts["used"] == {"content": "text", "label": "label"}
    assert facts["unused"] == ["session_id"]
