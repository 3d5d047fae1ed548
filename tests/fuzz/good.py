"""Small good data sets of every format, as files in memory, with the words that mine them."""

from __future__ import annotations

import functools
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.cases import Case, play

__all__ = [
    "FORMATS",
    "MODEL",
    "arrow_bytes",
    "good",
    "good_output",
    "npy_bytes",
    "parquet_bytes",
    "safetensors_bytes",
    "zipped",
]

MODEL = ("--model", "tests.fuzz.letters:letters")
"""What embeds texts here."""
ROWS = 9
_RUN = ("run", "--quiet", "--out", "out")
Files = dict[str, bytes]


def _vectors() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((ROWS, 4)).astype(np.float32)


def _table(**more: Any) -> pa.Table:
    rows = range(ROWS)
    columns = {
        "id": [f"i{n}" for n in rows],
        "embedding": pa.array(list(_vectors()), pa.list_(pa.float32())),
        "label": [f"c{n % 3}" for n in rows],
        "group": [n // 2 for n in rows],
    }
    return pa.table({**columns, **more})


def parquet_bytes(table: pa.Table) -> bytes:
    """Write a table as Parquet."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow_bytes(table: pa.Table, *, stream: bool = False) -> bytes:
    """Write a table as Arrow IPC."""
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zipped(members: Files, *, packed: bool = False) -> bytes:
    """Write an archive such as `numpy.savez` does."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as zip_:
        for name, content in members.items():
            zip_.writestr(name, content)
    return sink.getvalue()


def npy_bytes(array: Any) -> bytes:
    """Write an array as `numpy.save` does."""
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def _delimited(mark: str = ",") -> bytes:
    rows = [["id", "text", "label"]]
    rows += [[f"i{n}", f'"some, ""words"" {n}"', f"c{n % 3}"] for n in range(ROWS)]
    return "".join(mark.join(row) + "\n" for row in rows).encode()


def _lines(**extra: Callable[[int], Any]) -> bytes:
    rows = [{"id": n, "label": n % 3, **{k: f(n) for k, f in extra.items()}} for n in range(ROWS)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _json_vectors() -> bytes:
    return _lines(embedding=lambda n: _vectors()[n].tolist())


def _arrays() -> Files:
    labels = np.array([f"c{n % 3}" for n in range(ROWS)])
    return {"embedding.npy": npy_bytes(_vectors()), "label.npy": npy_bytes(labels)}


@functools.cache
def image_bytes(kind: str, number: int) -> bytes:
    """Write a small image; an empty one where there is no Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return b""
    values = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, kind)
    return sink.getvalue()


_KINDS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tiff": "TIFF"}


def _images() -> Files:
    return {
        f"images/c{n % 2}/{n}.{suffix}": image_bytes(kind, n)
        for n, (suffix, kind) in enumerate([*_KINDS.items(), *_KINDS.items()])
    }


def _image_column() -> Files:
    images = [image_bytes(list(_KINDS.values())[n % 6], n) for n in range(ROWS)]
    structs = [{"bytes": image, "path": f"{n}.png"} for n, image in enumerate(images)]
    table = _table().drop_columns(["embedding"])
    return {"data.parquet": parquet_bytes(table.append_column("image", [structs]))}


def _saved(prefix: str = "saved/") -> Files:
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    return {
        f"{prefix}state.json": json.dumps(state).encode(),
        f"{prefix}data-00000-of-00001.arrow": arrow_bytes(_table(), stream=True),
    }


def _saved_splits() -> Files:
    parts = {**_saved("saved/train/"), **_saved("saved/test/")}
    table = _table().set_column(0, "id", [[f"j{n}" for n in range(ROWS)]])
    parts["saved/test/data-00000-of-00001.arrow"] = arrow_bytes(table, stream=True)
    return {"saved/dataset_dict.json": b'{"splits": ["train", "test"]}', **parts}


def _beir() -> Files:
    text = [{"_id": f"d{n}", "title": f"t{n}", "text": f"some words {n}"} for n in range(ROWS)]
    links = "query-id\tcorpus-id\tscore\n" + "".join(f"d{n}\td{n}\t1\n" for n in range(3))
    return {
        "beir/corpus.jsonl": "".join(json.dumps(row) + "\n" for row in text).encode(),
        "beir/queries.jsonl": "".join(json.dumps(row) + "\n" for row in text[:3]).encode(),
        "beir/qrels/test.tsv": links.encode(),
    }


def _three(links: str, content: bytes) -> tuple[Files, tuple[str, ...]]:
    parts = {"queries": "queries.csv", "corpus": "corpus.csv", "links": links}
    words = [w for key, name in parts.items() for w in ("--set", f"dataset.{key}={name}")]
    files = {"queries.csv": _delimited(), "corpus.csv": _delimited(), links: content}
    return files, (*words, *MODEL)


_LINKS = b"query_id,corpus_id,score\n" + b"".join(b"i%d,i%d,1\n" % (n, n + 1) for n in range(6))
_QRELS = b"".join(b"i%d 0 i%d %d\n" % (n, n + 1, n % 2) for n in range(6))
_PAIRS = b"anchor,positive\n" + b"".join(b"a %d,b %d\n" % (n // 2, n) for n in range(ROWS))


def safetensors_bytes(arrays: dict[str, Any]) -> bytes:
    """Write arrays as safetensors: floats and integers."""
    header, body = {}, b""
    for name, array in arrays.items():
        kind = f"{array.dtype.kind.upper()}{8 * array.itemsize}"
        place = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        body += array.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _laion() -> Files:
    parts: Files = {}
    for number in range(3):
        part = slice(3 * number, 3 * number + 3)
        table = _table().drop_columns(["embedding"]).slice(3 * number, 3)
        parts[f"laion/img_emb_{number}.npy"] = npy_bytes(_vectors()[part])
        parts[f"laion/metadata_{number}.parquet"] = parquet_bytes(table)
    return parts


def _drifting() -> Files:
    whole = _table()
    wide = whole.set_column(3, "group", whole["group"].cast(pa.float64()))
    return {
        "d/0.parquet": parquet_bytes(whole.slice(0, 5)),
        "d/1.parquet": parquet_bytes(wide.slice(5)),
    }


def _array_lines() -> bytes:
    return b"[" + b",\n".join(_json_vectors().splitlines()) + b"]"


FORMATS: dict[str, Callable[[], tuple[Files, tuple[str, ...]]]] = {
    "parquet": lambda: ({"d.parquet": parquet_bytes(_table())}, ("--data", "d.parquet")),
    "hive": lambda: (
        {
            f"d/split={n}/p.parquet": parquet_bytes(_table(id=[n * 100 + i for i in range(ROWS)]))
            for n in range(2)
        },
        ("--data", "d"),
    ),
    "csv": lambda: ({"d.csv": _delimited()}, ("--data", "d.csv", *MODEL)),
    "tsv": lambda: ({"d.tsv": _delimited("\t")}, ("--data", "d.tsv", *MODEL)),
    "csv.gz": lambda: ({"d.csv.gz": gzip.compress(_delimited())}, ("--data", "d.csv.gz", *MODEL)),
    "jsonl": lambda: ({"d.jsonl": _json_vectors()}, ("--data", "d.jsonl")),
    "texts": lambda: (
        {"d.jsonl": _lines(text=lambda n: f"some words {n}")},
        ("--data", "d.jsonl", *MODEL),
    ),
    "jsonl.gz": lambda: ({"d.jsonl.gz": gzip.compress(_json_vectors())}, ("--data", "d.jsonl.gz")),
    "json": lambda: ({"d.json": _array_lines()}, ("--data", "d.json")),
    "json.zst": lambda: (
        {"d.json.zst": pa.compress(_array_lines(), "zstd", asbytes=True)},
        ("--data", "d.json.zst"),
    ),
    "utf-16": lambda: (
        {"d.csv": _delimited(";").decode().encode("utf-16")},
        ("--data", "d.csv", "--set", "dataset.encoding=utf-16", *MODEL),
    ),
    "safetensors": lambda: (
        {
            "d.safetensors": safetensors_bytes(
                {"embeddings": _vectors(), "labels": np.arange(ROWS) % 3}
            )
        },
        ("--data", "d.safetensors"),
    ),
    "laion": lambda: (_laion(), ("--data", "laion")),
    "drifting": lambda: (_drifting(), ("--data", "d", "--set", "dataset.group=group")),
    "arrow": lambda: ({"d.arrow": arrow_bytes(_table())}, ("--data", "d.arrow")),
    "stream": lambda: ({"d.arrow": arrow_bytes(_table(), stream=True)}, ("--data", "d.arrow")),
    "npy": lambda: (
        {"d.npy": _arrays()["embedding.npy"], "d.label.npy": _arrays()["label.npy"]},
        ("--data", "d.npy"),
    ),
    "npz": lambda: ({"d.npz": zipped(_arrays())}, ("--data", "d.npz")),
    "packed": lambda: ({"d.npz": zipped(_arrays(), packed=True)}, ("--data", "d.npz")),
    "images": lambda: (_images(), ("--data", "images")),
    "column": lambda: (_image_column(), ("--data", "data.parquet")),
    "saved": lambda: (_saved(), ("--data", "saved")),
    "splits": lambda: (_saved_splits(), ("--data", "saved")),
    "beir": lambda: (_beir(), ("--data", "beir", *MODEL)),
    "links": lambda: _three("links.csv", _LINKS),
    "qrels": lambda: _three("links.qrels", _QRELS),
    "pairs": lambda: ({"d.csv": _PAIRS}, ("--data", "d.csv", *MODEL)),
}
"""What a data set of each format is made of."""


@functools.cache
def good(name: str) -> Case:
    """Return a data set that is mined as it is."""
    files, words = FORMATS[name]()
    return Case(files, (*_RUN, *words))


@functools.cache
def good_output(name: str) -> Case:
    """Return the same when it has been mined at two margins: the output folder is there too."""
    case = good(name)
    words = tuple(word for word in case.words if word != "--quiet")
    files, links = dict(case.files), {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "case"
        for more in (("--margin", "0.3"), ("--set", "index.save=true")):
            outcome = play(Case(files, (*words, *more), links=links), folder)
            assert outcome.code == 0, outcome
            files, links = _left(folder)
    return Case(files, words, published=True, links=links)


def _left(folder: Path) -> tuple[Files, dict[str, str]]:
    """Read what lies in a case's folder: files, and where `latest` leads."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if "latest" not in path.relative_to(folder).parts
    }
    return files, {"out/latest": str((folder / "out" / "latest").readlink())}
