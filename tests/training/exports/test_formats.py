"""The files of other trainers, and scores, against the same made with dictionaries and lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import miner
from miner.training.exports.catalog import EXPORT_FORMATS
from miner.training.exports.formats import MAKERS
from tests.conftest import ROOT, Result
from tests.training.exports.conftest import CLASSES, rows_of, teach
from tests.training.exports.test_export import by_anchor, by_pair, cells, exported

RunOf = Callable[[str], miner.Run]
Cli = Callable[..., Result]
Rows = list[dict[str, Any]]

KINDS = ("texts", "pairs")
IDS = ("anchor_id", "positive_id", "negative_id")
PER_ANCHOR = ("flagembedding", "tevatron", "nemo")


def written(facts: dict[str, Any], table: str = "") -> Rows:
    """The rows of a table of an export, from its files."""
    rows: Rows = []
    for path in sorted((Path(facts["path"]) / table).glob("part-*")):
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
        elif path.suffix == ".jsonl":
            rows += map(json.loads, path.read_text(encoding="utf-8").splitlines())
        else:
            rows += json.loads(path.read_text(encoding="utf-8"))["data"]
    return rows


def score(anchor: str, passage: str) -> float:
    """The teacher's score of two texts."""
    return float(np.float32(teach([(anchor, passage)])[0]))


class Known:
    """The ids that a run has for what it shows: several where texts are repeated."""

    def __init__(self, rows: Rows) -> None:
        self.texts = {row["anchor_id"]: row["anchor"] for row in rows}
        self.document: dict[str, str] = {}
        self.ids: dict[tuple[Any, str], set[str]] = {}
        for row in rows:
            for role in ("positive", "negative"):
                name = str(row[f"{role}_id"])
                self.document[name] = row[role]
                self.ids.setdefault((row["anchor_id"], row[role]), set()).add(name)


def passages(
    known: Known, anchor: Any, texts: list[str], got: Rows, key: str, scored: bool
) -> Rows:
    """The passages of an anchor; of several ids with one text, that which was written."""
    made = []
    for text, one in zip(texts, got, strict=True):
        assert one[key] in known.ids[anchor, text]
        passage = {key: one[key]} | ({"text": text} if key == "docid" else {})
        made.append(passage | ({"score": score(known.texts[anchor], text)} if scored else {}))
    return made


def line(
    name: str, known: Known, anchor: Any, sides: tuple[list[str], list[str]], got: Any, scored: bool
) -> dict[str, Any]:
    """The row of an anchor."""
    shown = known.texts[anchor]
    if name == "flagembedding":
        made: dict[str, Any] = {"query": shown} | dict(zip(("pos", "neg"), sides, strict=True))
        if scored:
            for key in ("pos", "neg"):
                made[f"{key}_scores"] = [score(shown, text) for text in made[key]]
        return made
    if name == "tevatron":
        made, key = {"query_id": str(anchor), "query": shown}, "docid"
        names = ("positive_passages", "negative_passages")
    else:
        made, key = {"question_id": str(anchor), "question": shown}, "id"
        made["corpus_id"] = got["corpus_id"]
        names = ("pos_doc", "neg_doc")
    for side, texts in zip(names, sides, strict=True):
        made[side] = passages(known, anchor, texts, got[side], key, scored)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("name", PER_ANCHOR)
def test_a_query_has_all_its_passages(
    run_of: RunOf, taught: RunOf, tmp_path: Path, name: str, scored: bool, kind: str
) -> None:
    run = (taught if scored else run_of)(kind)
    for difficulty, count in (("hard", None), ("both", 2)):
        facts = miner.export_triplets(
            run, name, difficulty=difficulty, negatives=count, out=tmp_path / difficulty
        )
        rows = rows_of(run, difficulty)
        known = Known(rows)
        positives, negatives = by_anchor(rows, "positive"), by_anchor(rows, "negative")
        got = written(facts)
        assert len(got) == len(positives) == facts["rows"]
        for anchor, found in zip(positives, got, strict=True):
            sides = (positives[anchor], negatives[anchor][:count])
            assert found == line(name, known, anchor, sides, found, scored)
        assert facts["scores"] is scored
        assert scored == ("score" in json.dumps(got[0]))
        lost = sum(max(0, len(one) - 2) for one in negatives.values()) if count else 0
        assert facts["left_out"].get("farther_negatives", 0) == lost


@pytest.mark.parametrize("kind", KINDS)
def test_messages_have_one_positive(run_of: RunOf, tmp_path: Path, kind: str) -> None:
    run = run_of(kind)

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    for difficulty in CLASSES:
        facts = miner.export_triplets(
            run, "ms-swift", difficulty=difficulty, out=tmp_path / difficulty
        )
        rows = rows_of(run, difficulty)
        shown = {row["anchor_id"]: row["anchor"] for row in rows}
        assert written(facts) == [
            {
                "messages": said(shown[anchor]),
                "positive_messages": [said(positive)],
                "negative_messages": [said(text) for text in negatives],
            }
            for (anchor, positive), negatives in by_pair(rows).items()
        ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_the_three_tables_of_pylate(
    taught: RunOf, tmp_path: Path, kind: str, file_format: str
) -> None:
    run = taught(kind)
    facts = miner.export_triplets(
        run, "pylate-kd", negatives=2, out=tmp_path / "x", file_format=file_format
    )
    rows = rows_of(run, "both")
    known = Known(rows)
    texts = {row["document_id"]: row["text"] for row in written(facts, "documents")}
    assert len(texts) == len(written(facts, "documents"))
    assert texts.items() <= known.document.items()
    wanted = {pair: some[:2] for pair, some in by_pair(rows).items() if len(some) >= 2}
    train = written(facts, "train")
    assert len(train) == len(wanted) == facts["rows"] > 5
    used = set()
    for ((anchor, positive), negatives), row in zip(wanted.items(), train, strict=True):
        assert row["query_id"] == str(anchor)
        assert [texts[one] for one in row["document_ids"]] == [positive, *negatives]
        shown = [known.texts[anchor]] * 3
        assert row["scores"] == list(map(score, shown, [positive, *negatives]))
        used |= set(row["document_ids"])
    assert used == set(texts)
    queries = {str(anchor): known.texts[anchor] for anchor, _ in wanted}
    assert written(facts, "queries") == [
        {"query_id": one, "text": text} for one, text in queries.items()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_corpus_of_nemo(run_of: RunOf, tmp_path: Path, kind: str) -> None:
    run = run_of(kind)
    facts = miner.export_triplets(run, "nemo", out=tmp_path / "x")
    document = Known(rows_of(run, "both")).document
    corpus = written(facts, "corpus")
    named = {one["id"] for row in written(facts) for one in row["pos_doc"] + row["neg_doc"]}
    assert {row["id"] for row in corpus} == named and len(corpus) == len(named)
    assert all(document[row["id"]] == row["text"] for row in corpus)
    whole = json.loads((tmp_path / "x/part-00000.json").read_text())
    assert whole["corpus"] == {"path": "corpus"}
    note = json.loads((tmp_path / "x/corpus/merlin_metadata.json").read_text())
    assert note == {"class": "TextQADataset", "corpus_id": f"{run.run_id}-both"}
    assert {row["corpus_id"] for row in whole["data"]} == {note["corpus_id"]}


@pytest.mark.parametrize("kind", ["texts", "int ids", "text ids"])
def test_ids_as_those_of_ms_marco(run_of: RunOf, tmp_path: Path, kind: str) -> None:
    facts = miner.export_triplets(run_of(kind), "msmarco-ids", out=tmp_path / "x")
    assert facts["columns"] == ["query_id", "positive_id", "negative_id"]
    rows = rows_of(run_of(kind), "both")
    got = [tuple(row.values()) for row in written(facts)]
    assert sorted(got) == sorted({tuple(row[name] for name in IDS) for row in rows})


@pytest.mark.parametrize("kind", KINDS)
def test_the_margin_of_ms_marco(taught: RunOf, tmp_path: Path, kind: str) -> None:
    facts = miner.export_triplets(taught(kind), "msmarco-ids", scores=True, out=tmp_path / "x")
    texts = {tuple(row[name] for name in IDS): row for row in rows_of(taught(kind), "both")}
    for *names, margin in (row.values() for row in written(facts)):
        row = texts[tuple(names)]
        two = [score(row["anchor"], row[role]) for role in ("positive", "negative")]
        assert margin == pytest.approx(two[0] - two[1], abs=1e-6)


@pytest.mark.parametrize("name", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_where_sentence_transformers_look(
    taught: RunOf, tmp_path: Path, name: str, kind: str
) -> None:
    run = taught(kind)
    plain = exported(miner.export_triplets(run, name, out=tmp_path / "a"))
    facts = miner.export_triplets(run, name, scores=True, out=tmp_path / "b")
    scored = exported(facts)
    more = name in ("triplet", "n-tuple")
    column = "score" if name == "labeled-pair" else "scores"
    labels = [] if more else ["label" if name == "labeled-pair" else "labels"]
    assert scored.column_names == [*plain.drop(labels).column_names, column] == facts["columns"]
    assert scored.drop([column]) == plain.drop(labels)
    for anchor, *texts, found in cells(scored):
        texts = texts[0] if name == "labeled-list" else texts
        wanted = [score(anchor, text) for text in texts]
        assert found == (wanted if column == "scores" else wanted[0])


@pytest.mark.parametrize("name", sorted(EXPORT_FORMATS))
def test_each_format_is_listed_and_replaced(
    cli: Cli, taught: RunOf, tmp_path: Path, name: str
) -> None:
    """The help, the page of the docs and the text after an export have it; --force replaces it."""
    assert name == "ids" or name in MAKERS
    assert f" {name}" in cli("export", "--help").out.replace("\n", " ")
    page = (ROOT / "miner/docs/trainers.md").read_text()
    assert f"| `{name}` |" in page or f" --format {name} " in page
    words = ["export", taught("texts").path, "--format", name, "--out", tmp_path / "x"]
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert f'"{tmp_path}/x' in done.out and "{" not in done.out
    if name != "ids":
        assert ("  scores    of the teacher" in done.out) == (
            name in ("flagembedding", "tevatron", "nemo", "pylate-kd")
        )
    assert cli(*words).code == 2
    assert cli(*words, "--force").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_force_spares_foreign_files_in_tables(cli: Cli, run_of: RunOf, tmp_path: Path) -> None:
    words = ["export", run_of("texts").path, "--format", "nemo", "--out", tmp_path / "x"]
    assert cli(*words).code == 0
    for foreign in ("corpus/notes.md", "train.parquet", "other/part-00000.parquet"):
        path = tmp_path / "x" / foreign
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        done = cli(*words, "--force")
        assert done.code == 2 and foreign.split("/part")[0] in done.err
        path.unlink()
        if foreign.startswith("other"):
            path.parent.rmdir()
    assert cli(*words, "--force").code == 0


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("texts", ["--format", "flagembeding"], "did you mean 'flagembedding'?"),
        ("texts", ["--format", "pylate-kd"], "pylate-kd needs a teacher's scores"),
        ("texts", ["--format", "triplet", "--scores"], "--scores needs a teacher's scores"),
        ("texts", ["--format", "tevatron", "--scores"], "mine with a [teacher]"),
        ("texts", ["--format", "pair", "--scores"], "--scores is not for pair"),
        ("texts", ["--format", "ms-swift", "--scores"], "--scores is not for ms-swift"),
        ("texts", ["--format", "ids", "--negatives", "2"], "--negatives is not for ids"),
        ("texts", ["--format", "ids", "--difficulty", "hard"], "--difficulty is not for ids"),
        ("texts", ["--format", "nemo", "--file-format", "jsonl"], "--file-format is not for nemo"),
        ("texts", ["--format", "nemo", "--push-to-hub", "a/b"], "--push-to-hub is not for nemo"),
        ("int ids", ["--format", "flagembedding"], "needs texts, and the shards of"),
        ("ties", ["--format", "nemo"], "mine texts with output.content = true"),
    ],
)
def test_what_a_format_does_not_have(
    cli: Cli, run_of: RunOf, tmp_path: Path, kind: str, words: list[str], said: str
) -> None:
    done = cli("export", run_of(kind).path, *words, "--out", tmp_path / "x")
    assert (done.code, done.out) == (2, "")
    assert said in done.err and done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
