"""The same rows in every format: they must end alike, and give the same census and triplets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.fuzz.cases import Case, play
from tests.fuzz.good import (
    MODEL,
    arrow_bytes,
    npy_bytes,
    parquet_bytes,
    safetensors_bytes,
    zipped,
)

__all__ = ["differences", "tables"]

Columns = dict[str, list[Any]]

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
_awkward = st.sampled_from(["", " ", "NA", "null", "é\u2028", '"', "a,b;c|d", "a\nb", "\t", "[1]"])


@st.composite
def tables(draw: Any) -> Columns:
    """Columns `id`, `label` and `text` or `embedding`, of values that every format can hold."""
    rows = draw(st.integers(4, 12))
    letters, numbers = draw(st.booleans()), draw(st.booleans())
    ids: list[Any] = [f"i{n}" if letters else 3 * n for n in range(rows)]
    some: list[Any] = [0, 1, 7] if numbers else ["a", "b", "é ", draw(_awkward), draw(_text)]
    labels = [draw(st.sampled_from(some)) for _ in range(rows)]
    columns: Columns = {"id": ids, "label": labels}
    if draw(st.booleans()):
        values = st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3)
        return {**columns, "embedding": [draw(values) for _ in range(rows)]}
    return {**columns, "text": [f"{draw(_text)}{draw(_awkward)}x" for _ in range(rows)]}


def _table(columns: Columns) -> pa.Table:
    kinds = {"embedding": pa.list_(pa.float32())}
    return pa.table({name: pa.array(one, kinds.get(name)) for name, one in columns.items()})


def _objects(columns: Columns) -> list[dict[str, Any]]:
    return _table(columns).to_pylist()


def _delimited(columns: Columns, mark: str) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=mark, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for row in _objects(columns):
        writer.writerow(json.dumps(v) if isinstance(v, list) else v for v in row.values())
    return sink.getvalue().encode()


def _lines(columns: Columns) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in _objects(columns)).encode()


def _arrays(columns: Columns) -> dict[str, Any]:
    kinds = {"embedding": np.float32}
    return {name: np.array(one, kinds.get(name)) for name, one in columns.items()}


def _saved(columns: Columns) -> dict[str, bytes]:
    state = b'{"_data_files": [{"filename": "d.arrow"}]}'
    data = arrow_bytes(_table(columns), stream=True)
    return {"saved/state.json": state, "saved/d.arrow": data}


def _parts(columns: Columns) -> dict[str, bytes]:
    """Two files whose types differ as they may."""
    table, wide = _table(columns), {pa.int64(): pa.float64(), pa.string(): pa.large_string()}
    schema = pa.schema([(one.name, wide.get(one.type, one.type)) for one in table.schema])
    second = table.slice(3).cast(schema)
    return {"d/0.parquet": parquet_bytes(table.slice(0, 3)), "d/1.parquet": parquet_bytes(second)}


_WRITTEN: dict[str, Callable[[Columns], dict[str, bytes]]] = {
    "d.csv": lambda one: {"d.csv": _delimited(one, ",")},
    "s.csv": lambda one: {"s.csv": _delimited(one, ";")},
    "d.tsv": lambda one: {"d.tsv": _delimited(one, "\t")},
    "d.jsonl": lambda one: {"d.jsonl": _lines(one)},
    "d.json": lambda one: {"d.json": json.dumps(_objects(one), indent=1).encode()},
    "z.jsonl.zst": lambda one: {"z.jsonl.zst": pa.compress(_lines(one), "zstd", asbytes=True)},
    "d.arrow": lambda one: {"d.arrow": arrow_bytes(_table(one))},
    "saved": _saved,
    "d": _parts,
    "d.npz": lambda one: {
        "d.npz": zipped({f"{name}.npy": npy_bytes(array) for name, array in _arrays(one).items()})
    },
    "d.safetensors": lambda one: {"d.safetensors": safetensors_bytes(_arrays(one))},
}


def differences(columns: Columns, folder: Path) -> list[str]:
    """Mine the same rows in each format; say which end in another way than Parquet."""
    texts = "text" in columns
    wanted = _outcome("d.parquet", {"d.parquet": parquet_bytes(_table(columns))}, folder, texts)
    numbers = all(array.dtype.kind in "if" for array in _arrays(columns).values())
    found = []
    for name, write in _WRITTEN.items():
        if name == "d.safetensors" and not numbers:
            continue
        outcome = _outcome(name, write(columns), folder, texts)
        if outcome != wanted:
            found.append(f"{name}: {outcome}, in Parquet {wanted}")
    return found


def _outcome(name: str, files: dict[str, bytes], folder: Path, texts: bool) -> Any:
    """Return the exit code, and the census and triplets of a run."""
    words = ("run", "--quiet", "--out", "out", "--data", name, "--set", "output.report=false")
    case = Case(files, (*words, *(MODEL if texts else ())))
    outcome = play(case, folder)
    if outcome.code:
        assert outcome.code != 1, outcome.err
        return outcome.code
    run = folder / "out" / "latest"
    parts = [run / "census.parquet", *sorted(run.glob("*hard/*.parquet"))]
    return [pq.read_table(part).replace_schema_metadata(None).to_pylist() for part in parts]
