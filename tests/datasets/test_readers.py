"""Every reader: the same contract, with real files, and what is particular to each."""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.datasets.base import ROWS, Table
from miner.datasets.layouts.beir import open_beir
from miner.datasets.opening import open_table
from miner.errors import DataError
from tests.conftest import Result
from tests.sizes import make_small

COUNT = 10_000
"""More than two batches."""
TEXTS = [f"text {n}\twith, é “{n % 7}”" for n in range(COUNT)]
PLAIN = [text.replace("\t", " ") for text in TEXTS]
LABELS = [n % 11 for n in range(COUNT)]


def table() -> pa.Table:
    return pa.table({"text": TEXTS, "label": LABELS})


def parquet(folder: Path) -> str:
    pq.write_table(table(), folder / "data.parquet", row_group_size=3000)
    return str(folder / "data.parquet")


def parquet_folder(folder: Path) -> str:
    for number, start in enumerate(range(0, COUNT, 1000)):
        place = folder / "data" / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(table().slice(start, 1000), place / f"part-{number:02}.parquet")
    (folder / "data" / "_SUCCESS").write_text("")
    (folder / "data" / "README.txt").write_text("made by hand")
    (folder / "data" / ".hidden.parquet").write_text("no")
    return str(folder / "data")


def parquet_pattern(folder: Path) -> str:
    for number, start in enumerate(range(0, COUNT, 1000)):
        pq.write_table(table().slice(start, 1000), folder / f"part-{number:02}.parquet")
    (folder / "other.csv").write_text("a,b\n")
    return str(folder / "*.parquet")


def hive(folder: Path) -> str:
    for split in ("train", "a test"):
        place = folder / "data" / f"split={split.replace(' ', '%20')}" / "n=3"
        place.mkdir(parents=True)
        start = 0 if split == "a test" else COUNT // 2
        pq.write_table(table().slice(start, COUNT // 2), place / "x.parquet")
    return str(folder / "data")


def csv_text(separator: str = ",") -> str:
    quoted = [text if separator == "\t" else f'"{text}"' for text in PLAIN]
    lines = [f"{text}{separator}{label}" for text, label in zip(quoted, LABELS, strict=True)]
    return "\n".join([f"text{separator}label", *lines]) + "\n"


def csv(folder: Path) -> str:
    (folder / "data.csv").write_text("\ufeff" + csv_text(), encoding="utf-8")
    return str(folder / "data.csv")


def csv_gz(folder: Path) -> str:
    (folder / "data.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
    return str(folder / "data.csv.gz")


def tsv(folder: Path) -> str:
    (folder / "data.tsv").write_text(csv_text("\t"), encoding="utf-8")
    return str(folder / "data.tsv")


def json_text() -> bytes:
    rows = zip(TEXTS, LABELS, strict=True)
    return "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows).encode()


def jsonl(folder: Path) -> str:
    (folder / "data.jsonl").write_bytes(json_text())
    return str(folder / "data.jsonl")


def jsonl_gz(folder: Path) -> str:
    (folder / "data.jsonl.gz").write_bytes(gzip.compress(json_text()))
    return str(folder / "data.jsonl.gz")


def arrow_file(folder: Path) -> str:
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink:
        with pa.ipc.new_file(sink, table().schema) as writer:
            writer.write_table(table(), max_chunksize=6000)
    return str(folder / "data.arrow")


def arrow_stream(folder: Path) -> str:
    with pa.OSFile(str(folder / "data.ipc"), "wb") as sink:
        with pa.ipc.new_stream(sink, table().schema) as writer:
            writer.write_table(table(), max_chunksize=6000)
    return str(folder / "data.ipc")


def npz(folder: Path) -> str:
    np.savez(folder / "data.npz", text=np.array(TEXTS), label=np.array(LABELS))
    return str(folder / "data.npz")


def saved(folder: Path) -> str:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    data.save_to_disk(str(folder / "saved"), num_shards=3)
    return str(folder / "saved")


def saved_splits(folder: Path) -> str:
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    parts = {"train": range(6000), "test": range(6000, COUNT)}
    split = datasets.DatasetDict({name: whole.select(rows) for name, rows in parts.items()})
    split.save_to_disk(str(folder / "saved"))
    return str(folder / "saved")


WRITERS: list[Callable[[Path], str]] = [
    parquet,
    parquet_folder,
    parquet_pattern,
    hive,
    csv,
    csv_gz,
    tsv,
    jsonl,
    jsonl_gz,
    arrow_file,
    arrow_stream,
    npz,
    saved,
    saved_splits,
]
EXPECTED = {"csv": PLAIN, "csv_gz": PLAIN, "tsv": PLAIN}


def column(opened: Table, name: str) -> list[Any]:
    return [value for batch in opened.batches([name]) for value in batch.column(0).to_pylist()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Hugging Face imports
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_the_contract(write: Callable[[Path], str], tmp_path: Path) -> None:
    opened = open_table(write(tmp_path))
    texts = EXPECTED.get(write.__name__, TEXTS)
    if write is parquet_folder:
        order = [n for half in (0, 1) for n in range(COUNT) if n // 1000 % 2 == half]
    else:
        order = list(range(COUNT))
    for _ in range(2):
        assert column(opened, "text") == [texts[n] for n in order]
    labels = [str(n) for n in LABELS] if opened.untyped else LABELS
    assert column(opened, "label") == [labels[n] for n in order]
    for batch in opened.batches(["label", "text"]):
        assert 0 < len(batch) <= ROWS
        assert batch.schema.names == ["label", "text"]
        assert [field.type for field in batch.schema] == [
            opened.types[n] for n in ("label", "text")
        ]
    assert opened.files and all(file.is_file() for file in opened.files)
    assert len(set(opened.files)) == len(opened.files)


TRUNCATED = [parquet, csv_gz, jsonl, jsonl_gz, arrow_file, arrow_stream, npz]


@pytest.mark.parametrize("write", TRUNCATED, ids=lambda write: write.__name__)
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_file_that_was_cut_off(
    write: Callable[[Path], str], share: float, tmp_path: Path
) -> None:
    path = Path(write(tmp_path))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError) as caught:
        column(open_table(str(path)), "text")
    message = str(caught.value)
    assert path.name in message and "\n" not in message


def test_hive_folders_are_columns(tmp_path: Path) -> None:
    opened = open_table(hive(tmp_path))
    assert opened.types["n"] == pa.int64()
    assert column(opened, "n") == [3] * COUNT
    assert column(opened, "split") == ["a test"] * (COUNT // 2) + ["train"] * (COUNT // 2)
    place = tmp_path / "data" / "split=train" / "n=3"
    pq.write_table(pa.table({"text": ["a"], "label": [1], "n": [3]}), place / "x.parquet")
    pq.write_table(
        pa.table({"text": ["a"], "label": [1], "n": [3]}),
        tmp_path / "data" / "split=a%20test" / "n=3" / "x.parquet",
    )
    with pytest.raises(DataError, match=r"'n' is in the files and in the names of folders"):
        open_table(str(tmp_path / "data"))


def test_columns_that_are_used_have_one_type(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet, column 'label' is string.*int64"):
        column(open_table(str(tmp_path)), "label")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet has no column 'label'"):
        column(open_table(str(tmp_path)), "label")
    assert column(open_table(str(tmp_path)), "text") == ["a", "a"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there are no files"),
        ({"a.parquet": "", "b.csv": "a\n"}, "several kinds"),
        ({"notes.md": "x"}, r"there are \.md"),
        ({"a.npy": "x", "b.npy": "x"}, "can be read"),
    ],
)
def test_folders_that_are_no_table(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        open_table(str(tmp_path))
    with pytest.raises(DataError, match="matches no file"):
        open_table(str(tmp_path / "*.arrow"))


def test_a_column_split_of_ones_own(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"text": ["a"], "split": ["x"]})
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match="column 'split' and splits"):
        open_table(str(tmp_path / "d"))
    assert column(open_table(saved_splits(tmp_path)), "split") == ["train"] * 6000 + ["test"] * 4000


def picture(shade: int, kind: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    noise = np.random.default_rng(shade).integers(0, 30, (9, 7)) + shade
    image.fromarray(noise.astype(np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("split", [False, True])
def test_a_folder_of_images(split: bool, tmp_path: Path, cli: Callable[..., Result]) -> None:
    root = tmp_path / "pictures"
    shades = {"dark": 10, "light": 200}
    expected = []
    for number in range(12):
        kind = ("PNG", "JPEG", "WEBP")[number % 3]
        name = list(shades)[number % 2]
        part = ("train/" if number < 8 else "test/") if split else ""
        file = root / f"{part}{name}" / f"{number:02}.{kind.lower()}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(shades[name] + number, kind))
        expected.append((file.relative_to(root).as_posix(), name, part.rstrip("/")))
    (root / "dark" if not split else root / "train").joinpath("Thumbs.db").write_text("x")
    expected.sort()
    opened = open_table(str(root))
    assert list(opened.types) == ["image", "id", "label"] + (["split"] if split else [])
    assert column(opened, "id") == [name for name, _, _ in expected]
    assert column(opened, "label") == [label for _, label, _ in expected]
    if split:
        assert column(opened, "split") == [part for _, _, part in expected]
    contents = [(root / name).read_bytes() for name, _, _ in expected]
    assert column(opened, "image") == contents
    more = ["--set", "dataset.where=split = 'train'"] if split else []
    result = cli("run", "--data", root, "--out", tmp_path / "out", "--json", *more)
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["dataset"]["items"] == (8 if split else 12)
    assert facts["model"]["dim"] == 63
    assert cli("init", root, "--job", tmp_path / "job.toml").code == 0
    assert miner.load_job(tmp_path / "job.toml").dataset.content == "image"


def test_images_without_class_folders(tmp_path: Path, cli: Callable[..., Result]) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture(number, "PNG"))
    result = cli("run", "--data", tmp_path, "--out", tmp_path / "out")
    assert result.code == 3 and "folders by class" in result.err
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(picture(1, "PNG"))
    with pytest.raises(DataError, match=r"0\.png lies in no class folder"):
        open_table(str(tmp_path))


QRELS = "q1 0 d1 1\nq1 0 d2 0\n\nq2\t0\td2\t2\n"


@pytest.mark.parametrize("name", ["a.qrels", "a.trec", "qrels.txt", "a.qrels.gz", "a.tsv"])
def test_trec_qrels(name: str, tmp_path: Path) -> None:
    content = QRELS.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    opened = open_table(str(tmp_path / name))
    assert column(opened, "query_id") == ["q1", "q1", "q2"]
    assert column(opened, "corpus_id") == ["d1", "d2", "d2"]
    assert column(opened, "score") == [1, 0, 2]


def test_a_bad_line_of_qrels(tmp_path: Path) -> None:
    (tmp_path / "a.qrels").write_text("q1 0 d1 1\nq1 0 d1\n")
    with pytest.raises(DataError, match=r"a\.qrels, line 2"):
        column(open_table(str(tmp_path / "a.qrels")), "score")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("trec", [False, True])
def test_beir_folders(packed: bool, trec: bool, tmp_path: Path) -> None:
    def put(name: str, text: str) -> None:
        file = tmp_path / "set" / (f"{name}.gz" if packed else name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())

    rows = [{"_id": f"d{n}", "title": "", "text": f"words {n}"} for n in range(1, 4)]
    put("corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    asks = [{"_id": f"q{n}", "text": f"question {n}"} for n in range(1, 3)]
    put("queries.jsonl", "".join(json.dumps(row) + "\n" for row in asks))
    header = "query-id\tcorpus-id\tscore\n"
    put("qrels/test.tsv", QRELS if trec else header + "q1\td1\t1\nq1\td2\t0\nq2\td2\t2\n")
    queries, corpus, links = open_beir(tmp_path / "set", None)
    assert column(corpus, "text") == ["words 1", "words 2", "words 3"]
    assert column(queries, "id") == ["q1", "q2"]
    assert len(links) == 1
    job = {"dataset": {"path": str(tmp_path / "set")}, "output": {"path": str(tmp_path / "out")}}
    facts = miner.mine(job).manifest["dataset"]
    assert (facts["links"], facts["judged_non_relevant"]) == (2, 1)


def test_vectors_without_labels_are_queries_and_corpus(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "q.npy", rng.standard_normal((4, 3)).astype(np.float32))
    np.save(tmp_path / "c.npy", rng.standard_normal((9, 3)).astype(np.float32))
    (tmp_path / "l.csv").write_text("query_id,corpus_id\n0,3\n1,8\n")
    names = {"queries": "q.npy", "corpus": "c.npy", "links": "l.csv"}
    run = miner.mine(
        {
            "dataset": {key: str(tmp_path / name) for key, name in names.items()},
            "output": {"path": str(tmp_path / "out")},
        }
    )
    assert run.manifest["census"]["valid"] == 2 * 8


def test_lists_of_labels_in_json(tmp_path: Path) -> None:
    labels = [["a"], ["b"], ["c", "a"]]
    rows = [{"text": f"t {n}", "label": labels[n % 3]} for n in range(9)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {"dataset": {"path": str(tmp_path / "d.jsonl")}, "output": {"path": str(tmp_path / "o")}}
    census = miner.mine(job).census()
    assert census["positives"].to_pylist() == [5, 2, 5] * 3
    assert census["negatives"].to_pylist() == [3, 6, 3] * 3


def test_json_lines_in_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines over the border of a block, blank ones, columns that come and go, no last newline."""
    rows = [{"id": n, "text": "x" * (n % 40), "label": n % 3} for n in range(200)]
    for row in rows[60:90]:
        del row["label"]  # a block may hold no row that has it
    rows[150]["more"] = [1]
    lines = [json.dumps(row) for row in rows]
    lines[5:5] = ["", " \t ", *[" " * 30] * 9]
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    whole = {name: column(open_table(str(path)), name) for name in ("id", "text", "label")}
    assert whole["label"] == [row.get("label") for row in rows]
    for size in (90, 97, 1000):
        make_small(monkeypatch, line=size, json_block=size * 2 // 3)
        table = open_table(str(path))
        assert list(table.types) == ["id", "text", "label"]
        assert {name: column(table, name) for name in whole} == whole
    make_small(monkeypatch, line=70)
    with pytest.raises(DataError, match=r"data.jsonl, line \d+: it is longer than"):
        column(open_table(str(path)), "text")


@pytest.mark.parametrize("second", ['{"id": 1, "te', '{"id": "much too long"}' * 20, "null"])
def test_the_first_error_of_json_lines_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """Blocks are parsed a few at once: one that comes later may be refused before."""
    make_small(monkeypatch, line=400, json_block=60)
    lines = ['{"id": 1}'] * 90
    lines[60], lines[67] = '{"id": 1, "x": "' + "y" * 300, second
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines))
    told: list[int] = []
    with pytest.raises(DataError, match=r"data.jsonl cannot be read: line 61 is not a JSON object"):
        for batch in open_table(str(path)).batches(["id"]):
            told += batch.column("id").to_pylist()
    assert 50 < len(told) <= 60 and set(told) == {1}


@pytest.mark.parametrize("block", [60, 1 << 20])
def test_a_value_of_another_type_is_told_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    make_small(monkeypatch, line=200, json_block=block)
    lines = ['{"id": "1", "x": 1}', ""] * 40
    lines[70] = '{"id": 5, "x": 1}'
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines))
    told = r"line 71: Column\(/id\) changed from string to number; correct it$"
    with pytest.raises(DataError, match=told):
        column(open_table(str(path)), "id")


@pytest.mark.parametrize("content", ['{"id": 1} {"id"', '{"id": 1} {"id": "x"}\n{"id": 2}'])
def test_two_objects_on_a_line_are_refused(tmp_path: Path, content: str) -> None:
    """Arrow counts more rows there than there are lines."""
    (tmp_path / "data.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"line 1 is not a JSON object \(Extra data"):
        open_table(str(tmp_path / "data.jsonl"))


def test_json_lines_leave_no_thread_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch, json_block=1000)
    (tmp_path / "data.jsonl").write_bytes(json_text() * 50)
    before = set(threading.enumerate())
    batches = open_table(str(tmp_path / "data.jsonl")).batches(["text"])
    next(batches)
    assert set(threading.enumerate()) - before
    batches.close()
    assert set(threading.enumerate()) == before
