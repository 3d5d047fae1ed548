"""Decisions of a person on pairs of a query and a document: the links that follow from them."""

from __future__ import annotations

import dataclasses

import numpy as np

from miner.datasets.relevance.corrections import (
    UNKNOWN,
    Corrections,
    Decision,
    matched_rows,
    refuse_other_text,
    two_decisions,
)
from miner.datasets.relevance.links import Links
from miner.datasets.scan import Items
from miner.errors import DataError

__all__ = ["corrected_links"]


def corrected_links(
    links: Links, sides: tuple[Items, Items], corrections: Corrections, *, skip: bool
) -> Links:
    """Return links with the decisions of a person, which replace what the links say on a pair.

    Parameters
    ----------
    links : Links
    sides : tuple of two Items
        The queries and the corpus.
    corrections : Corrections
    skip : bool
        Whether unknown ids are allowed.

    Raises
    ------
    DataError
        If a decision fits neither the data nor another decision.
    """
    if corrections.labels:
        raise DataError(
            f"{corrections.labels[0].where} is on a label, but these data have links; fill in its "
            "other_id, or remove the row"
        )
    decisions, outcome = corrections.pairs, corrections.outcome
    both = [matched_rows(decisions, side, items, skip=skip) for side, items in enumerate(sides)]
    for side, (items, rows) in enumerate(zip(sides, both, strict=True)):
        refuse_other_text(decisions, side, items, rows)
    count = len(sides[1])
    owners = np.repeat(np.arange(len(links.starts) - 1), np.diff(links.starts))
    linked, judged = owners * count + links.linked, links.judged[0] * count + links.judged[1]
    said = {
        "positive": set(linked.tolist()),
        "negative": set(judged.tolist()) - set(linked.tolist()),
    }
    first: dict[int, Decision] = {}
    for one, query, row in zip(decisions, *(rows.tolist() for rows in both), strict=True):
        word, pair = one.pair_word, query * count + row
        if min(query, row) < 0:
            outcome["unknown" if UNKNOWN in (query, row) else "left_out"] += 1
            continue
        before = first.setdefault(pair, one)
        if before.pair_word != word:
            raise two_decisions(before, one)
        if before is not one or pair in said.get(word, ()):
            outcome["unchanged"] += 1
        else:
            outcome["ignored" if word == "ignore" else f"{word}s"] += 1
    pairs = {
        word: np.array(
            sorted(pair for pair, one in first.items() if one.pair_word == word), dtype=np.int64
        )
        for word in ("positive", "negative", "ignore")
    }
    decided = np.array(sorted(first), dtype=np.int64)
    linked = np.union1d(np.setdiff1d(linked, decided), pairs["positive"])
    starts = np.searchsorted(linked, np.arange(len(links.starts)) * count)
    return dataclasses.replace(
        links,
        starts=starts.astype(np.int64),
        linked=linked % count,
        judged=links.judged[:, ~np.isin(judged, decided)],
        ignored=pairs["ignore"],
        rejected=pairs["negative"],
    )
