"""Which triplets are allowed: constraints and links by their definition, through `miner.mine`."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, GateError, UsageError
from miner.runs.describe import describe_run

Row = dict[str, Any]
Rule = Callable[[Row, Row], bool]


def base() -> list[Row]:
    """60 rows of 6 labels in 8 dimensions: 27,000 valid triplets."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 6
    vectors = (rng.normal(size=(6, 8))[label] + 0.6 * rng.normal(size=(60, 8))).astype(np.float32)
    return [
        {
            "id": f"r{i}",
            "label": f"c{i % 6}",
            "embedding": vectors[i].tolist(),
            "camera": (i // 6) % 2,
            "language": ("en", "de", None, "fr", "en")[i % 5],
            "site": i % 7,
            "seen": (i * 37) % 23 if i % 11 else None,
        }
        for i in range(60)
    ]


def mined(folder: Path, rows: list[Row], **dataset: Any) -> miner.Run:
    path = folder / "base.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return run({"path": str(path), **dataset}, folder)


def run(dataset: dict[str, Any], folder: Path, **select: Any) -> miner.Run:
    model = {"model": {"name": "tests.datasets.test_allowed_triplets:letters"}}
    job: dict[str, Any] = {
        "dataset": dataset,
        "mining": {"margin": 0.3},
        "select": select,
        "output": {"path": str(folder / "out"), "report": False},
        "gates": {"min_rows": 0},
    }
    texts = "path" not in dataset or not str(dataset["path"]).endswith("base.parquet")
    return miner.mine(job | (model if texts else {}))


def letters(texts: Sequence[str]) -> np.ndarray:
    """A model of texts: the counts of some letters."""
    return np.array([[1 + text.count(c) for c in "aeinxo"] for text in texts], np.float32)


def words(found: miner.Run) -> str:
    """The summary of a run on one line."""
    return " ".join(describe_run(found).split())


def counts(found: miner.Run) -> list[tuple[int, int, int]]:
    """Positives, negatives and valid triplets of each anchor with a triplet."""
    rows = found.census().to_pylist()
    for row in rows:
        valid = row["easy"] + row["semi_hard"] + row["hard"]
        assert valid == row["positives"] * row["negatives"]
    return [(row["anchor_id"], row["positives"], row["negatives"]) for row in rows]


def differs(column: str) -> Rule:
    return lambda a, r: None not in (a[column], r[column]) and a[column] != r[column]


def shares(column: str) -> Rule:
    return lambda a, r: a[column] is not None and a[column] == r[column]


def not_newer(column: str) -> Rule:
    return lambda a, r: None not in (a[column], r[column]) and r[column] <= a[column]


def apart(column: str) -> Rule:
    return lambda a, r: a[column] is None or a[column] != r[column]


def by_hand(
    a: Row, rows: list[Row], positive: list[Rule], negative: list[Rule]
) -> tuple[str, int, int]:
    """What `counts` is to have for an anchor: its id, positives and negatives."""
    kin = [r for r in rows if r is not a and r["label"] == a["label"]]
    others = [r for r in rows if r["label"] != a["label"]]
    found = [
        sum(all(rule(a, r) for rule in rules) for r in some)
        for rules, some in ((positive, kin), (negative, others))
    ]
    return a["id"], found[0], found[1]


CASES: dict[str, tuple[dict[str, Any], list[Rule], list[Rule]]] = {
    "across": ({"positives_across": "camera"}, [differs("camera")], []),
    "across two": (
        {"positives_across": ["camera", "language"]},
        [differs("camera"), differs("language")],
        [],
    ),
    "within": ({"negatives_within": "language"}, [], [shares("language")]),
    "within two": (
        {"negatives_within": ["language", "camera"]},
        [],
        [shares("language"), shares("camera")],
    ),
    "group": ({"group": "language"}, [], [apart("language")]),
    "groups": ({"group": ["language", "site"]}, [], [apart("language"), apart("site")]),
    "before": ({"before": "seen"}, [not_newer("seen")], [not_newer("seen")]),
    "all": (
        {
            "positives_across": "site",
            "negatives_within": "camera",
            "group": "language",
            "before": "seen",
        },
        [differs("site"), not_newer("seen")],
        [shares("camera"), apart("language"), not_newer("seen")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_constraints_of_labelled_items(name: str, tmp_path: Path) -> None:
    keys, positive, negative = CASES[name]
    rows = base()
    found = mined(tmp_path, rows, **keys)
    assert counts(found) == [by_hand(a, rows, positive, negative) for a in rows]
    by_id = {row["id"]: row for row in rows}
    for kind in ("hard", "semi_hard"):
        for triplet in found.triplets(kind).to_table().to_pylist():
            a, p, n = (by_id[triplet[f"{role}_id"]] for role in ("anchor", "positive", "negative"))
            assert all(rule(a, p) for rule in positive) and all(rule(a, n) for rule in negative)
    assert not miner.verify_run(found.path).problems


@pytest.mark.parametrize("name", CASES)
def test_constraints_of_pairs(name: str, tmp_path: Path) -> None:
    """The queries are some of the rows, linked to all rows of their label; one has no document."""
    keys, positive, negative = CASES[name]
    rows = base()
    asked = [{**row, "id": f"q{i}"} for i, row in enumerate(rows[:20])]
    asked[7]["language"] = "eo"  # which no document has
    for table, part in (("queries", asked), ("corpus", rows)):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / f"{table}.parquet")
    links = [f"{q['id']},{r['id']}" for q in asked[1:] for r in rows if r["label"] == q["label"]]
    (tmp_path / "links.csv").write_text("\n".join(["query_id,corpus_id", *links]))
    paths = {name: str(tmp_path / f"{name}.parquet") for name in ("queries", "corpus")}
    job = {
        "dataset": {**paths, "links": str(tmp_path / "links.csv"), **keys},
        "model": {"name": "precomputed"},
        "output": {"path": str(tmp_path / "out"), "report": False},
    }
    found = miner.mine(job)
    expected = [("q0", 0, sum(all(rule(asked[0], r) for rule in negative) for r in rows))]
    expected += [by_hand(a, rows, positive, negative) for a in asked[1:]]
    assert counts(found) == expected
    assert not miner.verify_run(found.path).problems


def test_positives_across_cameras(tmp_path: Path) -> None:
    assert mined(tmp_path, base()).manifest["census"]["valid"] == 27_000
    found = mined(tmp_path, base(), positives_across="camera")
    assert found.manifest["census"]["valid"] == 15_000


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_times_are_compared_in_every_format(kind: str, tmp_path: Path) -> None:
    rows = [{**row, "seen": f"2024-01-{1 + i % 28:02}"} for i, row in enumerate(base())]
    want = counts(mined(tmp_path, rows, before="seen"))
    path = tmp_path / f"base.{kind}"
    if kind == "csv":
        lines = ["id,label,embedding,seen"]
        lines += [f'{r["id"]},{r["label"]},"{r["embedding"]}",{r["seen"]}' for r in rows]
    else:
        lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    job = {"dataset": {"path": str(path), "before": "seen"}, "output": {"path": f"{tmp_path}/o"}}
    found = miner.mine({**job, "model": {"name": "precomputed"}, "mining": {"margin": 0.3}})
    assert counts(found) == want


@pytest.mark.parametrize(
    ("queries", "corpus"),
    [
        (pa.int64(), pa.float64()),  # pandas makes floats of whole numbers with a missing value
        (pa.decimal128(12, 2), pa.int32()),
        (pa.timestamp("ns"), pa.timestamp("us")),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("ms", "Europe/Berlin")),
        (pa.string(), pa.int64()),
    ],
)
def test_times_of_two_tables_are_compared_across_types(
    queries: Any, corpus: Any, tmp_path: Path
) -> None:
    def column(days: list[int], kind: Any) -> Any:
        zone = UTC if pa.types.is_timestamp(kind) and kind.tz else None
        times = [datetime(2024, 1, 1, tzinfo=zone) + timedelta(days=day) for day in days]
        if pa.types.is_date(kind):
            return pa.array([time.date() for time in times], kind)
        if pa.types.is_string(kind):
            return pa.array(list(map(str, days)))
        return (pa.array(times) if pa.types.is_temporal(kind) else pa.array(days, pa.int32())).cast(
            kind
        )

    texts = ["".join(c) for c in itertools.islice(itertools.product("aeinxo", repeat=3), 30)]
    tables = {
        "queries": {"id": range(6), "text": texts[:6], "day": column(list(range(3, 9)), queries)},
        "corpus": {"id": range(24), "text": texts[6:], "day": column([*range(12)] * 2, corpus)},
        "links": {"query_id": range(6), "corpus_id": range(6)},
    }
    for name, table in tables.items():
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    paths = {name: str(tmp_path / f"{name}.parquet") for name in tables}
    found = run({**paths, "before": "day"}, tmp_path)
    assert counts(found) == [(q, 1, 2 * (4 + q) - 1) for q in range(6)]


@pytest.mark.parametrize(
    ("days", "row", "wrong"),
    [
        (["1", "2", "n/a", "4"], 2, "n/a"),
        (["2024-01-01", "2024-01-02", "2024-01-03", "soon"], 3, "soon"),
        (["1", "nan", "2", "3"], 1, "nan"),
    ],
)
def test_the_row_that_is_no_time_is_named(
    days: list[str], row: int, wrong: str, tmp_path: Path
) -> None:
    path = tmp_path / "days.csv"
    lines = [f"a{i},{'ab'[i % 2]},{day}" for i, day in enumerate(days)]
    path.write_text("\n".join(["text,label,day", *lines]) + "\n")
    message = rf"days\.csv, row {row}, column 'day' \(dataset\.before\): .*, not '{wrong}'; write"
    with pytest.raises(DataError, match=message):
        run({"path": str(path), "before": "day"}, tmp_path)


def test_missing_values_are_counted(tmp_path: Path) -> None:
    found = mined(tmp_path, base(), negatives_within="language")
    assert found.manifest["dataset"]["without_value"] == {"language": 12}
    assert "12 rows have no value in 'language'" in words(found)
    hidden = found.manifest["dataset"]["hidden"]
    assert hidden["constraints"] > 0 and f"{hidden['constraints']:,} by constraints" in words(found)


@pytest.mark.parametrize("nested", [False, True])
def test_labels_that_are_only_negative(nested: bool, tmp_path: Path) -> None:
    rows = base()
    if nested:
        rows = [{**row, "label": [row["label"], f"t{i % 3}"]} for i, row in enumerate(rows)]
        rows[4]["label"] = ["c4"]
    names = ["c4"] if not nested else ["c4", "t0"]
    found = mined(tmp_path, rows, negative_only=names)
    sets = [set([r["label"]] if not nested else r["label"]) for r in rows]
    expected = []
    for i, own in enumerate(sets):
        if own - set(names):
            kin = [j for j, s in enumerate(sets) if j != i and own & s - set(names)]
            expected.append((f"r{i}", len(kin), len(rows) - 1 - len(kin)))
    assert counts(found) == expected
    assert found.manifest["dataset"]["negative_only"] == len(rows) - len(expected) > 0


def test_wrong_constraints_are_refused(tmp_path: Path) -> None:
    for keys, message in (
        ({"negative_only": ["c9"]}, "no row has the label 'c9' (dataset.negative_only)"),
        ({"positives_across": "kamera"}, "did you mean 'camera'?"),
        ({"before": "label"}, "must be numbers or times"),
        ({"negative_only": [f"c{n}" for n in range(6)]}, "names every label"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            mined(tmp_path, base(), **keys)
    with pytest.raises(UsageError, match=r"min_relevance has no meaning for labelled items"):
        mined(tmp_path, base(), min_relevance=1.0)


def pairs(folder: Path, links: list[str], **dataset: Any) -> dict[str, Any]:
    """A BEIR folder of 24 documents and 6 queries; query q{i} is linked to d{i}."""
    (folder / "beir" / "qrels").mkdir(parents=True, exist_ok=True)
    texts = ["".join(c) for c in itertools.islice(itertools.product("aeinxo", repeat=3), 30)]
    for name, letter, some in (("corpus", "d", texts[:24]), ("queries", "q", texts[24:])):
        lines = [json.dumps({"_id": f"{letter}{i}", "text": t}) for i, t in enumerate(some)]
        (folder / "beir" / f"{name}.jsonl").write_text("\n".join(lines))
    own = [f"q{i}\td{i}\t1" for i in range(6)]
    head = "query-id\tcorpus-id\tscore"
    (folder / "beir" / "qrels" / "train.tsv").write_text("\n".join([head, *own, *links]))
    return {"path": str(folder / "beir"), **dataset}


def test_queries_and_documents_that_are_numbered_apart(tmp_path: Path) -> None:
    """Query 0 is not document 0, which is a negative like any other."""
    (tmp_path / "qrels").mkdir()
    for name, rows in (("corpus", 24), ("queries", 6)):
        lines = [
            json.dumps({"_id": str(i), "text": f"{name} {'aeinxo'[i % 6]}{i}"}) for i in range(rows)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    links = "\n".join(f"{i}\t{i + 6}\t1" for i in range(6))
    (tmp_path / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{links}")
    found = run({"path": str(tmp_path)}, tmp_path / "a")
    assert found.manifest["census"]["valid"] == 138
    assert "6 queries have the id of a document of other content" in words(found)
    same = run({"path": str(tmp_path), "same_id": True}, tmp_path / "b")
    assert same.manifest["census"]["valid"] == 132


def test_links_that_dangle(tmp_path: Path) -> None:
    dangling = ["q0\td999\t1", "q999\td1\t1"]
    assert run(pairs(tmp_path, []), tmp_path).manifest["census"]["valid"] == 138
    with pytest.raises(DataError, match=r"'d999' is not an id .*dataset\.on_error = \"skip\""):
        run(pairs(tmp_path, dangling[:1]), tmp_path)
    found = run(pairs(tmp_path, dangling, on_error="skip"), tmp_path)
    assert found.manifest["census"]["valid"] == 138
    skipped = found.manifest["dataset"]["skipped"]
    assert skipped["links_of_unknown_queries"] == skipped["links_to_unknown_documents"] == 1
    assert "1 link of unknown queries, 1 link to unknown documents" in words(found)


def test_grades(tmp_path: Path) -> None:
    graded = ["q0\td7\t2", "q1\td7\t0", "q2\td8\t-1", "q0\td9\t0.5"]
    for keys, positives, hidden in (
        ({}, [3, 1, 1, 1, 1, 1], 0),
        ({"min_relevance": 1}, [2, 1, 1, 1, 1, 1], 0),
        ({"min_relevance": 2}, [1, 0, 0, 0, 0, 0], 0),
        ({"min_relevance": 0}, [3, 2, 1, 1, 1, 1], 0),
        ({"min_relevance": 1, "judged_below": "ignore"}, [2, 1, 1, 1, 1, 1], 3),
    ):
        found = run(pairs(tmp_path, graded, **keys), tmp_path)
        census = counts(found)
        assert [row[1] for row in census] == positives
        assert found.manifest["dataset"]["hidden"]["constraints"] == hidden
        assert sum(row[2] for row in census) == 6 * 24 - sum(positives) - hidden
    with pytest.raises(DataError, match="no link has a score of at least 3"):
        run(pairs(tmp_path, graded, min_relevance=3.0), tmp_path)


def test_texts_and_labels_that_are_nearly_equal(tmp_path: Path) -> None:
    path = tmp_path / "cards.csv"
    texts = ["Paris", "Paris ", "paris", "\uff30aris", "Rome", "Oslo", "Bern", "Wien"]
    labels = ["Card", "card ", "Card", "city", "city", "Card", "card ", "city"]
    path.write_text("text,label\n" + "\n".join(map(",".join, zip(texts, labels, strict=True))))
    exact = run({"path": str(path)}, tmp_path)
    assert exact.manifest["dataset"]["near_equal_texts"] == 4
    assert exact.manifest["dataset"]["near_equal_labels"] == ["Card", "card "]
    assert "4 texts equal another one but for case or spaces" in words(exact)
    assert "Labels 'Card' and 'card ' differ only by case or spaces" in words(exact)
    found = run({"path": str(path), "same_text": "folded"}, tmp_path)
    hidden = found.manifest["dataset"]["hidden"]["duplicates"]
    said = [{i for i in range(8) if labels[i] == own} for own in labels]
    same = {0, 1, 2, 3}
    assert hidden == sum(len(same - kin) if kin & same else 0 for kin in said)
    assert not exact.manifest["dataset"]["hidden"]["duplicates"]


def test_nothing_to_mine_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "equal.csv"
    path.write_text("text,label\n" + "\n".join(f"same,{'ab'[i % 2]}" for i in range(20)))
    job = {"dataset": {"path": str(path)}, "output": {"path": str(tmp_path / "out")}}
    model = {"name": "tests.datasets.test_allowed_triplets:letters"}
    message = r"there is no valid triplet: \(anchor, row\) pairs are hidden, 200 by duplicates"
    with pytest.raises(GateError, match=message):
        miner.mine({**job, "model": model})


def test_zero_vectors_are_counted_or_skipped(tmp_path: Path) -> None:
    rows = base()
    rows[3]["embedding"] = [0.0] * 8
    found = mined(tmp_path, rows)
    assert found.manifest["embedding"]["zero_vectors"] == 1
    assert "1 row has a zero vector" in words(found)
    found = mined(tmp_path, rows, on_error="skip")
    assert found.manifest["embedding"]["zero_vectors"] == 0
    assert found.manifest["dataset"]["skipped"]["unreadable"] == 1


def graded_pairs(folder: Path, below: str) -> dict[str, Any]:
    """12 queries and 80 documents in 4 dimensions; some documents are judged non-relevant."""
    rng = np.random.default_rng(3)
    for name, rows in (("queries", 12), ("corpus", 80)):
        vectors = rng.normal(size=(rows, 4)).astype(np.float32).tolist()
        pq.write_table(
            pa.table({"id": [f"{name[0]}{i}" for i in range(rows)], "embedding": vectors}),
            folder / f"{name}.parquet",
        )
    links = [f"q{q},c{c},2" for q in range(12) for c in range(3 * q, 3 * q + 2)]
    links += [f"q{q},c{c},0" for q in range(0, 12, 2) for c in range(40 + q, 52 + q)]
    (folder / "links.csv").write_text("query_id,corpus_id,score\n" + "\n".join(links))
    paths = {name: str(folder / f"{name}.parquet") for name in ("queries", "corpus")}
    return {**paths, "links": str(folder / "links.csv"), "judged_below": below}


@pytest.mark.parametrize(
    "select",
    [
        {"strategy": "hardest", "options": {"k": 3}},
        {"strategy": "hardest", "options": {"k": 4}, "per_anchor": 3},
        {"strategy": "semi-hard"},
        {"strategy": "simans", "options": {"k": 3}},
        {"strategy": "batch-hard"},
        {"strategy": "hardest", "options": {"k": 2}, "skip_nearest": 5},
    ],
    ids=lambda one: "-".join(map(str, one.values())),
)
def test_judged_negatives_are_taken_first(select: dict[str, Any], tmp_path: Path) -> None:
    plain, first = (chosen(tmp_path, below, select) for below in ("negative", "prefer"))
    capped = "per_anchor" in select  # which slots a cap keeps is drawn in another order
    assert sum(map(len, plain.values())) == sum(map(len, first.values()))
    assert capped or {key: len(plain[key]) for key in first} == {k: len(first[k]) for k in first}
    skip = {"skip_nearest": select.get("skip_nearest", 0)}
    every = chosen(tmp_path, "negative", skip)
    changed = 0
    for key, rows in first.items():
        number = int(key[1][1:])
        judged = {f"c{c}" for c in range(40 + number, 52 + number)} if number % 2 == 0 else set()
        possible = [row for row in every[key] if row in judged]
        assert len(set(rows)) == len(rows) and set(rows) <= set(every[key])
        assert set(rows) & judged == set(possible[: len(rows)])  # the nearest come first
        others = [row for row in plain.get(key, ()) if row not in possible]
        left = max(0, len(rows) - len(possible))
        assert capped or [row for row in rows if row not in judged] == others[:left]
        changed += rows != plain.get(key)
    assert changed > 3


def chosen(
    folder: Path, below: str, select: dict[str, Any]
) -> dict[tuple[str, str, str], list[str]]:
    """The negatives that are written for each class, anchor and positive, nearest first."""
    job = {
        "dataset": graded_pairs(folder, below),
        "model": {"name": "precomputed"},
        "mining": {"margin": 0.6},
        "select": select,
        "output": {"path": str(folder / "out"), "report": False},
    }
    found: dict[tuple[str, str, str], list[str]] = {}
    done = miner.mine(job)
    for kind in ("hard", "semi_hard"):
        for row in done.triplets(kind).to_table().to_pylist():
            key = kind, row["anchor_id"], row["positive_id"]
            found.setdefault(key, []).append(row["negative_id"])
    assert not miner.verify_run(done).problems
    return found


def test_judged_negatives_cannot_come_first_in_a_uniform_draw(tmp_path: Path) -> None:
    for strategy in ("all", "uniform"):
        with pytest.raises(UsageError, match="'prefer' has no meaning for the strategy"):
            run(graded_pairs(tmp_path, "prefer"), tmp_path, strategy=strategy)
