"""Choose the triplets that the report shows: the hardest, and typical semi-hard ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from miner.census.spread import evenly_spaced
from miner.census.triplet_sample import TripletSample
from miner.inspection.report.contents import Contents, Item, cut_text
from miner.runs.run import Run
from miner.triplets.hardness import MinedClass
from miner.triplets.types import Float64

__all__ = ["Card", "Gallery", "Picked", "make_gallery", "pick_triplets", "picked_ids"]

_CARDS, _NEAREST = 6, 4096
"""Triplets shown of each class, and triplets examined to find them, the best ones first."""
_SHARDS, _GROUPS = 4, 8
"""Shards opened for each class, and row groups read from them."""
_MOST_TEXT = 280
_ROLES = ("anchor", "positive", "negative")


@dataclass(frozen=True, slots=True)
class Card:
    """A triplet as the report shows it."""

    anchor: Item
    positive: Item
    negative: Item
    d_ap: float
    d_an: float

    @property
    def gap(self) -> float:
        """The distance to the negative minus the distance to the positive."""
        return self.d_an - self.d_ap


@dataclass(frozen=True, slots=True)
class Gallery:
    """The cards of a class; `of` is the number of triplets from which they were chosen."""

    cards: list[Card]
    of: int
    written: bool


@dataclass(frozen=True, slots=True)
class Picked:
    """Chosen triplets: their ids, and their texts if the shards contain them."""

    rows: list[dict[str, Any]]
    of: int
    written: bool = True


def picked_ids(picked: Picked, contents: Contents) -> Iterator[tuple[int, Any]]:
    """Yield the side and the id of each row of the chosen triplets."""
    for row in picked.rows:
        yield from ((_side(role, contents), row[f"{role}_id"]) for role in _ROLES)


def make_gallery(picked: Picked, contents: Contents) -> Gallery:
    """Return the cards of the chosen triplets."""
    shown = [_items(picked.rows, role, contents) for role in _ROLES]
    distances = ((float(row["d_ap"]), float(row["d_an"])) for row in picked.rows)
    cards = [Card(*items, *both) for *items, both in zip(*shown, distances, strict=True)]
    return Gallery(cards, picked.of, picked.written)


def pick_triplets(
    run: Run, name: MinedClass, contents: Contents, sample: TripletSample | None
) -> Picked:
    """Choose triplets of a class with different anchors, from the shards or the sample."""
    if run.manifest["written"][name]["rows"]:
        with run.reading():
            return _of_shards(run.triplets(name), name)
    if sample is None or contents.store is None:
        return Picked([], 0)
    places = np.flatnonzero(sample.classes(run.manifest["job"]["mining"]["margin"]) == name)
    d_ap, d_an = sample.d_ap[places], sample.d_an[places]
    columns = [one[places] for one in (sample.anchors, sample.positives, sample.negatives)]
    chosen = _choose(name, d_ap, d_an, columns[0].__getitem__)
    ids = [
        contents.ids(_side(role, contents), column[chosen])
        for role, column in zip(_ROLES, columns, strict=True)
    ]
    names = *(f"{role}_id" for role in _ROLES), "d_ap", "d_an"
    values = zip(*ids, d_ap[chosen], d_an[chosen], strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in values]
    return Picked(rows, len(places), written=False)


def _of_shards(triplets: Any, name: MinedClass) -> Picked:
    """Choose among the rows of some row groups, because a class may not fit in memory."""
    groups = _spread_groups(triplets)
    read = type(triplets)(groups, triplets.schema, triplets.format)
    table = read.to_table(columns=["anchor_id", "d_ap", "d_an"])
    d_ap, d_an = (table[column].to_numpy().astype(np.float64) for column in ("d_ap", "d_an"))
    chosen = _choose(name, d_ap, d_an, lambda place: table["anchor_id"][place].as_py())
    sizes = [group.row_groups[0].num_rows for group in groups]
    starts = np.cumsum(sizes) - sizes
    owners = np.searchsorted(starts, chosen, side="right") - 1
    places = zip(owners.tolist(), (chosen - starts[owners]).tolist(), strict=True)
    rows = [groups[owner].take([place]).to_pylist()[0] for owner, place in places]
    return Picked(rows, len(table))


def _spread_groups(triplets: Any) -> list[Any]:
    """Return row groups evenly spaced over a class, whose rows are sorted by anchor."""
    shards = list(triplets.get_fragments())
    groups = [
        shards[place].subset(row_group_ids=[group.id])
        for place in evenly_spaced(len(shards), _SHARDS)
        for group in shards[place].row_groups
    ]
    return [groups[place] for place in evenly_spaced(len(groups), _GROUPS)]


def _choose(
    name: MinedClass, d_ap: Float64, d_an: Float64, anchor: Callable[[int], Any]
) -> list[int]:
    """Return the positions of the hardest triplets, or of semi-hard ones near the median gap.

    At most one triplet is chosen for each anchor. Ties go to the lower position.
    """
    scores = d_an - d_ap
    if name == "semi_hard" and len(scores):
        scores = np.abs(scores - np.median(scores))
    first: dict[Any, int] = {}
    for place in np.argsort(scores, kind="stable")[:_NEAREST].tolist():
        first.setdefault(anchor(place), place)
        if len(first) == _CARDS:
            break
    return list(first.values())


def _items(rows: list[dict[str, Any]], role: str, contents: Contents) -> list[Item]:
    """Return the items of one role; texts in the shards replace texts in the store."""
    items = contents.items(_side(role, contents), [row[f"{role}_id"] for row in rows])
    return [
        replace(item, text=cut_text(row[role], _MOST_TEXT)) if row.get(role) else item
        for row, item in zip(rows, items, strict=True)
    ]


def _side(role: str, contents: Contents) -> int:
    return 0 if role == "anchor" else contents.row_side
