"""What a run leaves behind: schema, shards, weights, census and manifest, as section 5 has them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import miner
from miner.triplets.hardness import CLASSES, MINED_CLASSES
from tests.conftest import write_vectors
from tests.sizes import make_small

MARGIN = 0.2
IDS = ["anchor_id", "positive_id", "negative_id"]
TEXTS = ["anchor", "positive", "negative"]
FLOATS = ["d_ap", "d_an", "weight"]


def letters(batch: list[str]) -> np.ndarray:
    """Embed texts by how often they have a, b, c and d: many ties."""
    return np.array([[text.count(letter) for letter in "abcd"] for text in batch], dtype=float)


def mine(path: Path, out: Path, **sections: dict[str, Any]) -> miner.Run:
    job = {"dataset": {"path": str(path)}, "output": {"path": str(out)}}
    for name, keys in sections.items():
        job[name] = {**job.get(name, {}), **keys}
    return miner.mine(job)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """30 short texts in 3 classes, two rows without a label, and duplicates."""
    rng = np.random.default_rng(11)
    rows = ["".join(rng.choice(list("abcd"), 6)) for _ in range(30)]
    rows[20] = rows[3]
    labels = [None if n in (5, 17) else f"c{n % 3}" for n in range(30)]
    table = pa.table({"id": np.arange(100, 130), "text": rows, "label": labels})
    pq.write_table(table, tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


def expected(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Enumerate all triplets of a text set by the definition, in the order of the shards."""
    rows = [row for row in pq.read_table(path).to_pylist() if row["label"] is not None]
    wide = letters([row["text"] for row in rows])
    unit = (wide / np.sqrt((wide * wide).sum(-1))[:, None]).astype(np.float32).astype(float)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CLASSES}
    for a, anchor in enumerate(rows):
        d = np.sqrt(((unit[a] - unit) ** 2).sum(-1))
        mates = {row["text"] for row in rows if row["label"] == anchor["label"]}
        others = [
            n
            for n, row in enumerate(rows)
            if row["label"] != anchor["label"] and row["text"] not in mates
        ]
        others.sort(key=lambda n: (d[n], n))
        for p, positive in enumerate(rows):
            if p == a or positive["label"] != anchor["label"]:
                continue
            for n in others:
                trio = dict(zip(TEXTS, (anchor, positive, rows[n]), strict=True))
                triplet = {role: row["text"] for role, row in trio.items()}
                triplet |= {f"{role}_id": row["id"] for role, row in trio.items()}
                triplet |= {"d_ap": float(np.float32(d[p])), "d_an": float(np.float32(d[n]))}
                hard, near = d[n] <= d[p], d[n] < d[p] + MARGIN
                name = "hard" if hard else "semi_hard" if near else "easy"
                found[name].append({**triplet, "weight": 1.0, "loss": MARGIN + d[p] - d[n]})
    return found


LETTERS = {"name": "tests.runs.test_output:letters"}


def said(rows: int, of: int) -> dict[str, Any]:
    """What the manifest says of a class of so many, without filters."""
    drawn = {"truncated": rows < of, "sampled": 0 < rows < of}
    return {"rows": rows, "of": of, "wanted": of, "available": of, **drawn}


def test_every_triplet_is_written_with_its_values(texts: Path, tmp_path: Path) -> None:
    run = mine(texts, tmp_path / "out", model=LETTERS)
    truth = expected(texts)
    for name in MINED_CLASSES:
        loss = [row.pop("loss") for row in truth[name]]
        assert len(loss) > 100
        assert pq.read_table(run.path / name).to_pylist() == truth[name]
    assert {name: run.manifest["census"][name] for name in CLASSES} == {
        name: len(truth[name]) for name in CLASSES
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (pa.int64(), pa.int64()),
        (pa.int32(), pa.int32()),
        (pa.uint64(), pa.uint64()),
        (pa.string(), pa.string()),
        (pa.large_string(), pa.string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (None, pa.int64()),
    ],
)
def test_ids_keep_their_type(texts: Path, tmp_path: Path, given: Any, kept: Any) -> None:
    table = pq.read_table(texts)
    ids = [2**31 - 1 - n for n in range(30)]
    if given == pa.uint64():
        ids = [2**60 + n for n in range(30)]
    if given is None:
        table, ids = table.drop_columns("id"), list(range(30))
    elif given in (pa.int64(), pa.int32(), pa.uint64()):
        table = table.set_column(0, "id", pa.array(ids, given))
    else:
        table = table.set_column(0, "id", pa.array([str(n) for n in ids]).cast(given))
        ids = [str(n) for n in ids]  # type: ignore[misc]
    pq.write_table(table, texts)
    run = mine(texts, tmp_path / "out", model=LETTERS)
    shard = pq.read_table(run.path / "hard")
    assert [shard.schema.field(name).type for name in IDS] == [kept] * 3
    by_id = dict(zip(ids, table["text"].to_pylist(), strict=True))
    for role in TEXTS:
        assert [by_id[n] for n in shard[f"{role}_id"].to_pylist()] == shard[role].to_pylist()
    census = run.census()
    assert census.schema.field("anchor_id").type == kept
    labelled = [n for n in range(30) if n not in (5, 17)]
    assert census["anchor_id"].to_pylist() == [ids[n] for n in labelled]
    assert miner.verify_run(run, full=True).problems == []


def check_schema(run: miner.Run, names: list[str], cap: int = 1 << 15) -> None:
    """Columns, types, metadata, row groups and compression of all shards of a run."""
    for shard in run.manifest["shards"]:
        file = pq.ParquetFile(run.path / shard["path"])
        schema = file.schema_arrow
        assert schema.names == names
        for field in schema:
            assert not pa.types.is_dictionary(field.type)
            if field.name in FLOATS:
                assert field.type == pa.float32()
            if field.name in TEXTS:
                assert field.type == pa.string()
        mining = run.manifest["job"]["mining"]
        normal = mining["normalize"] is not False and mining["metric"] != "dot"
        assert schema.metadata == {
            b"format_version": b"2",
            b"difficulty": shard["path"].split("/")[0].encode(),
            b"metric": mining["metric"].encode(),
            b"margin": repr(mining["margin"]).encode(),
            b"normalize": str(normal).lower().encode(),
            b"model": run.manifest["model"]["id"].encode(),
            b"fingerprint": run.manifest["fingerprint"].encode(),
        }
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        assert sum(group.num_rows for group in groups) == shard["rows"]
        assert all(0 < group.num_rows <= cap for group in groups)
        columns = [group.column(n) for group in groups for n in range(group.num_columns)]
        assert {column.compression for column in columns} <= {"ZSTD"}


def test_schema_of_texts_vectors_and_without_content(
    texts: Path, small: Path, tmp_path: Path
) -> None:
    check_schema(mine(texts, tmp_path / "a", model=LETTERS), TEXTS + IDS + FLOATS)
    bare = mine(texts, tmp_path / "b", model=LETTERS, output={"content": False})
    check_schema(bare, IDS + FLOATS)
    dot = mine(small, tmp_path / "c", mining={"metric": "dot", "margin": 1.5})
    check_schema(dot, IDS + FLOATS)
    check_schema(mine(small, tmp_path / "d", mining={"normalize": False}), IDS + FLOATS)


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((150, 4)).astype(np.float32)
    path = write_vectors(tmp_path / "v.parquet", vectors, [n % 3 for n in range(150)])
    run = mine(path, tmp_path / "out")
    check_schema(run, IDS + FLOATS)
    hard = pq.ParquetFile(run.path / "hard/part-00000.parquet").metadata
    assert hard.num_rows > 2 << 17
    assert [hard.row_group(n).num_rows for n in range(2)] == [1 << 15, 1 << 15]


def test_pairs_have_the_ids_of_both_sides(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = ["".join(rng.choice(list("abcd"), 5)) for _ in range(20)]
    pq.write_table(pa.table({"id": ["q1", "q2"], "text": ["ab", "cd"]}), tmp_path / "q.parquet")
    corpus = pa.table({"id": pa.array(range(20), pa.int32()), "text": rows})
    pq.write_table(corpus, tmp_path / "c.parquet")
    (tmp_path / "l.csv").write_text("query_id,corpus_id,score\nq1,3,1\nq1,4,0\nq2,5,2\nq2,6,1\n")
    names = {"queries": "q.parquet", "corpus": "c.parquet", "links": "l.csv"}
    dataset = {name: str(tmp_path / file) for name, file in names.items()}
    rest = {"mining": {"margin": 2.0}, "output": {"path": str(tmp_path / "out")}}
    run = miner.mine({"dataset": dataset, "model": LETTERS, **rest})
    check_schema(run, TEXTS + IDS + FLOATS)
    table = pa.concat_tables([pq.read_table(run.path / name) for name in MINED_CLASSES])
    types = [table.schema.field(name).type for name in IDS]
    assert types == [pa.string(), pa.int32(), pa.int32()]
    pairs = {(row["anchor_id"], row["positive_id"]) for row in table.to_pylist()}
    assert pairs == {("q1", 3), ("q2", 5), ("q2", 6)}
    assert ("q1", 4) in {(row["anchor_id"], row["negative_id"]) for row in table.to_pylist()}
    assert run.manifest["dataset"]["judged_non_relevant"] == 1


def test_an_empty_class_has_one_part_without_rows(texts: Path, tmp_path: Path) -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    far = write_vectors(tmp_path / "far.parquet", vectors, [n // 5 for n in range(10)])
    apart = mine(far, tmp_path / "a", gates={"min_rows": 0})
    assert apart.manifest["census"]["easy"] == apart.manifest["census"]["valid"] == 10 * 4 * 5
    assert apart.manifest["census"]["mean_loss"] == 0.0
    none = mine(texts, tmp_path / "b", model=LETTERS, select={"max_triplets": 0})
    for run, names in ((apart, IDS + FLOATS), (none, TEXTS + IDS + FLOATS)):
        check_schema(run, names)
        for name in MINED_CLASSES:
            assert [path.name for path in (run.path / name).iterdir()] == ["part-00000.parquet"]
            table = pq.read_table(run.path / name)
            assert (table.num_rows, table.schema.names) == (0, names)
        assert miner.verify_run(run, full=True).problems == []
    truth = expected(texts)
    for name in MINED_CLASSES:
        of = len(truth[name])
        assert none.manifest["written"][name] == said(0, of)
        assert apart.manifest["written"][name] == said(0, 0)


def test_manifest_says_what_was_done(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = mine(texts, out, model=LETTERS)
    manifest, truth = json.loads((out / "latest/manifest.json").read_text()), expected(texts)
    assert manifest == run.manifest
    assert (manifest["format_version"], manifest["status"]) == (2, "complete")
    assert manifest["run_id"] == run.path.name
    assert list(manifest["job"]["mining"].values())[:5] == [
        MARGIN,
        "euclidean",
        None,
        "512MiB",
        True,
    ]
    assert len(bytes.fromhex(manifest["fingerprint"])) == 32
    assert {"mine", "python", "numpy", "pyarrow", "faiss-cpu", "joblib"} <= {*manifest["versions"]}
    assert manifest["versions"]["numpy"] == np.__version__
    dataset = manifest["dataset"]
    sha256 = hashlib.sha256(texts.read_bytes()).hexdigest()
    assert dataset["files"] == [
        {"path": str(texts), "bytes": texts.stat().st_size, "sha256": sha256}
    ]
    assert (dataset["items"], dataset["anchors"], dataset["classes"]) == (30, 28, 3)
    assert dataset["skipped"] == {"unlabelled": 2, "singletons": 0}
    assert (manifest["model"]["id"], manifest["model"]["dim"]) == (LETTERS["name"], 4)
    assert manifest["model"]["weights"]
    embedding = manifest["embedding"]
    assert (embedding["rows"], embedding["computed"], embedding["reused"]) == (28, 28, 0)
    assert embedding["seconds"] >= 0
    assert (manifest["index"]["factory"], manifest["index"]["exact"]) == ("Flat", True)
    census = manifest["census"]
    assert census["valid"] == sum(len(rows) for rows in truth.values())
    losses = [row["loss"] for name in MINED_CLASSES for row in truth[name]]
    assert census["mean_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    for name in MINED_CLASSES:
        assert census[name] == len(truth[name])
        of = len(truth[name])
        assert manifest["written"][name] == said(of, of)
    assert {shard["path"] for shard in manifest["shards"]} == {
        f"{name}/part-00000.parquet" for name in MINED_CLASSES
    }
    for file in [*manifest["shards"], *manifest["files"]]:
        data = (run.path / file["path"]).read_bytes()
        assert file["bytes"] == len(data)
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        if file["path"].endswith(".parquet"):
            assert file["rows"] == pq.ParquetFile(run.path / file["path"]).metadata.num_rows
    assert all(seconds >= 0 for seconds in manifest["timings"].values())
    assert 10 << 20 < manifest["peak_rss_bytes"] < 1 << 40


def test_loss_can_be_left_out_and_vectors_are_reused(texts: Path, tmp_path: Path) -> None:
    mine(texts, tmp_path / "out", model=LETTERS)
    run = mine(texts, tmp_path / "out", model=LETTERS, mining={"loss": False})
    tables = ["confusions", "gaps", "hubs", "label_noise"]
    names = ["easy", "hard", "reused", "semi_hard", "valid", *tables]
    assert sorted(run.manifest["census"]) == sorted(names)
    embedding = run.manifest["embedding"]
    assert (embedding["rows"], embedding["computed"], embedding["reused"]) == (28, 0, 28)


def test_census_has_one_row_an_anchor(texts: Path, tmp_path: Path) -> None:
    run, truth = mine(texts, tmp_path / "out", model=LETTERS), expected(texts)
    table = pq.read_table(run.path / "census.parquet")
    names = ["anchor_id", "positives", "negatives", "easy", "semi_hard", "hard"]
    assert table.column_names == names
    assert {str(field.type) for field in table.schema} == {"int64"}
    rows = table.to_pylist()
    assert len(rows) == 28
    for row in rows:
        counts = {
            name: sum(triplet["anchor_id"] == row["anchor_id"] for triplet in truth[name])
            for name in CLASSES
        }
        assert {name: row[name] for name in CLASSES} == counts
        assert sum(counts.values()) == row["positives"] * row["negatives"]


@pytest.mark.parametrize(
    "caps", [{"max_triplets": 777}, {"per_pair": 3}, {"per_anchor": 20}, {"per_pair": 10**6}]
)
def test_weights_add_up_to_the_whole_class(
    small: Path, tmp_path: Path, caps: dict[str, int]
) -> None:
    run = mine(small, tmp_path / "out", select=caps)
    for name in MINED_CLASSES:
        written, table = run.manifest["written"][name], pq.read_table(run.path / name)
        weights = table["weight"].to_numpy().astype(float)
        rows = written["rows"]
        assert rows == len(weights) > 0
        assert written["of"] == run.manifest["census"][name]
        assert written["truncated"] == (rows < written["of"])
        assert weights.sum() == pytest.approx(written["of"], rel=1e-6)
        if "max_triplets" in caps:
            assert rows == 777
            assert np.unique(weights) == np.float32(written["of"] / 777)
        if caps == {"per_pair": 10**6}:
            assert not written["truncated"]
            assert set(weights) == {1.0}
        keys = {"per_pair": IDS[:2], "per_anchor": IDS[:1]}
        for cap, columns in keys.items():
            if cap in caps:
                counts = table.group_by(columns).aggregate([([], "count_all")])["count_all"]
                assert max(counts.to_pylist()) <= caps[cap]
        assert len({tuple(row.values()) for row in table.select(IDS).to_pylist()}) == rows


def test_parts_join_to_what_one_part_holds(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mine(small, tmp_path / "one")
    make_small(monkeypatch, part=1000, group=300, slice=128)
    cut = mine(small, tmp_path / "many")
    check_schema(cut, IDS + FLOATS, cap=300)
    for name in MINED_CLASSES:
        rows = [s["rows"] for s in cut.manifest["shards"] if s["path"].startswith(f"{name}/")]
        total = whole.manifest["written"][name]["rows"]
        assert rows == [1000] * (total // 1000) + [total % 1000]
        assert len(rows) > 3
        parts = cut.part_paths(name)
        assert [Path(part).name for part in parts] == [
            f"part-{number:05d}.parquet" for number in range(len(rows))
        ]
        one = pq.read_table(whole.path / name)
        assert pa.concat_tables([pq.read_table(part) for part in parts]).equals(one)
        assert pq.read_table(tmp_path / "many/latest" / name).equals(one)
        assert pads.dataset(cut.path / name).to_table().equals(one)
        assert cut.triplets(name).to_table().equals(one)
    assert miner.verify_run(cut, full=True).problems == []
