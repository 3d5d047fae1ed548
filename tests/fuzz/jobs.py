"""Job files, conditions and options: of their grammar with odd values, and good ones made bad."""

from __future__ import annotations

import functools
import json
import re
import typing
from typing import Any

from hypothesis import strategies as st

from miner.job import SECTIONS
from tests.conftest import ROOT
from tests.fuzz.cases import Case
from tests.fuzz.good import good
from tests.fuzz.mutations import mutated

__all__ = ["broken_jobs", "conditions", "job_files", "options"]

_OUT = ("--out", "out", "--quiet")
_NUMBERS = ["0", "1", "-1", "2", "0.2", "-0.0", "nan", "inf", "-inf", "1e308", "1e-320", "1e999"]
_NUMBERS += [str(2**31), str(2**63 - 1), str(2**63), "9" * 400, "0x10", "1_000", "+5", "0.1e-5"]
_WORDS = [
    "",
    "a",
    " ",
    "x.y",
    "all",
    "Flat",
    "euclidean",
    "cosine",
    "dot",
    "label",
    "id",
    "None",
    "true",
]
_WORDS += [
    "9" * 300,
    "\u202e",
    "\x1b[2J",
    "ü😀",
    "a\nb",
    "-",
    "--help",
    "%s%n",
    "{0}",
    "512MiB",
    "0B",
]
_WORDS += [
    "1e9GiB",
    "-1MiB",
    "threads",
    "package:attr",
    ":",
    "a:",
    ":b",
    "json:loads",
    "*",
    "[",
    "?",
]
_TEXTS = st.one_of(st.sampled_from(_WORDS), st.text(max_size=5))
_FACTORIES = [
    "Flat",
    "auto",
    "IVF2,Flat",
    "IVF4,PQ2x4",
    "HNSW4",
    "PQ2",
    "PQ4x30",
    "SQ8",
    "LSH",
    "x",
    ",",
]
_FACTORIES += [
    "IVF0,Flat",
    "IVF-1,Flat",
    "HNSW0",
    "PCA2,Flat",
    "IDMap,Flat",
    "OPQ2,PQ2",
    "IVF999999999,Flat",
]
_FACTORIES += [
    "IVF99999999999999999999,Flat",
    "HNSW999999999",
    "PCA9999,Flat",
    "NSG8",
    "ITQ,LSH",
    "RQ2x8",
]
_FACTORIES += [
    "(((",
    "Flat,Flat",
    "IVF2_HNSW,Flat",
    "IVF2(IVF2,Flat),Flat",
    "Refine(Flat)",
    "PQ4x4fs",
]
_FACTORIES += [
    "LSQ2x4",
    "IMI2x2,Flat",
    "ZnLattice3x10_6",
    "HNSW4,SQ8",
    "IVF2,RaBitQ",
    "L2norm,Flat",
    "RR2,Flat",
]
_MODELS = ["precomputed", "pixels", "", "x", "nope:", ":nope", "json:loads", "miner:nope", "a b:c"]
_MODELS += [
    "1:2",
    "http:",
    "http:x",
    "onnx:",
    "onnx:d.parquet",
    "torch:json:loads",
    "math:pi.x",
    "~x:y",
]
_MODELS += [
    "sentence-transformers:d.parquet",
    ".x:y",
    "json:loads.x",
    "json:",
    "http:http://127.0.0.1:1",
]
_SAFE: dict[str, list[str]] = {
    # what names places or programs: nothing here may lead out of the case's folder
    "dataset.path": [
        "d.parquet",
        "nowhere.csv",
        "",
        ".",
        "a\0b",
        "x" * 300,
        "d.*",
        "[",
        "d.parquet/x",
        "**",
    ],
    "dataset.queries": ["d.parquet", "", "nowhere"],
    "dataset.corpus": ["d.parquet", "", "nowhere"],
    "dataset.links": ["d.parquet", "", "nowhere"],
    "output.path": [
        "out",
        "",
        ".",
        "d.parquet",
        "d.parquet/x",
        "a\0b",
        "x" * 300,
        "ü/\u202e",
        "s3://",
    ],
    "cache.path": ["cache", "", "d.parquet", "a\0b", "x" * 300],
    "engine.name": ["threads", "threads:2", "joblib:", "joblib:loky", "Threads", "", "x"],
    "engine.address": ["", "x", "tcp://127.0.0.1:1"],
    "model.name": _MODELS,
    "teacher.model": ["", "x", "nope:x", "json:loads", "cross-encoder:", "http:x/rerank"],
    "index.factory": _FACTORIES,
}


def _toml(text: str) -> str:
    """Write a text as TOML does: as JSON, but for what TOML has no escape for."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


_scalars = st.one_of(
    st.sampled_from(_NUMBERS), _TEXTS.map(_toml), st.sampled_from(["true", "false"])
)
_values = st.one_of(
    _scalars,
    st.lists(_scalars, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
    st.sampled_from(
        ["{}", "{a = 1}", "1979-05-27", "07:32:00", "[[]]", "{a.b = {c = [1]}}", "''", '"""x"""']
    ),
)
_KEYS = [
    (section, key) for section, kind in SECTIONS.items() for key in typing.get_type_hints(kind)
]
_SENSIBLE = {
    "int": ["0", "1", "2", "100"],
    "float": ["0.2", "1", "0.5"],
    "bool": ["true", "false"],
    "text": [
        '"label"',
        '"a"',
        '"euclidean"',
        '"512MiB"',
        '"all"',
        '"hardest"',
        '"uniform"',
        '"skip"',
    ],
}
_ALL_SENSIBLE = [value for values in _SENSIBLE.values() for value in values]


@st.composite
def _key_value(draw: Any) -> tuple[str, str, str]:
    """A section, a key and a value as TOML: seldom all of them odd."""
    section, key = draw(st.sampled_from(_KEYS))
    name = f"{section}.{key}"
    if name in _SAFE:
        return section, key, _toml(draw(st.sampled_from(_SAFE[name])))
    if draw(st.integers(0, 15)) == 0:
        key = draw(st.sampled_from(["margn", "", "a.b", "ü", '"', key.upper()]))
    if key == "options":
        inner = draw(
            st.sampled_from(["x", "size", "mode", "lam", "alpha", "top", "temperature", "a-b"])
        )
        return section, key, f"{{{inner} = {draw(_values)}}}"
    return section, key, draw(st.one_of(_values, st.sampled_from(_ALL_SENSIBLE)))


def _files() -> dict[str, bytes]:
    return dict(good("parquet").files)


@st.composite
def job_files(draw: Any) -> Case:
    """A job file of known keys with odd values."""
    sections: dict[str, list[str]] = {"dataset": ['path = "d.parquet"']}
    for section, key, value in draw(st.lists(_key_value(), min_size=1, max_size=4)):
        plain = re.fullmatch(r"[A-Za-z_]+", key)
        line = f"{key if plain else _toml(key)} = {value}"
        lines = sections.setdefault(section, [])
        if (section, key) == ("dataset", "path") and draw(st.booleans()):
            lines.clear()
        lines.append(line)
    text = "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())
    words = ("--quiet",) if "[output]" in text else _OUT
    more = draw(st.sampled_from([(), (), ("--dry-run",)]))
    return Case(
        {**_files(), "job.toml": text.encode("utf-8", "surrogatepass")},
        ("run", "job.toml", *words, *more),
    )


@functools.cache
def _jobs() -> list[bytes]:
    """The project's own jobs, over small data."""
    found = []
    for path in sorted((ROOT / "jobs").glob("*.toml")):
        text = re.sub(r'"[^"\n]*(sample_data|mined)[^"\n]*"', '"d.parquet"', path.read_text())
        text = re.sub(r'content = "\w+"', 'content = "embedding"', text)
        text = re.sub(r"(?m)^(name|queries|corpus|links) = .*$", "", text)
        found.append(text.encode())
    return found


@st.composite
def broken_jobs(draw: Any) -> Case:
    """One of the project's job files, damaged."""
    text = draw(mutated(draw(st.sampled_from(_jobs())), _jobs()))
    words = (
        "--out",
        "out",
        "--data",
        "d.parquet",
        "--quiet",
        "--engine",
        "threads",
        "--model",
        "precomputed",
    )
    return Case({**_files(), "job.toml": text}, ("run", "job.toml", *words))


_COLUMNS = ["id", "label", "embedding", '"group"', '"label"', "nope", "Label", '""', "group"]
_LITERALS = [
    "1",
    "0",
    "-1",
    "1.5",
    "'c1'",
    "''",
    "'1'",
    "null",
    "true",
    "1e999",
    "9" * 400,
    "'2024-01-01'",
]
_LITERALS += [
    "'\u202e'",
    "interval 1 day",
    "date '2024-01-01'",
    "[1]",
    "(1, 2)",
    "x'00'",
    "$1",
    "?",
    ":a",
    "*",
]
_CALLS = ["length", "lower", "upper", "list_contains", "count", "sleep", "read_csv", "cast", "any"]


def _joined(parts: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[str]:
    return parts.map(" ".join)


_operands = st.one_of(
    st.sampled_from(_COLUMNS),
    st.sampled_from(_LITERALS),
    st.tuples(st.sampled_from(_CALLS), st.sampled_from([*_COLUMNS, *_LITERALS])).map(
        lambda pair: f"{pair[0]}({pair[1]})"
    ),
    st.text(max_size=4),
)
_signs = st.sampled_from(
    ["=", "<>", "<", ">=", "like", "ilike", "==", "~", "in", "is", "is not", "+", "||"]
)
_simple = st.one_of(
    _joined(st.tuples(_operands, _signs, _operands)),
    _joined(st.tuples(_operands, st.just("between"), _operands, st.just("and"), _operands)),
    st.tuples(_operands, _operands, _operands).map(lambda p: f"{p[0]} in ({p[1]}, {p[2]})"),
    st.tuples(_operands).map(lambda p: f"{p[0]} is null"),
    st.sampled_from(
        ["label", "", ";", "1; drop table x", "select 1", "label = (select 1)", "--", "/*", "("]
    ),
    st.sampled_from(
        ["(" * 400 + "label = 'c1'" + ")" * 400, "not " * 900 + "true", "1" + "+1" * 2000]
    ),
    st.sampled_from(
        [
            "label like '" + "%a" * 200 + "'",
            "label in (" + "1," * 3000 + "1)",
            "case when 1 then 2 end",
        ]
    ),
)
_conditions = st.recursive(
    _simple,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or", "xor"]), inner).map(" ".join),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=4,
)


@st.composite
def conditions(draw: Any) -> Case:
    """A condition on rows, as `where` or `anchors`."""
    name = draw(st.sampled_from(["parquet", "jsonl", "csv", "pairs"]))
    case = good(name)
    text = draw(_conditions)
    if draw(st.integers(0, 3)) == 0:
        text = draw(mutated(text.encode("utf-8", "replace"))).decode("utf-8", "replace")
    key = draw(st.sampled_from(["where", "where", "anchors"]))
    return Case(
        case.files, (*case.words, "--max-triplets", "0", "--set", f"dataset.{key}={_toml(text)}")
    )


_FLAGS = [
    "--margin",
    "--metric",
    "--index",
    "--select",
    "--per-pair",
    "--per-anchor",
    "--max-triplets",
]
_FLAGS += ["--seed", "--workers", "--log-format"]
_BARE = [
    "--normalize",
    "--no-normalize",
    "--force",
    "--dry-run",
    "--json",
    "--quiet",
    "--nope",
    "-h",
    "--",
]


@st.composite
def options(draw: Any) -> Case:
    """Options of the command line with odd values."""
    words: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            words.append(draw(st.sampled_from(_BARE)))
        elif kind < 3:
            flag = draw(st.sampled_from(_FLAGS))
            odd = (
                st.sampled_from(_FACTORIES)
                if flag == "--index"
                else st.one_of(st.sampled_from(_NUMBERS), _TEXTS)
            )
            words += [flag, draw(odd)]
        elif kind < 5:
            section, key, value = draw(_key_value())
            words += ["--set", f"{section}.{key}={value}"]
        else:
            words += ["--set", draw(st.one_of(_TEXTS, st.tuples(_TEXTS, _TEXTS).map("=".join)))]
    words = [word.replace("\0", "") for word in words]  # no word of a command line can hold one
    return Case(_files(), ("run", "--data", "d.parquet", "--out", "out", *words))
