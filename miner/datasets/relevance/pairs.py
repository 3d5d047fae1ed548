"""The relevance of queries and a corpus, from scanned tables and their links."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import Table
from miner.datasets.relevance.codes import Codes, content_codes
from miner.datasets.relevance.constraints import constrained, group_codes, missing_values
from miner.datasets.relevance.corrected_links import corrected_links
from miner.datasets.relevance.corrections import Corrections
from miner.datasets.relevance.links import LinkRules, read_links
from miner.datasets.relevance.scanned import Scanned, given, left_out
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
    rules: LinkRules,
    corrections: Corrections,
) -> Scanned:
    """Build the relevance of queries and a corpus from links and the corrections of a person.

    Raises
    ------
    DataError
        If the widths differ, a link has an unknown id, or no link has the score of a positive.
    """
    if queries.width != corpus.width:
        raise DataError(
            f"{queries.where} has {queries.width} values a row, {corpus.where} {corpus.width}; "
            "both need the same number"
        )
    links = read_links(tables, rules, queries, corpus)
    if corrections:
        links = corrected_links(links, (queries, corpus), corrections, skip=rules.skip)
    linked = np.diff(links.starts) > 0
    if not linked.any():
        least = "above 0" if rules.min_relevance is None else f"of at least {rules.min_relevance:g}"
        raise DataError(
            f"{tables[0].where}: no link has a score {least}, so no positives; check the scores"
        )
    contents, near_equal = content_codes(queries, corpus, fold=sides[0].fold)
    own, contents = np.split(contents, [len(queries)])
    twins = _equal_ids(queries, corpus, sides)
    same = rules.same_id | ((own != NONE) & (own == contents[twins]))
    query_groups, groups = group_codes((queries, corpus), sides[0].constraints)
    relevance = LinkRelevance(
        links.starts,
        links.linked,
        contents,
        own,
        groups,
        query_groups,
        np.where(same, twins, NONE),
        **links.judged_pairs(rules.below, len(corpus)),
    )
    apart = np.flatnonzero((twins != NONE) & ~same)
    constraints = sides[0].constraints
    facts = {
        "kind": "pairs",
        "items": len(queries) + len(corpus),
        "queries": len(queries),
        "corpus": len(corpus),
        "anchors": len(queries),
        "classes": None,
        "links": len(links.linked),
        "judged_non_relevant": links.judged.shape[1] + len(links.rejected),
        **given(
            equal_ids=int(relevance.are_negatives(apart, twins[apart]).sum()),
            without_value=missing_values((queries, corpus), constraints),
            near_equal_texts=near_equal,
        ),
        "skipped": {
            "unlinked_queries": int((~linked).sum()),
            **left_out((queries, corpus), sides),
            **links.left_out,
        },
    }
    rows, digests = (queries.rows, corpus.rows), (queries.digests, corpus.digests)
    every = np.arange(len(queries)), np.arange(len(corpus))
    allowed = constrained(relevance, (queries, every[0]), (corpus, every[1]), constraints)
    return Scanned(allowed, rows, digests, None, facts)


def _equal_ids(queries: Items, corpus: Items, sides: tuple[TableRoles, ...]) -> Codes:
    """Return the row that has each query's id, or `NONE`.

    Row numbers identify nothing, as in tables of pairs: both tables need id columns. Ids are
    compared as text, like links.
    """
    if not (sides[0].id and sides[1].id) or sides[0].origin:
        return np.full(len(queries), NONE, dtype=np.int64)
    texts = [items.ids.cast(pa.string()) for items in (queries, corpus)]
    found = pc.index_in(texts[0], value_set=texts[1]).fill_null(NONE)
    return np.asarray(found.to_numpy(zero_copy_only=False)).astype(np.int64)
