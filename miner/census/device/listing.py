"""Entries of a block's rows, made on a device; see `miner.census.walk.ranked_block`."""

from __future__ import annotations

import numpy as np
import torch

from miner.census.device.rows import sent
from miner.triplets.types import Float64, Rows

__all__ = ["list_entries", "nearest_max_keys"]


def nearest_max_keys(keys: torch.Tensor, wanted: int, spare: Float64, lines: int) -> Float64:
    """Return, per anchor, a key that at least `wanted` keys do not exceed, plus `spare`.

    Parameters
    ----------
    keys : Tensor of shape (b, n)
        NaN where a row is not a negative.
    wanted : int
        If 0, the result is minus infinity. Where an anchor has fewer rows, it is infinity.
    spare : ndarray of shape (b,), float64
    lines : int
        The number of anchors to look at at once.
    """
    if wanted <= 0:
        return np.full(len(keys), -np.inf)
    if wanted > keys.shape[1]:
        return np.full(len(keys), np.inf)
    parts = [keys[start : start + lines] for start in range(0, len(keys), lines)]
    last = torch.cat([part.topk(wanted, dim=1, largest=False).values[:, -1] for part in parts])
    top: Float64 = torch.where(last.isnan(), torch.inf, last).to(torch.float64).cpu().numpy()
    return top + spare  # NaN counts as the largest


def list_entries(
    keys: torch.Tensor, max_keys: Float64, bits: int, lines: int, *, which: Rows | None = None,
    room: float = np.inf,
) -> tuple[Float64, Rows] | None:  # fmt: skip
    """Return the entries of rows up to the given keys, and where those of each anchor begin.

    Parameters
    ----------
    keys : Tensor of shape (b, n)
        NaN where a row is not a negative.
    max_keys : ndarray of shape (b,), float64
        The highest key to list, per anchor.
    bits : int
        The number of low bits of an entry that hold the row number.
    lines : int
        The number of anchors to look at at once.
    which : ndarray of int64, optional
        The anchors to list, one for each of `max_keys`; by default all.
    room : float
        The most entries. If there are more, the result is None.

    Returns
    -------
    entries : ndarray of float64
        Anchor after anchor, each in the order of the rows.
    firsts : ndarray of shape (b + 1,), int64
    """
    kind = np.float64 if keys.dtype == torch.float64 else np.float32
    with np.errstate(over="ignore"):  # a key above the float32 range becomes infinite
        most = np.nextafter(max_keys.astype(kind), kind(np.inf))
    limits, mask = sent(most, keys.device)[:, None], -1 << bits
    taken = None if which is None else sent(which, keys.device)
    parts, sizes = [np.empty(0)], [np.zeros(1, dtype=np.int64)]
    for start in range(0, len(max_keys), lines):
        part = slice(start, start + lines)
        own = keys[part] if taken is None else keys[taken[part]]
        listed = own <= limits[part]
        sizes.append(np.asarray(listed.sum(1).cpu().numpy()))
        room -= int(sizes[-1].sum())
        if room < 0:
            return None
        line, row = listed.nonzero(as_tuple=True)
        found = own[line, row].to(torch.float64).view(torch.int64)
        parts.append(np.asarray(((found & mask) | row).view(torch.float64).cpu().numpy()))
    return np.concatenate(parts), np.cumsum(np.concatenate(sizes))
