"""How the loops of this package are compiled."""

from __future__ import annotations

from typing import Any

import numba

__all__ = ["compiled"]

_LOOSE = {"reassoc", "contract", "nsz"}


def compiled(function: Any, *, reorder: bool = False) -> Any:
    """Compile without the GIL; cache on disk where there is a place for it.

    Only sums may be reordered, where it is asked for: cells must be computed alike everywhere. A
    number that one of these functions hands to another is written ``np.int64(0)``: for a plain 0
    the other is compiled once more.
    """
    options: Any = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    if reorder:
        options["fastmath"] = _LOOSE
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder that it can write to
        return numba.njit(**options)(function)
