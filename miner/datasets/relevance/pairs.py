"""The relevance of queries and a corpus, from scanned tables and their links."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table
from miner.datasets.relevance.codes import content_codes, joint_codes, known_groups
from miner.datasets.relevance.links import Links, read_links
from miner.datasets.relevance.scanned import Scanned, left_out
from miner.datasets.roles import TableRoles
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import NONE, LinkRelevance

__all__ = ["scan_pairs"]


def scan_pairs(
    queries: Items,
    corpus: Items,
    sides: tuple[TableRoles, ...],
    tables: Sequence[Table],
    columns: tuple[str | None, str | None, str | None],
) -> Scanned:
    """Build the relevance of queries and a corpus from the links in `tables`.

    Raises
    ------
    DataError
        If the widths differ, a link has an unknown id, or no link has a score above 0.
    """
    if queries.width != corpus.width:
        raise DataError(
            f"{queries.where} has {queries.width} values a row, {corpus.where} {corpus.width}; "
            "both need the same number"
        )
    links = read_links(tables, columns, queries, corpus)
    relevance = _link_relevance(links, queries, corpus, sides)
    linked = np.diff(links.starts) > 0
    if not linked.any():
        raise DataError(
            f"{tables[0].where}: no link has a score above 0, so no positives; check the scores"
        )
    facts = {
        "kind": "pairs",
        "items": len(queries) + len(corpus),
        "queries": len(queries),
        "corpus": len(corpus),
        "anchors": len(queries),
        "classes": None,
        "links": len(links.linked),
        "judged_non_relevant": links.judged,
        "skipped": {
            "unlinked_queries": int((~linked).sum()),
            **left_out((queries, corpus), sides),
            **({"links": links.dropped} if links.dropped else {}),
        },
    }
    rows, digests = (queries.rows, corpus.rows), (queries.digests, corpus.digests)
    return Scanned(relevance, rows, digests, None, facts)


def _link_relevance(
    links: Links, queries: Items, corpus: Items, sides: tuple[TableRoles, ...]
) -> LinkRelevance:
    cut = len(queries)
    contents = content_codes(queries, corpus)
    named = [known_groups(*pair) for pair in zip((queries, corpus), sides, strict=True)]
    if all(part is not None for part in named):
        groups = joint_codes(*named)
    else:
        groups = np.full(len(queries) + len(corpus), NONE, dtype=np.int64)
    twins = np.full(len(queries), NONE, dtype=np.int64)
    # A query and a document are the same item only if both tables have id columns with the same
    # id; row numbers identify nothing. Ids are compared as text, like links.
    if sides[0].id and sides[1].id:
        texts = [items.ids.cast(pa.string()) for items in (queries, corpus)]
        found = pc.index_in(texts[0], value_set=texts[1]).fill_null(NONE)
        twins = np.asarray(found.to_numpy(zero_copy_only=False)).astype(np.int64)
    return LinkRelevance(
        links.starts,
        links.linked,
        contents[cut:],
        contents[:cut],
        groups[cut:],
        groups[:cut],
        twins,
    )
