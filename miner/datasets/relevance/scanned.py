"""The result of scanning a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.relevance.codes import Codes
from miner.datasets.roles import TableRoles
from miner.datasets.scan import Items
from miner.triplets.relevance import Relevance

__all__ = ["Scanned", "given", "left_out"]

Digests = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Scanned:
    """The result of a scan: relevance in memory, and which rows of the tables are used.

    Attributes
    ----------
    relevance : Relevance
    rows : tuple of ndarray of int64
        For each table, the row numbers that are used, ascending.
    digests : tuple of (ndarray of V16 or None)
        For each table, the content digests of these rows; None for vectors.
    chosen : ndarray of int64 or None
        Positions in `rows[0]` of the anchors; None if all rows are anchors.
    facts : dict
        Counts for the manifest.
    names : pyarrow.Array or None
        The value of each label, in the order of the codes; None unless each row has one label.
    """

    relevance: Relevance
    rows: tuple[Codes, ...]
    digests: tuple[Digests | None, ...]
    chosen: Codes | None
    facts: dict[str, Any]
    names: Any = None


def given(**facts: Any) -> dict[str, Any]:
    """Return the facts that are not zero or empty."""
    return {name: fact for name, fact in facts.items() if fact}


def left_out(items: Sequence[Items], sides: Sequence[TableRoles]) -> dict[str, int]:
    """Count the rows that were left out, by each reason that the job allows."""
    facts = {}
    if any(side.where for side in sides):
        facts["filtered"] = sum(part.filtered for part in items)
    if any(side.skip for side in sides):
        facts["unreadable"] = sum(part.unreadable for part in items)
    return facts
