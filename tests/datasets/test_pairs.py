"""Queries, corpus and links: the same content gives the same run, by the definition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.runs.describe import describe_run
from tests.datasets.test_formats import TEXT_MODEL, Row, Truth, check, stored, truth, write

FORMATS = ("parquet", "csv", "jsonl", "beir")
LINK = ("query_id", "corpus_id", "score")
BEIR_LINK = ("query-id", "corpus-id", "score")


def queries() -> list[Row]:
    """Seven queries: q6 has no link, d5 has a document's id, q3 a document's text."""
    texts = [
        "how to",
        'the "third", way',
        "when,\nthen",
        "copied",
        "Straße 東京",
        "2020-01-01",
        "no",
    ]
    ids = ["q0", "q1", "007", "q3", "d5", "q5", "q6"]
    groups = ["g1", None, "g2", None, None, "g9", "g1"]
    return [
        {"id": i, "text": text, "group": group}
        for i, text, group in zip(ids, texts, groups, strict=True)
    ]


def corpus() -> list[Row]:
    """Twenty documents with titles; d8 and d9 say the same, d10 says what q3 says."""
    rows = []
    for n in range(20):
        title = None if n in (3, 8, 9, 10) else f"Title, {n}"
        text = "copied" if n == 10 else "the same" if n in (8, 9) else f"body\n{n} é"
        rows.append({"id": f"d{n}", "title": title, "text": text, "group": f"g{n % 4}"})
    return rows


def links() -> list[tuple[str, str, int]]:
    """One to three positives a query; judged documents of score 0 and below stay negatives."""
    return [
        ("q0", "d1", 1),
        ("q0", "d2", 2),
        ("q0", "d3", 0),
        ("q1", "d8", 1),
        ("007", "d7", 3),
        ("007", "d6", 1),
        ("007", "d0", 1),
        ("007", "d4", -1),
        ("q3", "d11", 1),
        ("d5", "d12", 1),
        ("q5", "d13", 1),
        ("q5", "d13", 1),
    ]


def titled(rows: Sequence[Row]) -> list[Row]:
    """Join title and text, as the BEIR layout does."""
    joined = [f"{row['title']} {row['text']}" if row["title"] else row["text"] for row in rows]
    return [
        {"id": row["id"], "text": text, "group": row["group"]}
        for row, text in zip(rows, joined, strict=True)
    ]


def linked(
    asks: Sequence[Row], rows: Sequence[Row], judged: Sequence[tuple[Any, Any, Any]]
) -> Truth:
    """Mine pairs by the definition."""
    positive = {(query, document) for query, document, score in judged if score > 0}

    def relation(a: Row, r: Row) -> str:
        if (a["id"], r["id"]) in positive:
            return "positive"
        if a["id"] == r["id"]:
            return "itself"
        same = {row["text"] for row in rows if (a["id"], row["id"]) in positive} | {a["text"]}
        if r["text"] in same:
            return "duplicates"
        return "group" if a["group"] is not None and a["group"] == r["group"] else "negative"

    return truth(stored(asks), stored(rows), relation)


def tsv(path: Path, names: Sequence[str], judged: Sequence[tuple[Any, Any, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in (names, *judged)]
    path.write_text("\n".join(lines) + "\n")


def beir(folder: Path, asks: Sequence[Row], rows: Sequence[Row], **qrels: Any) -> dict[str, str]:
    """Write a BEIR folder; return the [dataset] section."""
    folder.mkdir(exist_ok=True)
    for name, part in (("queries", asks), ("corpus", rows)):
        lines = [
            json.dumps({"_id": row["id"], **{k: v for k, v in row.items() if k != "id"}})
            for row in part
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name, judged in qrels.items():
        tsv(folder / "qrels" / f"{name}.tsv", BEIR_LINK, judged)
    return {"path": str(folder)}


def files(
    folder: Path,
    kind: str,
    asks: Sequence[Row],
    rows: Sequence[Row],
    judged: Sequence[tuple[Any, Any, Any]],
) -> dict[str, str]:
    """Write three files; return the [dataset] section."""
    named = [dict(zip(LINK, link, strict=True)) for link in judged]
    parts = {"queries": asks, "corpus": rows, "links": named}
    return {name: str(write(folder / f"{name}.{kind}", part)) for name, part in parts.items()}


def mine(folder: Path, dataset: dict[str, Any], **model: Any) -> miner.Run:
    return miner.mine(
        {
            "dataset": {"same_id": True, **dataset},
            "model": model or TEXT_MODEL,
            "mining": {"margin": 0.2},
            "output": {"path": str(folder / "out")},
        }
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_pairs_give_the_same_run(kind: str, tmp_path: Path) -> None:
    asks, rows, judged = queries(), corpus(), links()
    if kind == "beir":
        dataset = beir(tmp_path / "set", asks, rows, test=judged)
    else:
        dataset = files(tmp_path, kind, asks, titled(rows), judged)
    run = mine(tmp_path, {**dataset, "group": "group"})
    expected = linked(asks, titled(rows), judged)
    assert expected.hidden == {"itself": 1, "duplicates": 2, "group": 13}
    check(run, expected)
    facts = run.manifest["dataset"]
    assert facts["skipped"] == {"unlinked_queries": 1}
    assert (facts["queries"], facts["corpus"]) == (7, 20)
    assert (facts["links"], facts["judged_non_relevant"]) == (9, 2)
    assert run.census()["anchor_id"].type == pa.string()
    texts = {row["id"]: row["text"] for row in titled(rows)}
    for row in run.triplets("hard").to_table().to_pylist():
        assert row["negative"] == texts[row["negative_id"]]
        assert row["positive"] == texts[row["positive_id"]]
        assert row["anchor"] == next(q["text"] for q in asks if q["id"] == row["anchor_id"])


def test_all_formats_write_the_same_shards(tmp_path: Path) -> None:
    asks, rows, judged = queries(), corpus(), links()
    tables = []
    for kind in FORMATS:
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "beir":
            dataset = beir(folder / "set", asks, rows, test=judged)
        else:
            dataset = files(folder, kind, asks, titled(rows), judged)
        run = mine(folder, dataset)
        tables.append([run.triplets("semi_hard").to_table(), run.triplets("hard").to_table()])
    assert len(tables[0][0]) > 0 and len(tables[0][1]) > 0
    for semi_hard, hard in tables[1:]:
        assert semi_hard.equals(tables[0][0]) and hard.equals(tables[0][1])


@pytest.mark.parametrize(
    ("chosen", "used"),
    [(None, ("dev", "test")), ("qrels/dev.tsv", ("dev",)), ("qrels/test.tsv", ("test",))],
)
def test_a_folder_may_hold_several_link_files(
    chosen: str | None, used: tuple[str, ...], tmp_path: Path
) -> None:
    asks, rows = queries(), corpus()
    parts = {"dev": links()[:6], "test": links()[5:]}  # one link stands in both
    dataset = beir(tmp_path / "set", asks, rows, **parts)
    run = mine(tmp_path, dataset if chosen is None else {**dataset, "links": chosen})
    judged = [link for name in used for link in parts[name]]
    check(run, linked([{**q, "group": None} for q in asks], titled(rows), judged))
    hashed = [Path(file["path"]).name for file in run.manifest["dataset"]["files"]]
    assert hashed == ["queries.jsonl", "corpus.jsonl", *(f"{name}.tsv" for name in used)]


def test_a_folder_takes_the_whole_path_of_a_link_file(tmp_path: Path) -> None:
    asks, rows = queries(), corpus()
    dataset = beir(tmp_path / "set", asks, rows, dev=links()[:3], test=links()[3:])
    chosen = str(tmp_path / "set" / "qrels" / "test.tsv")
    run = mine(tmp_path, {**dataset, "links": chosen})
    check(run, linked([{**q, "group": None} for q in asks], titled(rows), links()[3:]))


def test_link_columns_can_be_named_and_a_score_left_out(tmp_path: Path) -> None:
    asks, rows = [{**q, "group": None} for q in queries()], titled(corpus())
    judged = [(q, d, 1) for q, d, _ in links()]
    dataset = files(tmp_path, "parquet", asks, rows, judged)
    table = pa.table({"to": [d for _, d, _ in judged], "from": [q for q, _, _ in judged]})
    pq.write_table(table, dataset["links"])
    run = mine(tmp_path, {**dataset, "link_query": "from", "link_corpus": "to"})
    check(run, linked(asks, rows, judged))
    assert run.manifest["dataset"]["judged_non_relevant"] == 0


def test_the_score_column_can_be_named(tmp_path: Path) -> None:
    asks, rows = [{**q, "group": None} for q in queries()], titled(corpus())
    dataset = files(tmp_path, "csv", asks, rows, links())
    tsv(
        Path(dataset["links"]).with_suffix(".tsv"),
        ("qid", "docid", "grade"),
        [(q, d, score / 2) for q, d, score in links()],
    )
    dataset["links"] = str(Path(dataset["links"]).with_suffix(".tsv"))
    run = mine(tmp_path, {**dataset, "link_score": "grade"})
    check(run, linked(asks, rows, links()))


def number_pairs(offset: int) -> tuple[list[Row], list[Row], list[tuple[int, int, int]]]:
    """Queries whose numbers are also documents' numbers: each is its own document."""
    asks = [{"id": n, "text": f"ask {n}", "group": None} for n in range(4)]
    rows = [{"id": n, "text": f"body {n}", "group": None} for n in range(10 + offset)]
    return asks, rows, [(n, n + 4, 1) for n in range(4)]


@pytest.mark.parametrize(
    ("query_type", "corpus_type"),
    [
        (pa.int64(), pa.int64()),
        (pa.int32(), pa.int64()),
        (pa.uint8(), pa.int32()),
        (pa.string(), pa.large_string()),
        (pa.string(), pa.int64()),
    ],
    ids=str,
)
def test_a_query_is_not_its_own_negative_whatever_the_type_of_its_id(
    query_type: Any, corpus_type: Any, tmp_path: Path
) -> None:
    """Links meet ids by what they say ("links.csv" has no types); so does the anchor itself."""
    asks, rows, judged = number_pairs(0)
    dataset = files(tmp_path, "parquet", asks, rows, judged)
    dataset["links"] = str(
        write(tmp_path / "links.csv", [dict(zip(LINK, link, strict=True)) for link in judged])
    )
    for name, part, kind in (("queries", asks, query_type), ("corpus", rows, corpus_type)):
        ids = pa.array([row["id"] for row in part]).cast(kind)
        pq.write_table(pa.table({"id": ids, "text": [row["text"] for row in part]}), dataset[name])
    run = mine(tmp_path, dataset)
    assert run.manifest["dataset"]["hidden"]["itself"] == 4
    assert [row["negatives"] for row in run.census().to_pylist()] == [8] * 4
    assert run.census()["anchor_id"].to_pylist() == pa.array(range(4)).cast(query_type).to_pylist()


def test_numbers_in_csv_are_the_same_ids_on_both_sides(tmp_path: Path) -> None:
    asks, rows, judged = number_pairs(0)
    rows.append({"id": "x9", "text": "last", "group": None})  # so the corpus' ids are texts
    run = mine(tmp_path, files(tmp_path, "csv", asks, rows, judged))
    assert run.manifest["dataset"]["hidden"]["itself"] == 4
    assert [row["negatives"] for row in run.census().to_pylist()] == [9] * 4


def test_equal_ids_are_two_things_unless_the_job_or_their_content_says_otherwise(
    tmp_path: Path,
) -> None:
    asks, rows, judged = number_pairs(0)
    rows[1]["text"] = asks[1]["text"]
    run = mine(tmp_path, {**files(tmp_path, "csv", asks, rows, judged), "same_id": False})
    dataset = run.manifest["dataset"]
    assert dataset["hidden"]["itself"] == 1 and dataset["equal_ids"] == 3
    assert [row["negatives"] for row in run.census().to_pylist()] == [9, 8, 9, 9]
    assert "3 queries have the id of a document" in describe_run(run)


def test_row_numbers_are_no_identity(tmp_path: Path) -> None:
    """Row 0 of the queries is not row 0 of the corpus, and still may be linked by its number."""
    asks, rows, judged = number_pairs(0)
    bare = [[{"text": row["text"]} for row in part] for part in (asks, rows)]
    run = mine(tmp_path, files(tmp_path, "jsonl", bare[0], bare[1], judged))
    assert run.manifest["dataset"]["hidden"]["itself"] == 0
    assert [row["negatives"] for row in run.census().to_pylist()] == [9] * 4


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "npz"])
def test_pairs_of_vectors(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(17)
    asks, rows = (
        [{"id": base + n, "embedding": rng.standard_normal(5).tolist()} for n in range(count)]
        for base, count in ((100, 6), (0, 25))
    )
    rows[4]["embedding"] = rows[3]["embedding"]  # vectors are not content: no duplicates
    judged = [(100 + n % 5, (3 * n) % 25, n % 4 - 1) for n in range(14)]
    run = mine(tmp_path, files(tmp_path, kind, asks, rows, judged), name="precomputed")
    sides = [[{**row, "text": row["id"], "group": None} for row in part] for part in (asks, rows)]
    expected = linked(sides[0], sides[1], judged)
    check(run, expected)
    assert "anchor" not in run.triplets("hard").schema.names
    assert run.manifest["dataset"]["skipped"]["unlinked_queries"] == sum(
        row["positives"] == 0 for row in expected.census
    )
