"""Triplets to look at: the hardest of those that were written, and typical semi-hard ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.census.block import evenly_spaced
from miner.inspection.report.contents import Contents, Item, cut_text
from miner.inspection.report.sample import TripletSample
from miner.runs.run import Run
from miner.triplets.hardness import MINED, Mined
from miner.triplets.types import Rows

__all__ = ["Card", "Gallery", "Picked", "make_gallery", "pick_triplets", "picked_ids"]

_CARDS = 6
_SHARDS, _GROUPS = 4, 8
"""Shards of a class that are opened, and row groups of these that are read."""
_MOST_TEXT = 280


@dataclass(frozen=True, slots=True)
class Card:
    """A triplet as it is shown."""

    anchor: Item
    positive: Item
    negative: Item
    d_ap: float
    d_an: float

    @property
    def gap(self) -> float:
        """How much farther the negative is than the positive."""
        return self.d_an - self.d_ap


@dataclass(frozen=True, slots=True)
class Gallery:
    """The cards of a class, and out of how many triplets they were chosen."""

    cards: list[Card]
    of: int
    written: bool


@dataclass(frozen=True, slots=True)
class Picked:
    """Chosen triplets: ids, and where the shards have them, texts."""

    rows: list[dict[str, Any]]
    of: int
    written: bool = True


def pick_triplets(
    run: Run, contents: Contents, sample: TripletSample | None
) -> dict[Mined, Picked]:
    """Choose triplets of each class, with different anchors."""
    return {name: _pick(run, name, contents, sample) for name in MINED}


def picked_ids(picked: Mapping[Mined, Picked], contents: Contents) -> Iterator[tuple[int, Any]]:
    """Yield side and id of each row of what was chosen."""
    sides = {"anchor": 0, "positive": contents.row_side, "negative": contents.row_side}
    for one in picked.values():
        for row in one.rows:
            yield from ((side, row[f"{role}_id"]) for role, side in sides.items())


def make_gallery(picked: Mapping[Mined, Picked], contents: Contents) -> dict[Mined, Gallery]:
    """Make cards of what was chosen, and say what it is of."""
    return {
        name: Gallery(_cards(one.rows, contents), one.of, one.written)
        for name, one in picked.items()
    }


def _pick(run: Run, name: Mined, contents: Contents, sample: TripletSample | None) -> Picked:
    choose: Callable[[Any, Any], Rows] = _hardest if name == "hard" else _typical
    if run.manifest["written"][name]["rows"]:
        return _of_shards(run, name, choose)
    if sample is None or contents.store is None:
        return Picked([], 0)
    places = np.flatnonzero(sample.classes(run.manifest["job"]["mining"]["margin"]) == name)
    order = choose(sample.d_ap[places], sample.d_an[places])
    chosen = places[_first_of_each(order, sample.anchors[places[order]].tolist())]
    sides = (0, contents.row_side, contents.row_side)
    columns = (sample.anchors, sample.positives, sample.negatives)
    ids = [contents.ids(side, one[chosen]) for side, one in zip(sides, columns, strict=True)]
    rows = [
        {"anchor_id": a, "positive_id": p, "negative_id": n, "d_ap": d_ap, "d_an": d_an}
        for a, p, n, d_ap, d_an in zip(*ids, sample.d_ap[chosen], sample.d_an[chosen], strict=True)
    ]
    return Picked(rows, len(places), written=False)


def _of_shards(run: Run, name: Mined, choose: Callable[[Any, Any], Rows]) -> Picked:
    """Choose among the rows of some row groups; all of a class may be more than memory holds."""
    triplets = run.triplets(name)
    with run.reading():
        groups = _spread_groups(triplets)
        held = [group.to_table(columns=["anchor_id", "d_ap", "d_an"]) for group in groups]
        d_ap, d_an = (
            np.concatenate([table[column].to_numpy() for table in held]).astype(np.float64)
            for column in ("d_ap", "d_an")
        )
        ends = np.cumsum([len(table) for table in held])
        starts = ends - [len(table) for table in held]
        order = choose(d_ap, d_an)
        owners = np.searchsorted(ends, order, side="right")
        places = zip(owners.tolist(), (order - starts[owners]).tolist(), strict=True)
        anchors = (held[owner]["anchor_id"][place].as_py() for owner, place in places)
        chosen = _first_of_each(order, anchors)
        rows: dict[int, dict[str, Any]] = {}
        for group, start, end in zip(groups, starts, ends, strict=True):
            mine = np.sort(chosen[(chosen >= start) & (chosen < end)])
            if len(mine):
                rows |= zip(mine.tolist(), group.take(mine - start).to_pylist(), strict=True)
    return Picked([rows[place] for place in chosen.tolist()], len(d_ap))


def _spread_groups(triplets: Any) -> list[Any]:
    """Return row groups evenly spaced in a class: rows are by anchor, so all parts of the data."""
    shards = list(triplets.get_fragments())
    groups = [
        shards[place].subset(row_group_ids=[group.id])
        for place in evenly_spaced(len(shards), _SHARDS)
        for group in shards[place].row_groups
    ]
    return [groups[place] for place in evenly_spaced(len(groups), _GROUPS)]


def _hardest(d_ap: Any, d_an: Any) -> Rows:
    """Order by how much farther the positive is than the negative."""
    return _least(d_an - d_ap)


def _typical(d_ap: Any, d_an: Any) -> Rows:
    """Order by how near the gap is to the median gap."""
    gaps = d_an - d_ap
    return _least(np.abs(gaps - np.median(gaps))) if len(gaps) else _least(gaps)


def _least(values: Any, most: int = 4096) -> Rows:
    """Return the places of the least values, in order; ties by place."""
    if len(values) > most:
        near = np.flatnonzero(values <= np.partition(values, most)[most])[: 4 * most]
    else:
        near = np.arange(len(values))
    return np.asarray(near[np.argsort(values[near], kind="stable")])


def _first_of_each(order: Rows, anchors: Iterable[Any]) -> Rows:
    """Keep the first places that have different anchors."""
    seen: dict[Any, int] = {}
    for place, anchor in zip(order.tolist(), anchors, strict=True):
        seen.setdefault(anchor, place)
        if len(seen) == _CARDS:
            break
    return np.array(list(seen.values()), dtype=np.int64)


def _cards(rows: list[dict[str, Any]], contents: Contents) -> list[Card]:
    shown = [list(_role(rows, role, contents)) for role in ("anchor", "positive", "negative")]
    return [
        Card(anchor, positive, negative, float(row["d_ap"]), float(row["d_an"]))
        for row, anchor, positive, negative in zip(rows, *shown, strict=True)
    ]


def _role(rows: list[dict[str, Any]], role: str, contents: Contents) -> Iterator[Item]:
    """Look one role of all triplets up; texts that the shards have are theirs."""
    side = 0 if role == "anchor" else contents.row_side
    ids = [row[f"{role}_id"] for row in rows]
    for row, item in zip(rows, contents.items_by_id(side, ids), strict=True):
        text = cut_text(row[role], _MOST_TEXT) if row.get(role) else item.text
        yield Item(item.id, item.label, text, item.picture)
