"""Files of TREC without a header: qrels, and runs; columns are separated by tabs or blanks.

The qrels of TREC have four columns: query, iteration, document and a whole number
(https://trec.nist.gov/data/qrels_eng/). With three columns there is no iteration. The runs of
search engines have six columns: query, Q0, document, rank, score and the name of the run. They are
no judgements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from miner.datasets.base import ROWS, data_errors
from miner.datasets.formats.bounded_lines import bounded_lines
from miner.datasets.formats.files import PLAIN, TextFormat, open_bytes
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError
from miner.formatting import short_message

__all__ = ["is_blank", "is_trec", "is_trec_run", "open_trec", "open_trec_run"]

_SCHEMA = pa.schema(
    [("query_id", pa.string()), ("corpus_id", pa.string()), ("score", pa.float64())]
)
_RUN_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("document_id", pa.string()),
        ("rank", pa.int64()),
        ("score", pa.float64()),
    ]
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_RUN, _LAYOUTS = 6, (3, 4)
"""Columns of a run file, and of qrels."""


def is_trec(file: Path, text: TextFormat = PLAIN) -> bool:
    """Whether the first line of a file has the layout of qrels, or of a run file."""
    words = _first_words(file, text)
    return _is_run(words) or (len(words) in _LAYOUTS and _score(words) is not None)


def is_trec_run(file: Path, text: TextFormat = PLAIN) -> bool:
    """Whether the first line of a file has the layout of a run file."""
    return _is_run(_first_words(file, text))


def is_blank(file: Path, text: TextFormat = PLAIN) -> bool:
    """Whether a file has nothing but blanks and empty lines."""
    with data_errors(str(file)), open_bytes(file, text.encoding) as opened:
        return not any(line.strip() for line in opened)


def _first_words(file: Path, text: TextFormat) -> list[str]:
    with data_errors(str(file)), open_bytes(file, text.encoding) as opened:
        return _words(opened.readline(4096).decode("utf-8-sig"))


def open_trec(path: str, files: Sequence[Path], text: TextFormat = PLAIN) -> StreamedTable:
    """Open qrels files as one table of links: `query_id`, `corpus_id`, `score`."""
    return _open(path, files, text, _SCHEMA, _link)


def open_trec_run(path: str, files: Sequence[Path], text: TextFormat = PLAIN) -> StreamedTable:
    """Open run files as one table: `query_id`, `document_id`, `rank`, `score`."""
    return _open(path, files, text, _RUN_SCHEMA, _ranked)


_Row = tuple[Any, ...]
_Parse = Callable[[Sequence[str], int, str], _Row]
"""Returns the values of a line; the width of the file and the place of the line are for errors."""


def _open(
    path: str, files: Sequence[Path], text: TextFormat, schema: Any, parse: _Parse
) -> StreamedTable:
    check_filled(files)
    stream = partial(_stream, text.encoding, schema, parse)
    return StreamedTable(path, tuple(files), schema, stream, {})


def _link(words: Sequence[str], width: int, where: str) -> _Row:
    score = _score(words)
    if score is None or len(words) != width:
        raise DataError(f"{where}: {_fault(words, width)}")
    return words[0], words[-2], score


def _ranked(words: Sequence[str], _: int, where: str) -> _Row:
    if not _is_run(words):
        raise DataError(
            f"{where}: found {len(words)} columns ({short_message(' '.join(words))[:60]}), not a "
            "query, Q0, a document, a rank, a score and the name of the run, with tabs or blanks "
            "between; correct it"
        )
    return words[0], words[2], int(words[3]), float(words[4])


def _stream(
    encoding: str | None, schema: Any, parse: _Parse, file: Path, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    rows: list[_Row] = []
    width = 0
    with open_bytes(file, encoding) as opened:
        for number, line in enumerate(bounded_lines(opened, str(file)), start=1):
            words = _words(line.decode("utf-8-sig"))
            if not words:
                continue
            width = width or len(words)
            rows.append(parse(words, width, f"{file}, line {number}"))
            if len(rows) == ROWS:
                yield _batch(rows, schema, columns)
                rows = []
    if rows:
        yield _batch(rows, schema, columns)


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


def _batch(rows: list[_Row], schema: Any, columns: Sequence[str]) -> pa.RecordBatch:
    whole = dict(zip(schema.names, zip(*rows, strict=True), strict=True))
    arrays = [pa.array(whole[name], schema.field(name).type) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
