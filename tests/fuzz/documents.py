"""Documents of each format's grammar, whose values, types and names are odd."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tests.fuzz.cases import Case
from tests.fuzz.columns import columns
from tests.fuzz.good import MODEL, arrow_bytes, npy_bytes, parquet_bytes, zipped

__all__ = ["NAMES", "documents"]

NAMES = ("id", "text", "label", "embedding", "image", "group", "split", "anchor", "positive")
_ODD_NAMES = (
    "",
    "label ",
    "Label",
    "id",
    "\0",
    "ü",
    "a.b",
    "x" * 300,
    "\x1b[2J",
    "__index_level_0__",
)
_RUN = ("run", "--quiet", "--out", "out")
_TEXTS = ("", " ", "a", "b", "NaN", "nan", "null", "-0", "007", "1e5", "1e400", "9" * 30, "true")
_TEXTS += ("\0", "\ufeff", "\u202e", "\x1b[2J", "\ud800", "é", "e\u0301", "[1, 2]", "[1e999, NaN]")
_TEXTS += ("a,b", 'a"b', "a\nb", "a\tb", "=1+1", "2024-01-01T00:00:00Z", "x" * 3000, "😀", "None")

texts = st.one_of(st.sampled_from(_TEXTS), st.text(max_size=6))
_names = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(_ODD_NAMES))
_numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**40, -1]),
    st.floats(width=32),
    st.sampled_from([1e308, -1e308, 5e-324, 1e39]),
)
_plain = st.one_of(st.none(), st.booleans(), _numbers, texts)
_values = st.recursive(
    _plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3), st.lists(_numbers)
    ),
    max_leaves=6,
)
_vectors = st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3)
_usual = {
    "id": st.integers(0, 2000).map(lambda n: f"i{n}"),
    "text": st.integers(0, 2000).map(lambda n: f"some words {n}"),
    "label": st.integers(0, 2),
    "embedding": _vectors,
    "group": st.integers(0, 3),
}


@st.composite
def _rows(draw: Any, *, odd: Any = _values) -> list[dict[str, Any]]:
    """Objects that mostly have the usual keys and values."""
    keys = draw(st.lists(_names, min_size=1, max_size=5, unique=True))
    count = draw(st.integers(0, 8))
    rows = []
    for _ in range(count):
        row = {
            key: draw(st.one_of(_usual.get(key, odd), _usual.get(key, odd), odd)) for key in keys
        }
        if draw(st.integers(0, 6)) == 0:
            row.pop(draw(st.sampled_from(keys)))
        rows.append(row)
    return rows


@st.composite
def _json_lines(draw: Any) -> bytes:
    ends = draw(st.sampled_from(["\n", "\r\n", "\n\n", " \n", ""]))
    ascii_ = draw(st.booleans())
    lines = [json.dumps(row, ensure_ascii=ascii_) for row in draw(_rows())]
    whole = "".join(line + ends for line in lines)
    more = draw(
        st.sampled_from(["", "", "", "null\n", "7\n", "[]\n", "{}\n", '{"id": 1} {"id"', "\ufeff"])
    )
    return (more + whole if draw(st.booleans()) else whole + more).encode("utf-8", "surrogatepass")


@st.composite
def _delimited(draw: Any, mark: str) -> bytes:
    sink = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(sink, delimiter=mark, quoting=quoting)
    names = draw(st.lists(_names, min_size=1, max_size=5))
    writer.writerow(names)
    for _ in range(draw(st.integers(0, 8))):
        count = draw(st.sampled_from([len(names)] * 8 + [0, 1, len(names) + 1]))
        usual = [_usual.get(name, texts) for name in [*names, "label"][:count]]
        writer.writerow([str(draw(st.one_of(one, one, texts))) for one in usual])
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    errors = "surrogatepass" if encoding.startswith("utf") else "replace"
    return sink.getvalue().replace("\0", "").encode(encoding, errors)


@st.composite
def _table(draw: Any) -> pa.Table:
    rows = draw(st.integers(0, 6))
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=draw(st.booleans())))
    made = [draw(columns(name, rows)) for name in names]
    return pa.Table.from_arrays(made, names=names)


def _ends_arrow(column: Any) -> bool:
    """Whether writing it as Parquet aborts the process: lists of the fixed length 0, of texts."""
    kind = column.type
    none = pa.types.is_fixed_size_list(kind) and kind.list_size == 0
    return bool(none and pa.types.is_string(kind.value_type))


def _written(table: pa.Table, kind: str) -> bytes:
    """Write a table; what the format cannot hold becomes text."""
    write = {
        "parquet": parquet_bytes,
        "arrow": arrow_bytes,
        "stream": functools.partial(arrow_bytes, stream=True),
    }[kind]
    try:
        if kind == "parquet" and any(_ends_arrow(column) for column in table.columns):
            raise NotImplementedError
        return write(table)
    except (pa.ArrowException, NotImplementedError):
        kept = pa.table({"label": ["a"] * len(table), "text": ["b"] * len(table)})
        return write(kept)


_DTYPES = [
    "f4",
    "<f8",
    ">f4",
    "f2",
    "i1",
    "u8",
    "b1",
    "U3",
    "S3",
    "M8[s]",
    "c8",
    "g",
    "V4",
    "m8[D]",
]


@st.composite
def _array(draw: Any) -> bytes:
    shape = draw(
        st.sampled_from([(), (0,), (6,), (6, 2), (6, 0), (0, 3), (6, 2, 2), (1, 1), (5, 2)])
    )
    kind = np.dtype(draw(st.sampled_from(_DTYPES)))
    seed = draw(st.integers(0, 9))
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * kind.itemsize)
    if kind.kind == "U":
        array = np.full(shape, "ab", kind)
    else:
        array = np.frombuffer(raw, kind).reshape(shape)
    return npy_bytes(np.asfortranarray(array) if draw(st.booleans()) else array)


_HEADERS = ["{'descr': '<f4', 'fortran_order': False, 'shape': (6, 2), }", "{", "", "[]", "(" * 300]
_HEADERS += [
    "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }",
    "__import__('os')",
    "1" * 5000,
]
_HEADERS += ["{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }"]
_HEADERS += ["{'descr': '<f4', 'fortran_order': 7, 'shape': (10**12, 2), }"]
_HEADERS += ["{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }"]
_HEADERS += ["{'descr': [('a', '<f4'), ('b', '<i8')], 'fortran_order': True, 'shape': (2,), }"]
_HEADERS += ["{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 8), }"]
_HEADERS += ["{'descr': '<f4', 'fortran_order': False, 'shape': (6, True), }"]
_header_words = st.sampled_from(_HEADERS)


@st.composite
def _forged_array(draw: Any) -> bytes:
    words = draw(_header_words)
    version = draw(st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\x09\x09"]))
    header = words.encode().ljust(118) + b"\n"
    size = len(header).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + header + bytes(draw(st.sampled_from([0, 4, 48, 300])))


_arrays = st.one_of(_array(), _array(), _forged_array())
_QREL_WORDS = [
    "i1",
    "i2",
    "0",
    "1",
    "-1",
    "--1",
    "²",
    "9" * 30,
    "1.0",
    "Q0",
    "\ufeffi1",
    "\u00a0",
    "x",
]


@st.composite
def _qrels(draw: Any) -> bytes:
    rows = draw(st.lists(st.lists(st.sampled_from(_QREL_WORDS), max_size=5), max_size=6))
    good = ["i1 0 i2 1"] * draw(st.integers(0, 2))
    return "\n".join([*good, *(" ".join(row) for row in rows)]).encode()


def _single(name: str, content: st.SearchStrategy[bytes], *more: str) -> st.SearchStrategy[Case]:
    return content.map(lambda data: Case({name: data}, (*_RUN, "--data", name, *more)))


@st.composite
def _three(draw: Any) -> Case:
    """Queries, corpus and links, each of any format."""
    parts: dict[str, tuple[str, bytes]] = {
        "queries": ("q.jsonl", draw(_json_lines())),
        "corpus": ("c.csv", draw(_delimited(","))),
        "links": ("l.qrels", draw(_qrels())),
    }
    if draw(st.booleans()):
        usual = b"id,text\n" + b"".join(b"i%d,words %d\n" % (n, n) for n in range(4))
        parts |= {"queries": ("q.csv", usual), "corpus": ("c.csv", usual)}
    if draw(st.booleans()):
        parts["links"] = ("l.csv", draw(_delimited(",")))
    words = [w for key, (name, _) in parts.items() for w in ("--set", f"dataset.{key}={name}")]
    return Case(dict(parts.values()), (*_RUN, *words, *MODEL))


@st.composite
def _npy(draw: Any) -> Case:
    files = {"d.npy": draw(_arrays), "d.label.npy": draw(_arrays)}
    if draw(st.booleans()):
        files["d.id.npy"] = draw(_arrays)
    return Case(files, (*_RUN, "--data", "d.npy"))


@st.composite
def _npz(draw: Any) -> Case:
    names = st.sampled_from(
        ["embedding.npy", "label.npy", "id.npy", "../x.npy", "label", "a/b.npy"]
    )
    members = draw(st.dictionaries(names, _arrays, max_size=4))
    return Case({"d.npz": zipped(members, packed=draw(st.booleans()))}, (*_RUN, "--data", "d.npz"))


@st.composite
def _beir(draw: Any) -> Case:
    def renamed(data: bytes) -> bytes:
        return data.replace(b'"id"', b'"_id"').replace(b'"label"', b'"title"')

    files = {f"beir/{name}.jsonl": renamed(draw(_json_lines())) for name in ("corpus", "queries")}
    files["beir/qrels/test.tsv"] = draw(st.one_of(_qrels(), _delimited("\t")))
    return Case(files, (*_RUN, "--data", "beir", *MODEL))


_jsons = st.recursive(_plain, lambda one: st.lists(one, max_size=3), max_leaves=4)


@st.composite
def _saved(draw: Any) -> Case:
    file = draw(
        st.sampled_from(["d.arrow", "./d.arrow", "../d.arrow", "", "x", "\0", "state.json", 7])
    )
    state = {"_data_files": draw(st.one_of(st.just([{"filename": file}]), _jsons))}
    files = {
        "saved/state.json": json.dumps(draw(st.one_of(st.just(state), _jsons))).encode(),
        "saved/d.arrow": _written(draw(_table()), draw(st.sampled_from(["arrow", "stream"]))),
    }
    if draw(st.booleans()):
        files["saved/dataset_dict.json"] = json.dumps({"splits": draw(_jsons)}).encode()
    return Case(files, (*_RUN, "--data", "saved"))


def _gz(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return content.map(lambda data: gzip.compress(data, 1))


def _choices(names: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """Keys of a data set that point elsewhere."""
    keys = ["dataset.id", "dataset.label", "dataset.content", "dataset.group"]
    one = st.tuples(st.sampled_from(keys), st.sampled_from(names)).map("=".join)
    return st.lists(one, max_size=2).map(
        lambda found: tuple(w for k in found for w in ("--set", k))
    )


_MORE = (
    (),
    (),
    ("--set", "dataset.on_error=skip"),
    ("--max-triplets", "0"),
    ("--metric", "dot"),
    ("--metric", "cosine", "--set", "dataset.on_error=skip"),
    ("--model", "precomputed"),
    ("--model", "pixels", "--set", "dataset.on_error=skip"),
    MODEL,
)


@st.composite
def _parts(draw: Any) -> Case:
    """Two files of one table, whose columns have types of their own."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kind = draw(st.sampled_from(["parquet", "arrow"]))
    files = {}
    for number in range(2):
        some = [name for name in names if draw(st.integers(0, 9))] or names
        rows = draw(st.integers(1, 5))
        table = pa.Table.from_arrays([draw(columns(name, rows)) for name in some], names=some)
        files[f"d/{number}.{kind}"] = _written(table, kind)
    return Case(files, (*_RUN, "--data", "d"))


@st.composite
def _json_array(draw: Any) -> bytes:
    rows = draw(_rows())
    text = json.dumps(rows, indent=draw(st.sampled_from([None, 0, 1])))
    more = draw(st.sampled_from(["", "", "", "]", ",", "{", "[]", "\ufeff", '"', "\\"]))
    place = draw(st.integers(0, len(text)))
    return (text[:place] + more + text[place:]).encode("utf-8", "surrogatepass")


_allowed = st.one_of(
    st.just(()),
    st.tuples(
        st.sampled_from(["group", "positives_across", "negatives_within", "before"]),
        st.sampled_from([*NAMES, "['group', 'label']", "['id']"]),
    ),
    st.sampled_from(
        [
            *(("negative_only", "['0', '1']"), ("negative_only", "['1']")),
            *(("same_text", "folded"), ("same_id", "true"), ("on_error", "skip")),
            *(("min_relevance", "1"), ("judged_below", "ignore"), ("judged_below", "prefer")),
        ]
    ),
).map(lambda pair: ("--set", f"dataset.{pair[0]}={pair[1]}") if pair else ())
"""A key on which triplets are allowed."""
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "cp1252", "ascii", "utf-7", "idna", "cp037", "big5")
_ENCODINGS += ("unicode_escape", "raw_unicode_escape", "utf-8-sig", "punycode", "undefined")


@st.composite
def _encoded(draw: Any) -> Case:
    """Text whose separator and encoding the job names, rightly or wrongly."""
    mark = draw(st.sampled_from([",", ";", "|", "\t", "~"]))
    name = draw(st.sampled_from(["d.csv", "d.tsv", "d.jsonl", "d.json"]))
    made = _json_array() if name == "d.json" else _json_lines()
    data = draw(made if "json" in name else _delimited(mark))
    encodings = st.sampled_from(_ENCODINGS)
    keys = {"encoding": draw(encodings), "separator": draw(st.sampled_from([",", ";", "~", " "]))}
    if draw(st.booleans()):
        data = (
            data.decode("utf-8", "replace").encode(
                keys["encoding"] if draw(st.booleans()) else "utf-16", "replace"
            )
            if keys["encoding"] not in ("idna", "undefined")
            else data
        )
    words = [
        w for k, v in keys.items() if draw(st.booleans()) for w in ("--set", f"dataset.{k}={v}")
    ]
    return Case({name: data}, (*_RUN, "--data", name, *words, *MODEL))


_TENSORS = ("F32", "F16", "BF16", "F64", "U8", "I8", "I64", "U64", "BOOL", "F8_E5M2", "X", 7, None)


@st.composite
def _safetensors(draw: Any) -> Case:
    header: dict[str, Any] = {}
    size = draw(st.sampled_from([0, 8, 24, 48, 96, 400]))
    for name in draw(
        st.lists(
            st.sampled_from(["embedding", "X", "label", "y", "id", "__metadata__"]),
            max_size=4,
            unique=True,
        )
    ):
        shape = draw(
            st.sampled_from([[6], [6, 2], [6, 2, 2], [6, 0], [0], [], [2**62, 4], [-1], "x"])
        )
        start = draw(st.sampled_from([0, 0, 8, 3]))
        width = draw(st.sampled_from([6, 12, 24, 48, 96, 192, 0]))
        entry = {
            "dtype": draw(st.sampled_from(_TENSORS)),
            "shape": shape,
            "data_offsets": [start, start + width],
        }
        header[name] = draw(st.one_of(st.just(entry), st.just(entry), st.just(entry), _jsons))
    text = json.dumps(header).encode()
    length = draw(st.sampled_from([len(text)] * 8 + [0, 1, 2**63, len(text) + size]))
    body = np.random.default_rng(draw(st.integers(0, 9))).bytes(size)
    return Case(
        {"d.safetensors": length.to_bytes(8, "little") + text + body},
        (*_RUN, "--data", "d.safetensors"),
    )


@st.composite
def _beside(draw: Any) -> Case:
    """Vectors with tables next to them, numbered or not."""
    files: dict[str, bytes] = {}
    for number in draw(
        st.lists(st.sampled_from(["", "_0", "_1", "_10", "_2"]), min_size=1, max_size=3)
    ):
        files[f"d/{draw(st.sampled_from(['emb', 'emb', 'img_emb']))}{number}.npy"] = draw(_arrays)
        name = draw(st.sampled_from(["labels", "emb", "metadata", f"metadata{number}"]))
        kind = draw(st.sampled_from(["parquet", "csv"]))
        usual = pa.table({"label": [n % 2 for n in range(6)]})
        data = _written(draw(st.one_of(st.just(usual), _table())), "parquet")
        files[f"d/{name}.{kind}"] = data if kind == "parquet" else draw(_delimited(","))
    path = draw(st.sampled_from(["d", "d/*.npy", sorted(files)[0]]))
    return Case(files, (*_RUN, "--data", path))


DOCUMENTS = {
    "parquet": _single("d.parquet", _table().map(lambda table: _written(table, "parquet"))),
    "arrow": _single("d.arrow", _table().map(lambda table: _written(table, "arrow"))),
    "csv": _single("d.csv", _delimited(","), *MODEL),
    "tsv": _single("d.tsv", _delimited("\t"), *MODEL),
    "csv.gz": _single("d.csv.gz", _gz(_delimited(",")), *MODEL),
    "jsonl": _single("d.jsonl", _json_lines()),
    "jsonl.gz": _single("d.jsonl.gz", _gz(_json_lines())),
    "json": _single("d.json", _json_array()),
    "parts": _parts(),
    "encoded": _encoded(),
    "safetensors": _safetensors(),
    "beside": _beside(),
    "npy": _npy(),
    "npz": _npz(),
    "three": _three(),
    "beir": _beir(),
    "saved": _saved(),
}


@st.composite
def documents(draw: Any, kind: str) -> Case:
    """A data set of odd values, mined with or without options that are odd for it."""
    case = draw(DOCUMENTS[kind])
    more = [*draw(st.sampled_from(_MORE)), *draw(_choices(NAMES))]
    if draw(st.integers(0, 5)) == 0:
        return Case(
            case.files,
            ("init", case.words[case.words.index("--data") + 1], "--job", "j.toml")
            if "--data" in case.words
            else (*case.words, "--dry-run"),
        )
    return Case(case.files, (*case.words, *more, *draw(_allowed)))
