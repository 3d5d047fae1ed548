"""TREC qrels: lines of query, iteration, document and relevance, separated by blanks.

The layout is defined by trec_eval: https://trec.nist.gov/data/qrels_eng/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from miner.datasets.base import ROWS, data_errors
from miner.datasets.formats.bounded_lines import bounded_lines
from miner.datasets.formats.files import open_bytes
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError

__all__ = ["is_trec", "open_trec"]

_SCHEMA = pa.schema([("query_id", pa.string()), ("corpus_id", pa.string()), ("score", pa.int64())])


def is_trec(file: Path) -> bool:
    """Whether the first line of a file has the TREC layout: four words, the last an integer."""
    with data_errors(str(file)), open_bytes(file) as opened:
        words = opened.readline(4096).decode("utf-8-sig").split()
    return len(words) == 4 and words[3].removeprefix("-").isdigit()


def open_trec(path: str, files: Sequence[Path]) -> StreamedTable:
    """Open qrels files as one table of links: `query_id`, `corpus_id`, `score`."""
    check_filled(files)
    return StreamedTable(path, tuple(files), _SCHEMA, _stream, {})


def _stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[str, str, int]] = []
    with open_bytes(file) as opened:
        for number, line in enumerate(bounded_lines(opened, str(file)), start=1):
            words = line.decode("utf-8-sig").split()
            if not words:
                continue
            if len(words) != 4 or not words[3].removeprefix("-").isdigit():
                raise DataError(
                    f"{file}, line {number}: not a query, an iteration, a document and a whole "
                    "number, with blanks between; correct it"
                )
            rows.append((words[0], words[2], int(words[3])))
            if len(rows) == ROWS:
                yield _batch(rows, columns)
                rows = []
    if rows:
        yield _batch(rows, columns)


def _batch(rows: list[tuple[str, str, int]], columns: Sequence[str]) -> pa.RecordBatch:
    whole = dict(zip(_SCHEMA.names, zip(*rows, strict=True), strict=True))
    arrays = [pa.array(whole[name], _SCHEMA.field(name).type) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
