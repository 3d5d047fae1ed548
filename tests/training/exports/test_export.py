"""`mine export` against the same written with dictionaries and lists."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import UsageError
from miner.runs.manifest_schema import manifest_checksum
from miner.training.exports import triplets as reading
from miner.training.exports import writing
from miner.training.exports.describe import describe_export
from tests.conftest import Result
from tests.training.exports.conftest import CLASSES, KINDS, rows_of, write_texts

RunOf = Callable[[str], miner.Run]
Cli = Callable[..., Result]

WITH_ROWS = tuple(kind for kind in KINDS if kind != "nothing mined")
FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")


def by_pair(rows: list[dict[str, Any]]) -> dict[tuple[Any, Any], list[Any]]:
    """Per (anchor id, positive) the distinct negatives, the nearest first; first pairs first."""
    found: dict[tuple[Any, Any], dict[Any, float]] = {}
    for row in rows:
        mine = found.setdefault((row["anchor_id"], row["positive"]), {})
        mine[row["negative"]] = min(row["d_an"], mine.get(row["negative"], row["d_an"]))
    return {pair: sorted(mine, key=mine.__getitem__) for pair, mine in found.items()}


def by_anchor(rows: list[dict[str, Any]], role: str) -> dict[Any, list[Any]]:
    """Per anchor id the distinct positives or negatives, the nearest first."""
    distance = {"positive": "d_ap", "negative": "d_an"}[role]
    found: dict[Any, dict[Any, float]] = {}
    for row in rows:
        mine = found.setdefault(row["anchor_id"], {})
        mine[row[role]] = min(row[distance], mine.get(row[role], row[distance]))
    return {anchor: sorted(mine, key=mine.__getitem__) for anchor, mine in found.items()}


def expected(
    rows: list[dict[str, Any]], name: str, count: int | None, ragged: bool = False
) -> list[list[Any]]:
    """The rows of an export."""
    shown = {row["anchor_id"]: row["anchor"] for row in rows}
    result: list[list[Any]] = []
    if name == "labeled-pair":
        negatives = by_anchor(rows, "negative")
        for anchor, positives in by_anchor(rows, "positive").items():
            result += [[shown[anchor], text, 1] for text in positives]
            result += [[shown[anchor], text, 0] for text in negatives[anchor][:count]]
        return result
    for (anchor, positive), others in by_pair(rows).items():
        if name == "triplet":
            result += [[shown[anchor], positive, text] for text in others[:count]]
        elif name == "n-tuple" and len(others) >= (count or 3):
            result.append([shown[anchor], positive, *others[: count or 3]])
        elif name == "labeled-list":
            kept = others[:count] if ragged else others[: count or 3]
            if ragged or len(kept) == (count or 3):
                labels = [1] + [0] * len(kept)
                result.append([shown[anchor], [positive, *kept], labels])
    return result


def exported(facts: dict[str, Any]) -> pa.Table:
    paths = [Path(facts["path"]) / file["path"] for file in facts["files"]]
    return pa.concat_tables([pq.read_table(path) for path in paths])


def cells(table: pa.Table) -> list[list[Any]]:
    return [list(row.values()) for row in table.to_pylist()]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", WITH_ROWS)
@pytest.mark.parametrize("difficulty", CLASSES)
@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_what_lists_and_dictionaries_make(
    run_of: RunOf, tmp_path: Path, name: str, difficulty: str, kind: str
) -> None:
    run = run_of(kind)
    rows = rows_of(run, difficulty)
    for number, count in enumerate((None, 1, 5)):
        if not expected(rows, name, count):
            with pytest.raises(UsageError, match="would have no rows"):
                miner.export_triplets(
                    run, name, difficulty=difficulty, negatives=count, out=tmp_path / "none"
                )
            continue
        facts = miner.export_triplets(
            run, name, difficulty=difficulty, negatives=count, out=tmp_path / f"{number}"
        )
        assert cells(exported(facts)) == expected(rows, name, count)
        assert facts["rows"] == len(expected(rows, name, count))
        texts = kind in ("texts", "pairs", "sampled", "subset")
        assert facts["content"] == ("text" if texts else "ids")
    assert kind != "texts" or any(facts["left_out"].values())


@pytest.mark.parametrize("kind", WITH_ROWS)
def test_the_columns_are_those_of_sentence_transformers(
    run_of: RunOf, tmp_path: Path, kind: str
) -> None:
    run = run_of(kind)
    shown = "anchor" if kind not in ("int ids", "text ids", "ties") else "anchor_id"
    value = pq.read_schema(run.part_paths("hard")[0]).field(shown).type
    wanted = {
        "triplet": {"anchor": value, "positive": value, "negative": value},
        "n-tuple": {"anchor": value, "positive": value, "negative_1": value, "negative_2": value},
        "labeled-pair": {"anchor": value, "passage": value, "label": pa.int64()},
        "labeled-list": {
            "anchor": value,
            "passages": pa.list_(value),
            "labels": pa.list_(pa.int64()),
        },
    }
    for name, columns in wanted.items():
        facts = miner.export_triplets(run, name, negatives=2, out=tmp_path / name)
        schema = exported(facts).schema
        assert dict(zip(schema.names, schema.types, strict=True)) == columns
        assert facts["columns"] == list(columns)
    schema = exported(miner.export_triplets(run, "pair", out=tmp_path / "pair")).schema
    assert schema.names == ["anchor", "other", "label"]
    assert schema.types == [value, value, pa.float32()]


@pytest.mark.parametrize("kind", WITH_ROWS)
def test_lists_may_be_ragged(run_of: RunOf, tmp_path: Path, kind: str) -> None:
    run = run_of(kind)
    rows = rows_of(run, "both")
    for count in (None, 4):
        facts = miner.export_triplets(
            run,
            "labeled-list",
            difficulty="both",
            negatives=count,
            ragged=True,
            out=tmp_path / str(count),
        )
        assert cells(exported(facts)) == expected(rows, "labeled-list", count, ragged=True)


@pytest.mark.parametrize("kind", WITH_ROWS)
@pytest.mark.parametrize("difficulty", CLASSES)
def test_pairs_and_their_balance(run_of: RunOf, tmp_path: Path, kind: str, difficulty: str) -> None:
    run = run_of(kind)
    rows = rows_of(run, difficulty)
    facts = miner.export_triplets(run, "pair", difficulty=difficulty, out=tmp_path / "all")
    assert cells(exported(facts)) == expected(rows, "labeled-pair", None)
    facts = miner.export_triplets(
        run, "pair", difficulty=difficulty, balance=True, out=tmp_path / "even"
    )
    shown = {row["anchor_id"]: row["anchor"] for row in rows}
    wanted: list[list[Any]] = []
    lost = {"positives": 0, "negatives": 0}
    negatives = by_anchor(rows, "negative")
    for anchor, positives in by_anchor(rows, "positive").items():
        count = min(len(positives), len(negatives[anchor]))
        wanted += [[shown[anchor], text, 1.0] for text in positives[:count]]
        wanted += [[shown[anchor], text, 0.0] for text in negatives[anchor][:count]]
        lost["positives"] += len(positives) - count
        lost["negatives"] += len(negatives[anchor]) - count
    assert cells(exported(facts)) == wanted
    assert facts["rows"] == 2 * facts["positives"] == len(wanted)
    assert facts["left_out"] == {f"{why}_to_balance": n for why, n in lost.items()}


def test_what_is_left_out_is_counted(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("texts")
    rows = rows_of(run, "both")
    pairs = by_pair(rows)
    repeated = len(rows) - sum(map(len, pairs.values()))
    assert repeated > 0
    short = sum(len(others) < 20 for others in pairs.values())
    assert 0 < short < len(pairs)
    facts = miner.export_triplets(
        run, "n-tuple", difficulty="both", negatives=20, out=tmp_path / "x"
    )
    assert facts["rows"] == len(pairs) - short
    assert facts["left_out"] == {
        "repeated_triplets": repeated,
        "pairs_with_too_few_negatives": short,
        "farther_negatives": sum(max(0, len(others) - 20) for others in pairs.values()),
    }
    assert "pairs have too few distinct negatives" in describe_export(facts)


@pytest.mark.parametrize("kind", ["texts", "sampled", "pairs"])
def test_small_buffers_and_parts_change_nothing(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Anchors span batches; batches span parts of the export."""
    run = run_of(kind)
    whole = exported(miner.export_triplets(run, "triplet", difficulty="both", out=tmp_path / "a"))
    monkeypatch.setattr(reading, "_ROWS", 7)
    monkeypatch.setattr(reading, "_LISTED", 7)
    monkeypatch.setattr(writing, "PART_ROWS", 50)
    monkeypatch.setattr(writing, "_GROUP_ROWS", 20)
    view = reading.View(texts=True)
    held = [len(block.anchors) for block in reading.blocks(run, ["hard", "semi_hard"], view)]
    assert len(held) > 5 and max(held) < whole.num_rows / 3
    facts = miner.export_triplets(run, "triplet", difficulty="both", out=tmp_path / "b")
    assert exported(facts) == whole
    assert [file["rows"] for file in facts["files"][:-1]] == [50] * (len(facts["files"]) - 1)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        file["path"] for file in facts["files"]
    ]


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_the_same_bytes_each_time(run_of: RunOf, tmp_path: Path, file_format: str) -> None:
    run = run_of("texts")
    for name in FORMATS:
        found = []
        for n in range(2):
            out = tmp_path / f"{name}{n}"
            miner.export_triplets(run, name, out=out, file_format=file_format)
            found.append((out / f"part-00000.{file_format}").read_bytes())
        assert found[0] == found[1] != b""


@pytest.mark.parametrize("name", FORMATS)
def test_json_lines_say_the_same(run_of: RunOf, tmp_path: Path, name: str) -> None:
    run = run_of("texts")
    table = exported(miner.export_triplets(run, name, out=tmp_path / "a"))
    miner.export_triplets(run, name, out=tmp_path / "b", file_format="jsonl")
    lines = (tmp_path / "b/part-00000.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == table.to_pylist()


def test_the_default_folder_lies_beside_the_runs(cli: Cli, run_of: RunOf) -> None:
    run = run_of("text ids")
    before = sorted(run.path.rglob("*"))
    result = cli("export", run.path, "--format", "n-tuple", "--json", "--difficulty", "semi_hard")
    facts = json.loads(result.out)
    root = run.path.parent.parent
    assert Path(facts["path"]) == root / "exports" / f"{run.run_id}-n-tuple-semi_hard"
    assert sorted(run.path.rglob("*")) == before
    assert [path.name for path in (root / "exports").iterdir()] == [Path(facts["path"]).name]
    assert miner.verify_run(run).problems == []


def test_an_export_is_not_replaced_unasked(cli: Cli, run_of: RunOf, tmp_path: Path) -> None:
    words = ["export", run_of("texts").path, "--format", "triplet", "--out", tmp_path / "x"]
    assert cli(*words, "--difficulty", "hard").code == 0
    first = (tmp_path / "x/part-00000.parquet").read_bytes()
    again = cli(*words, "--difficulty", "both")
    assert (again.code, again.out) == (2, "") and "--force" in again.err
    assert (tmp_path / "x/part-00000.parquet").read_bytes() == first
    assert cli(*words, "--difficulty", "both", "--force").code == 0
    assert (tmp_path / "x/part-00000.parquet").read_bytes() != first
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_force_replaces_nothing_but_exports(cli: Cli, run_of: RunOf, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    words = ["export", run_of("texts").path, "--format", "pair", "--force", "--out"]
    result = cli(*words, tmp_path / "mine")
    assert result.code == 2 and "thesis.txt" in result.err
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert cli(*words, tmp_path / "link").code == 2
    assert cli(*words, run_of("texts").path / "hard").code == 2
    assert cli(*words, run_of("texts").path).code == 2


def test_what_fails_half_way_leaves_nothing(
    cli: Cli, run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["export", run_of("texts").path, "--format", "pair", "--out", tmp_path / "x"]
    assert cli(*words).code == 0
    first = (tmp_path / "x/part-00000.parquet").read_bytes()

    def full(self: Any, table: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        result = cli(*words, "--force", "--difficulty", "both")
    assert result.code == 6 and "No space left" in result.err
    assert result.err.count("\n") == 1
    assert (tmp_path / "x/part-00000.parquet").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export"], "--format"),
        (["export", "--format", "triplets"], "triplet"),
        (["export", "--format", "reviews"], "did you mean 'review'?"),
        (["export", "--format", "triplet", "--difficulty", "semi-herd"], "semi_hard"),
        (["export", "--format", "triplet", "--file-format", "csv"], "jsonl"),
        (["export", "--format", "n-tuple", "--negatives", "0"], "must be 1 or more"),
        (["export", "--format", "n-tuple", "--ragged"], "labeled-list"),
        (["export", "--format", "n-tuple", "--balance"], "--balance is for pair"),
        (["export", "--format", "pair", "--difficulty", "easy"], "hard"),
        (["export", "--format", "pairs"], "did you mean 'pair'"),
    ],
)
def test_wrong_usage(cli: Cli, run_of: RunOf, tmp_path: Path, words: list[str], said: str) -> None:
    result = cli(words[0], run_of("texts").path, *words[1:], "--out", tmp_path / "x")
    assert (result.code, result.out) == (2, "")
    assert said in result.err and result.err.count("\n") <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_shard_and_a_foreign_one(cli: Cli, run_of: RunOf, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_of("texts").path, copy)
    shard = copy / "hard/part-00000.parquet"
    table = pq.read_table(shard)
    pq.write_table(table.take(list(reversed(range(len(table))))), shard)
    manifest = json.loads((copy / "manifest.json").read_text())
    next(one for one in manifest["shards"] if one["path"].startswith("hard"))["sha256"] = (
        hashlib.sha256(shard.read_bytes()).hexdigest()
    )
    manifest["checksum"] = manifest_checksum(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = cli("export", copy, "--format", "pair", "--out", tmp_path / "x")
    assert result.code == 6 and "census.parquet" in result.err
    shard.write_bytes(shard.read_bytes()[:500])
    result = cli("export", copy, "--format", "pair", "--out", tmp_path / "x")
    assert result.code == 6 and str(shard) in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_printed(cli: Cli, run_of: RunOf, tmp_path: Path, name: str) -> None:
    run = run_of("int ids")
    result = cli("export", run.path, "--format", name, "--out", tmp_path / "x")
    assert (result.code, result.err) == (0, "")
    rows = len(expected(rows_of(run, "both"), name, None))
    assert f"{rows:,}" in result.out and "ids" in result.out and "load_dataset" in result.out


def test_an_export_without_rows_is_refused(cli: Cli, run_of: RunOf, tmp_path: Path) -> None:
    for name in (*FORMATS, "pair"):
        words = ("--format", name, "--out", tmp_path / "x")
        result = cli("export", run_of("nothing mined").path, *words)
        assert (result.code, result.out) == (2, "") and "has no triplets" in result.err
    words = ("--format", "n-tuple", "--negatives", 999, "--out", tmp_path / "x")
    result = cli("export", run_of("texts").path, *words)
    assert result.code == 2 and "too few distinct negatives" in result.err
    assert "--negatives" in result.err and list(tmp_path.iterdir()) == []


def test_the_default_is_what_the_run_wrote(cli: Cli, tmp_path: Path) -> None:
    data = write_texts(tmp_path / "t.parquet")
    out = {"path": str(tmp_path / "out"), "content": False}
    run = miner.mine(
        {
            "dataset": {"path": str(data)},
            "model": {"name": "tests.training.exports.conftest:embed"},
            "mining": {"margin": 0.3},
            "select": {"strategy": "semi-hard"},
            "output": out,
        }
    )
    count = run.manifest["written"]["semi_hard"]["rows"]
    assert count and not run.manifest["written"]["hard"]["rows"]
    for name in (*FORMATS, "pair"):
        options = {"negatives": 1} if name in ("n-tuple", "labeled-list") else {}
        facts = miner.export_triplets(run, name, out=tmp_path / name, **options)
        assert facts["difficulty"] == "semi_hard" and facts["rows"]
    refused = cli("export", run.path, "--format", "triplet", "--difficulty", "hard")
    assert refused.code == 2 and "--difficulty semi_hard" in refused.err
    assert f"{count:,} row" in refused.err
    facts = miner.export_triplets(run, "triplet", difficulty="both", out=tmp_path / "both")
    assert facts["rows"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["pairs", "mined/la test", "--balance", "--negatives", "2"],
            "type `mine export 'mined/la test' --balance --negatives 2 --format pair",
        ),
        (["pairs", "--help"], "type `mine export --help --format pair"),
        (["batches", "mined", "--p", "8", "--k", "4", "--json"], "MPerClassSampler(labels, m=K"),
    ],
)
def test_commands_that_are_gone_say_what_to_type(cli: Cli, words: list[str], said: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err and result.err.count("\n") == 1
    assert f"\n  {words[0]} " not in cli("--help").out
