"""Qrels without a header: lines of a query, a document and a number, separated by tabs or blanks.

The layout of TREC has four columns: query, iteration, document and a whole number
(https://trec.nist.gov/data/qrels_eng/). With three columns there is no iteration. The runs of
search engines have six columns; they are no judgements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from miner.datasets.base import ROWS, data_errors
from miner.datasets.formats.bounded_lines import bounded_lines
from miner.datasets.formats.files import PLAIN, TextFormat, open_bytes
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError
from miner.formatting import short_message

__all__ = ["is_trec", "open_trec"]

_SCHEMA = pa.schema(
    [("query_id", pa.string()), ("corpus_id", pa.string()), ("score", pa.float64())]
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_RUN, _LAYOUTS = 6, (3, 4)
"""Columns of a run file, and of qrels."""


def is_trec(file: Path, text: TextFormat = PLAIN) -> bool:
    """Whether the first line of a file has the layout of qrels, or of a run file."""
    with data_errors(str(file)), open_bytes(file, text.encoding) as opened:
        words = _words(opened.readline(4096).decode("utf-8-sig"))
    return _is_run(words) or (len(words) in _LAYOUTS and _score(words) is not None)


def open_trec(path: str, files: Sequence[Path], text: TextFormat = PLAIN) -> StreamedTable:
    """Open qrels files as one table of links: `query_id`, `corpus_id`, `score`."""
    check_filled(files)
    return StreamedTable(path, tuple(files), _SCHEMA, partial(_stream, text.encoding), {})


def _stream(encoding: str | None, file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[str, str, float]] = []
    width = 0
    with open_bytes(file, encoding) as opened:
        for number, line in enumerate(bounded_lines(opened, str(file)), start=1):
            words = _words(line.decode("utf-8-sig"))
            if not words:
                continue
            width = width or len(words)
            score = _score(words)
            if score is None or len(words) != width:
                raise DataError(f"{file}, line {number}: {_fault(words, width)}")
            rows.append((words[0], words[-2], score))
            if len(rows) == ROWS:
                yield _batch(rows, columns)
                rows = []
    if rows:
        yield _batch(rows, columns)


def _words(line: str) -> list[str]:
    """Return the columns of a line: between tabs, if these give a known number, else words."""
    parts = [part.strip() for part in line.split("\t")]
    known = len(parts) in (*_LAYOUTS, _RUN) and all(parts)
    return parts if known else line.split()


def _score(words: Sequence[str]) -> float | None:
    """Return the score of a line of qrels; None if it has not their layout."""
    if len(words) not in _LAYOUTS:
        return None
    pattern = _NUMBER if len(words) == min(_LAYOUTS) else _WHOLE
    return float(words[-1]) if pattern.fullmatch(words[-1]) else None


def _is_run(words: Sequence[str]) -> bool:
    """Whether a line is one of a run file: query, Q0, document, rank, score, name of the run."""
    return (
        len(words) == _RUN
        and _WHOLE.fullmatch(words[3]) is not None
        and _NUMBER.fullmatch(words[4]) is not None
    )


def _fault(words: Sequence[str], width: int) -> str:
    if _is_run(words):
        return (
            "a run file of 6 columns: query, Q0, document, rank, score and run; qrels have 4: "
            "query, iteration, document and relevance; name the qrels"
        )
    wanted = {
        3: "a query, a document and a number",
        4: "a query, an iteration, a document and a whole number",
    }
    expected = wanted.get(width) or " or ".join(wanted[count] for count in _LAYOUTS)
    return (
        f"found {len(words)} columns ({short_message(' '.join(words))[:60]}), not {expected}, with "
        "tabs or blanks between; correct it"
    )


def _batch(rows: list[tuple[str, str, float]], columns: Sequence[str]) -> pa.RecordBatch:
    whole = dict(zip(_SCHEMA.names, zip(*rows, strict=True), strict=True))
    arrays = [pa.array(whole[name], _SCHEMA.field(name).type) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
