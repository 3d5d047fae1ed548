"""The BEIR folder layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv``.

The content of a document is its title, a space and its text, as in BEIR's own retrieval models
(Thakur et al. 2021, https://github.com/beir-cellar/beir).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table, require_column
from miner.datasets.formats.files import PLAIN, TextFormat
from miner.datasets.opening import open_table
from miner.errors import DataError, did_you_mean

_LINKS = tuple(
    f".{kind}{packed}" for kind in ("tsv", "qrels", "trec", "txt") for packed in ("", ".gz", ".zst")
)

__all__ = ["TitledTable", "is_beir", "open_beir", "with_title"]


def is_beir(folder: Path) -> bool:
    """Whether a folder has the BEIR layout."""
    return any((folder / f"corpus.jsonl{packed}").exists() for packed in ("", ".gz", ".zst"))


class TitledTable:
    """A BEIR table with the usual column names: `id`, and `text`, which includes the title."""

    untyped = False

    def __init__(self, inner: Table) -> None:
        self.where, self.files = inner.where, inner.files
        rest = {name: kind for name, kind in inner.types.items() if name != "_id"}
        self.types = {"id": inner.types["_id"], **rest}
        self._inner = inner

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns."""
        titled = "text" in columns and "title" in self.types
        names = ["_id" if name == "id" else name for name in columns]
        for batch in self._inner.batches([*names, "title"] if titled else names):
            arrays = [
                with_title(batch.column("title"), batch.column(name))
                if titled and name == "text"
                else batch.column(name)
                for name in names
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def with_title(titles: Any, texts: Any) -> Any:
    """Return the content of documents: the title, a space and the text."""
    joined = pc.binary_join_element_wise(pc.fill_null(titles, ""), texts, " ")
    return pc.utf8_trim_whitespace(joined)


def open_beir(
    folder: Path, links: str | None, text: TextFormat = PLAIN
) -> tuple[Table, Table, list[Table]]:
    """Open the tables of queries, corpus and links.

    Parameters
    ----------
    folder : Path
    links : str or None
        The qrels file, or a pattern, relative to the folder; default: all files in ``qrels``.
    text : TextFormat
        How the files are written, as the job says.
    """
    tables = []
    for name in ("queries.jsonl", "corpus.jsonl"):
        packed = [folder / f"{name}.gz", folder / f"{name}.zst"]
        file = next((file for file in packed if file.is_file()), folder / name)
        table = open_table(str(file), text)
        require_column(table, "_id", "BEIR layout")
        require_column(table, "text", "BEIR layout")
        tables.append(TitledTable(table))
    files = _link_files(folder, links)
    if not files:
        pattern = links or "qrels/*.tsv"
        known = [f"qrels/{file.name}" for file in _link_files(folder, None)]
        raise DataError(
            f"{folder} has no {pattern}: the links are missing; set dataset.links. "
            f"{did_you_mean(pattern, known)}"
        )
    return tables[0], tables[1], [open_table(str(file), text) for file in files]


def _link_files(folder: Path, links: str | None) -> list[Path]:
    """List the qrels files that the job names, or all of the folder (TSV or TREC)."""
    if links and Path(links).is_file():
        return [Path(links)]
    if links:
        return sorted(folder.glob(links.lstrip("/")))
    return sorted(file for kind in _LINKS for file in folder.glob(f"qrels/*{kind}"))
