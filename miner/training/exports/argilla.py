"""Write the rows of a review as folders that Argilla reads (``rg.Dataset.from_disk``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from miner.datasets.relevance.cells import DROP, bare
from miner.storage.files import atomic_open

__all__ = ["write_labels", "write_pairs"]

_MOST_OPTIONS, _LONGEST_OPTION = 500, 200
"""Limits of Argilla's server on the options of a question."""
_MEANINGS = {
    "positive": "positive: yes.",
    "negative": "negative: no, it is a right negative.",
    "ignore": "ignore: it should be neither a positive nor a negative.",
}

Row = dict[str, Any]


def write_labels(folder: Path, run_id: str, rows: list[Row], names: list[str]) -> list[Path]:
    """Write the rows on labels with the question which label is right; return the files.

    Parameters
    ----------
    folder : Path
    run_id : str
    rows : list of dict
        Rows of the table of a review.
    names : list of str
        The labels of the data as cells of the table.
    """
    options = [*dict.fromkeys(names), DROP]
    few = len(options) <= _MOST_OPTIONS and max(map(len, options)) <= _LONGEST_OPTION
    guidelines = (
        f"Which label is right? {DROP} leaves the row out of the data. Skip what you cannot decide."
    )
    records = (
        _record(row, {"text": row["text"] or row["id"]})
        | {"suggestions": {"decision": _suggestion(row)}}
        for row in rows
    )
    question = _options(options) if few else {"type": "text", "use_markdown": False}
    evidence = {"label": "terms", "share": "float"}
    return _write(folder, f"labels-{run_id}", guidelines, ["text"], question, evidence, records)


def write_pairs(folder: Path, run_id: str, rows: list[Row], words: Sequence[str]) -> list[Path]:
    """Write the rows on pairs with the question what they are; return the files."""
    meanings = (_MEANINGS[word] for word in words)
    guidelines = f"Is the other text relevant to the first? {' '.join(meanings)}"
    records = (
        _record(
            row,
            {"text": row["text"] or row["id"], "other_text": row["other_text"] or row["other_id"]},
        )
        for row in rows
    )
    fields = ["text", "other_text"]
    evidence = {"distance": "float", "positive_distance": "float", "triplets": "integer"}
    evidence |= {"teacher": "float"} if rows[0]["teacher"] != "" else {}
    question = _options(words)
    return _write(folder, f"pairs-{run_id}", guidelines, fields, question, evidence, records)


def _record(row: Row, fields: dict[str, str]) -> Row:
    """Return a record; its metadata are the cells of the row that are not texts."""
    kept = {name: value for name, value in row.items() if value != "" and "text" not in name}
    return {
        "id": "/".join(filter(None, (row["kind"], row["id"], row["other_id"]))),
        "fields": fields,
        "metadata": {"other_id": "", **kept},
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def _suggestion(row: Row) -> Row:
    return {"value": row["suggested"], "score": row["share"], "agent": "mine"}


def _options(values: Iterable[str]) -> Row:
    """Return the settings of a question; cells are shown without the mark of spreadsheets."""
    options = [{"value": v, "text": v if bare(v) == DROP else bare(v)} for v in values]
    return {"type": "label_selection", "options": options}


def _write(
    folder: Path,
    name: str,
    guidelines: str,
    fields: list[str],
    question: Row,
    evidence: dict[str, str],
    records: Iterator[Row],
) -> list[Path]:
    """Write a folder with the layout of ``rg.Dataset.to_disk``; return its files."""
    settings = {
        "guidelines": guidelines,
        "fields": [{"name": one, "settings": {"type": "text"}} for one in fields],
        "questions": [{"name": "decision", "settings": question, "required": True}],
        "metadata": [{"name": one, "settings": {"type": t}} for one, t in evidence.items()],
        "vectors": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }
    described = folder / ".argilla"
    described.mkdir(parents=True)
    files = {
        described / "dataset.json": {"name": name, "guidelines": guidelines},
        described / "settings.json": settings,
        folder / "records.json": list(records),
    }
    for path, value in files.items():
        with atomic_open(path) as file:  # in ASCII, because Argilla reads in the system's encoding
            file.write(json.dumps(value).encode())
    return list(files)
