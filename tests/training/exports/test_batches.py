"""`mine batches` against the same written with dictionaries, and where its labels come from."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.training.exports.confusion import count_confusion
from miner.training.exports.labels import open_labelled
from tests.conftest import Result
from tests.training.exports.conftest import make_run, rows_of, write_texts

RunOf = Callable[[str], miner.Run]
Cli = Callable[..., Result]

LABELLED = ("texts", "int ids", "text ids", "sampled", "ties", "subset")


def labels_of(run: miner.Run) -> dict[Any, Any]:
    """The label of each item, from the data that was mined."""
    table = pq.read_table(run.manifest["job"]["dataset"]["path"])
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def confused(run: miner.Run) -> dict[Any, Counter[Any]]:
    """Per label the summed weights of the hard triplets that it shares with others."""
    labels = labels_of(run)
    found: dict[Any, Counter[Any]] = defaultdict(Counter)
    for row in rows_of(run, "hard"):
        one, other = labels[row["anchor_id"]], labels[row["negative_id"]]
        found[one][other] += row["weight"]
        found[other][one] += row["weight"]
    return found


def grown(start: Any, count: int, able: list[Any], weights: dict[Any, Counter[Any]]) -> list[Any]:
    """A start and what is most confused with those before, as far as there is anything."""
    labels = [start]
    while len(labels) < count:
        scores = [
            (sum(weights[one][other] for one in labels), -place, other)
            for place, other in enumerate(able)
            if other not in labels
        ]
        best = max(scores)
        if best[0] <= 0:
            break
        labels.append(best[2])
    return labels


def composed(facts: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows of each batch."""
    rows = pq.read_table(facts["path"]).to_pylist()
    return [list(own) for _, own in itertools.groupby(rows, key=lambda row: row["batch"])]


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize(("p", "k"), [(2, 2), (3, 5), (4, 3)])
def test_batches_grow_by_what_is_confused(
    run_of: RunOf, tmp_path: Path, kind: str, p: int, k: int
) -> None:
    run = run_of(kind)
    labels, weights = labels_of(run), confused(run)
    sizes = Counter(labels.values())
    able = [label for label in sizes if sizes[label] >= k]  # in the order of the data
    facts = miner.export_batches(run, p=p, k=k, batches=4 * len(able) + 1, out=tmp_path / "x")
    batches = composed(facts)
    assert len(batches) == facts["batches"] == 4 * len(able) + 1
    assert facts["labels"] == len(able)
    small = [label for label in sizes if sizes[label] < k]
    items = sum(sizes[label] for label in small)
    assert facts["left_out"] == {"small_labels": len(small), "items_of_small_labels": items}
    starts: Counter[Any] = Counter()
    random = 0
    for number, rows in enumerate(batches):
        assert {row["batch"] for row in rows} == {number}
        assert len(rows) == p * k == len({row["item_id"] for row in rows})
        assert all(labels[row["item_id"]] == row["label"] for row in rows)
        order = list(dict.fromkeys(row["label"] for row in rows))
        assert [row["label"] for row in rows] == [label for label in order for _ in range(k)]
        assert len(order) == p and set(order) <= set(able)
        wanted = grown(order[0], p, able, weights)
        assert order[: len(wanted)] == wanted
        random += p - len(wanted)
        starts[order[0]] += 1
        triplets = sum(
            a is not b and a["label"] == b["label"] != c["label"]
            for a in rows
            for b in rows
            for c in rows
        )
        assert triplets == facts["triplets_per_batch"]
    assert facts["random_labels"] == random
    assert sorted(starts.values()) == [4] * (len(able) - 1) + [5]


def test_the_default_is_one_batch_from_each_label(run_of: RunOf, tmp_path: Path) -> None:
    batches = composed(miner.export_batches(run_of("texts"), p=3, k=2, out=tmp_path / "x"))
    starts = [rows[0]["label"] for rows in batches]
    assert sorted(starts) == sorted(set(labels_of(run_of("texts")).values()))
    assert len({row["item_id"] for rows in batches for row in rows}) > 15


def test_each_round_has_its_own_order(run_of: RunOf, tmp_path: Path) -> None:
    facts = miner.export_batches(run_of("texts"), p=2, k=2, batches=20, out=tmp_path / "x")
    starts = [rows[0]["label"] for rows in composed(facts)]
    rounds = [tuple(starts[n : n + 5]) for n in range(0, 20, 5)]
    assert len(set(rounds)) > 1
    assert len({tuple(sorted(own)) for own in rounds}) == 1


def test_columns_and_texts(run_of: RunOf, tmp_path: Path) -> None:
    for kind, value, text in (("texts", pa.int64(), True), ("text ids", pa.string(), False)):
        run = run_of(kind)
        facts = miner.export_batches(run, p=2, k=2, out=tmp_path / kind)
        table = pq.read_table(facts["path"])
        types = {"batch": pa.int64(), "label": pa.string(), "item_id": value}
        types |= {"text": pa.string()} if text else {}
        assert dict(zip(table.schema.names, table.schema.types, strict=True)) == types
        assert facts["columns"] == list(types)
    data = pq.read_table(run_of("texts").manifest["job"]["dataset"]["path"])
    by_id = dict(zip(data["id"].to_pylist(), data["text"].to_pylist(), strict=True))
    rows = pq.read_table(tmp_path / "texts").to_pylist()
    assert [row["text"] for row in rows] == [by_id[row["item_id"]] for row in rows]


def test_labels_that_nothing_confuses_are_drawn_at_random(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("nothing mined")
    seen = []
    for seed in range(3):
        out = tmp_path / str(seed)
        facts = miner.export_batches(run, p=3, k=2, batches=5, seed=seed, out=out)
        assert facts["random_labels"] == 5 * 2
        seen.append([row["label"] for rows in composed(facts) for row in rows])
    assert seen[0] != seen[1] != seen[2]
    assert len({tuple(sorted(set(seen[0][n : n + 6]))) for n in range(0, 30, 6)}) > 1


def test_the_seed_decides_and_nothing_else(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("sampled")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        miner.export_batches(run, p=3, k=3, seed=seed, out=tmp_path / name)
    a, b, c = ((tmp_path / name / "part-00000.parquet").read_bytes() for name in "abc")
    assert a == b != c
    more = miner.export_batches(run, p=3, k=3, seed=3, batches=40, out=tmp_path / "d")
    few = pq.read_table(tmp_path / "a").to_pylist()
    assert pq.read_table(more["path"]).to_pylist()[: len(few)] == few


def test_weights_scale_a_sample_to_the_whole(run_of: RunOf) -> None:
    run = run_of("sampled")
    assert run.manifest["written"]["hard"]["truncated"]
    confusion = count_confusion(run, open_labelled(run))
    whole = run.manifest["census"]["hard"]
    assert sum(confusion.weights) == pytest.approx(2 * whole, rel=1e-4)


def with_table(run: miner.Run, folder: Path) -> miner.Run:
    """A copy of a run with a table of confusions that says the opposite of its shards."""
    root = run.path.parent.parent
    shutil.copytree(root, folder / "copy", symlinks=True)
    copy = miner.open_run(folder / "copy/runs" / run.run_id)
    labels = sorted(set(labels_of(run).values()))
    rows = [
        {"anchor_label": a, "negative_label": b, "hard": (hash_of(a, b)), "semi_hard": 7}
        for a in labels
        for b in labels
        if a != b
    ]
    pq.write_table(pa.Table.from_pylist(rows), copy.path / "confusion.parquet")
    return copy


def hash_of(a: str, b: str) -> int:
    return (sum(map(ord, a)) * 7 + sum(map(ord, b)) * 13) % 11


def test_a_table_of_confusions_is_preferred(run_of: RunOf, tmp_path: Path) -> None:
    run = with_table(run_of("sampled"), tmp_path)
    weights: dict[Any, Counter[Any]] = defaultdict(Counter)
    for row in pq.read_table(run.path / "confusion.parquet").to_pylist():
        weights[row["anchor_label"]][row["negative_label"]] += row["hard"]
        weights[row["negative_label"]][row["anchor_label"]] += row["hard"]
    able = list(dict.fromkeys(labels_of(run).values()))
    facts = miner.export_batches(run, p=3, k=2, out=tmp_path / "x")
    assert facts["confusion"] == "run"
    for rows in composed(facts):
        order = list(dict.fromkeys(row["label"] for row in rows))
        assert order == grown(order[0], 3, able, weights)


@pytest.mark.parametrize("values", ["numbers", "texts", "csv numbers", "csv texts"])
def test_labels_keep_their_values(tmp_path: Path, values: str) -> None:
    table = pq.read_table(write_texts(tmp_path / "t.parquet"))
    labels = [
        text if "texts" in values else int(text[1:]) * 10 for text in table["label"].to_pylist()
    ]
    rows = list(zip(table["id"].to_pylist(), table["text"].to_pylist(), labels, strict=True))
    path = tmp_path / "data.csv"
    if values.startswith("csv"):
        path.write_text("\n".join(["id,text,label", *(",".join(map(str, row)) for row in rows)]))
    else:
        path = tmp_path / "data.parquet"
        pq.write_table(table.set_column(2, "label", pa.array(labels)), path)
    job = {"dataset": {"path": str(path)}, "output": {"path": str(tmp_path / "out")}}
    run = miner.mine({**job, "model": {"name": "tests.training.exports.conftest:embed"}})
    facts = miner.export_batches(run, p=2, k=2, out=tmp_path / "x")
    assert facts["named"] is True
    by_id = {one: label for one, _, label in rows}
    for row in pq.read_table(facts["path"]).to_pylist():
        assert row["label"] == by_id[row["item_id"]]


def test_labels_need_the_store_only(tmp_path: Path) -> None:
    run = make_run("texts", tmp_path)
    labels = labels_of(run)
    order = list(dict.fromkeys(labels.values()))
    Path(run.manifest["job"]["dataset"]["path"]).unlink()
    facts = miner.export_batches(run, p=2, k=2, out=tmp_path / "named")
    assert facts["named"] is True
    for row in pq.read_table(facts["path"]).to_pylist():
        assert row["label"] == labels[row["item_id"]]
    store = run.path.parent.parent / ".store" / run.manifest["store"]
    (store / "labels.arrow").unlink()  # as an earlier version left it
    facts = miner.export_batches(run, p=2, k=2, out=tmp_path / "numbered")
    assert facts["named"] is False
    assert "numbers" in miner.describe_batches(facts)
    for row in pq.read_table(facts["path"]).to_pylist():
        assert row["label"] == order.index(labels[row["item_id"]])


def test_rows_that_a_filter_left_out_lend_no_label(tmp_path: Path) -> None:
    table = pq.read_table(write_texts(tmp_path / "t.parquet"))
    other = table.set_column(2, "label", pa.array(["wrong"] * len(table)))
    other = other.set_column(3, "year", pa.array([1900] * len(table)))
    pq.write_table(pa.concat_tables([other, table, other]), tmp_path / "t.parquet")
    job = {
        "dataset": {"path": str(tmp_path / "t.parquet"), "where": "year > 2000"},
        "model": {"name": "tests.training.exports.conftest:embed"},
        "output": {"path": str(tmp_path / "out")},
    }
    facts = miner.export_batches(miner.mine(job), p=2, k=2, out=tmp_path / "x")
    labels = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    for row in pq.read_table(facts["path"]).to_pylist():
        assert row["label"] == labels[row["item_id"]]


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("pairs", [], "no labels"),
        ("texts", ["--p", "40"], "lower --p or --k"),
        ("texts", ["--p", "3", "--k", "1"], "--k 1: at least 2"),
        ("texts", ["--p", "1"], "--p 1: at least 2"),
        ("texts", ["--batches", "0"], "--batches 0"),
        ("texts", ["--seed", "-1"], "--seed -1"),
    ],
)
def test_wrong_usage(
    cli: Cli, run_of: RunOf, tmp_path: Path, kind: str, words: list[str], said: str
) -> None:
    result = cli("batches", run_of(kind).path, *words, "--out", tmp_path / "x")
    assert (result.code, result.out) == (2, "")
    assert said in result.err and result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_lists_of_labels_and_a_store_that_is_gone(cli: Cli, tmp_path: Path) -> None:
    table = pq.read_table(write_texts(tmp_path / "t.parquet"))
    lists = pa.array(
        [[label, "all"][: 1 + n % 2] for n, label in enumerate(table["label"].to_pylist())]
    )
    pq.write_table(table.set_column(2, "label", lists), tmp_path / "t.parquet")
    job = {
        "dataset": {"path": str(tmp_path / "t.parquet")},
        "output": {"path": str(tmp_path / "o")},
    }
    run = miner.mine({**job, "model": {"name": "tests.training.exports.conftest:embed"}})
    result = cli("batches", run.path, "--p", "2", "--k", "2")
    assert result.code == 2 and "lists of labels" in result.err
    shutil.rmtree(tmp_path / "o/.store")
    result = cli("batches", run.path, "--p", "2", "--k", "2")
    assert result.code == 6 and "mine run --force" in result.err


def test_what_is_printed(cli: Cli, run_of: RunOf, tmp_path: Path) -> None:
    words = ["batches", run_of("texts").path, "--p", "3", "--k", "2", "--out", tmp_path / "x"]
    result = cli(*words)
    assert (result.code, result.err) == (0, "")
    assert "24 in a batch" in result.out and "load_dataset" in result.out
    assert cli(*words).code == 2
    facts = json.loads(cli(*words, "--force", "--json").out)
    assert facts["triplets_per_batch"] == 6 * 1 * 4 == 24
    assert facts["rows"] == pq.read_table(tmp_path / "x").num_rows == facts["batches"] * 6
