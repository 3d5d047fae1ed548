"""Retrieval sets: queries, documents, links; and how a network ranks the linked documents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import ROOT
from tests.proof.data import package
from tests.proof.evaluation import Scores

__all__ = ["Retrieval", "handbook", "icd10_terms", "judged"]

_BLOCK, _CATEGORIES = 256, 500


@dataclass(frozen=True)
class Retrieval:
    """Queries, documents, and for each query the rows of its linked documents."""

    queries: list[str]
    documents: list[str]
    linked: list[list[int]]

    def write(self, folder: Path) -> dict[str, str]:
        """Write three tables into a folder, and return the section `dataset` of a job."""
        rows = [(query, row) for query, found in enumerate(self.linked) for row in found]
        query, document = (np.array(column) for column in zip(*rows, strict=True))
        tables = {
            "queries": {"id": np.arange(len(self.queries)), "text": self.queries},
            "corpus": {"id": np.arange(len(self.documents)), "text": self.documents},
            "links": {"query_id": query, "corpus_id": document},
        }
        for name, columns in tables.items():
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        return {name: str(folder / f"{name}.parquet") for name in tables}

    def part(self, rows: np.ndarray) -> Retrieval:
        """Return the set with some of the queries, and all documents."""
        return Retrieval(
            [self.queries[row] for row in rows], self.documents, [self.linked[row] for row in rows]
        )

    def components(self) -> np.ndarray:
        """Return a number for each query: queries have the same if links connect them."""
        above = [*range(len(self.documents))]

        def root(row: int) -> int:
            while above[row] != row:
                row = above[row]
            return row

        for found in self.linked:
            for row in found[1:]:
                above[root(row)] = root(found[0])
        return np.array([root(found[0]) for found in self.linked])


def handbook() -> Retrieval:
    """Return the questions about the staff handbook of the sample data, and its passages."""
    folder = ROOT / "sample_data" / "handbook"
    queries, corpus = (
        {row["_id"]: row for row in map(json.loads, (folder / name).read_text().splitlines())}
        for name in ("queries.jsonl", "corpus.jsonl")
    )
    rows = {name: row for row, name in enumerate(corpus)}
    links: dict[str, list[int]] = {name: [] for name in queries}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            links[query].append(rows[document])
    texts = [f"{row['title']}. {row['text']}" for row in corpus.values()]
    return Retrieval([row["text"] for row in queries.values()], texts, [*links.values()])


def icd10_terms() -> Retrieval:
    """Return inclusion terms of ICD-10-CM as queries, and the descriptions of codes as documents.

    The codes are those of 500 categories, by a fixed draw. Codes of seven characters are left out:
    they repeat one description for each kind of encounter.
    """
    icd = package("simple_icd_10_cm")
    codes = [
        code
        for code in dict.fromkeys(icd.get_all_codes(True))
        if icd.is_category_or_subcategory(code) and len(code.replace(".", "")) < 7
    ]
    categories = sorted({code[:3] for code in codes})
    chosen = set(np.random.default_rng(10).choice(categories, _CATEGORIES, replace=False).tolist())
    documents: dict[str, int] = {}
    links: dict[str, dict[int, None]] = {}
    for code in (code for code in codes if code[:3] in chosen):
        row = documents.setdefault(icd.get_description(code), len(documents))
        for term in icd.get_inclusion_term(code):
            links.setdefault(term, {})[row] = None
    asked = {term: [*rows] for term, rows in links.items() if term not in documents}
    return Retrieval([*asked], [*documents], [*asked.values()])


def judged(queries: np.ndarray, documents: np.ndarray, linked: list[list[int]]) -> Scores:
    """Return how the inner products of vectors rank the linked documents of each query.

    The average precision is the mean over the linked documents of the share of linked ones among
    the documents up to it.
    """
    first, average = [], []
    for start in range(0, len(queries), _BLOCK):
        for row, scores in enumerate(queries[start : start + _BLOCK] @ documents.T, start):
            found = scores[linked[row]]
            ranks = 1 + (scores > np.sort(found)[::-1, None]).sum(1)
            first.append(ranks[0] == 1)
            average.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    return Scores(float(np.mean(first)), float(np.mean(average)))
