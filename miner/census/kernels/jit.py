"""How the loops of this package are compiled.

Two conventions of the loops make them fast. Array indices are cast to unsigned integers: for a
signed index numba adds a test for negative values, which count from the end. Integers passed from
one compiled function to another are written ``np.int64(0)``: a plain ``0`` has another type, for
which numba compiles the called function again.
"""

from __future__ import annotations

from typing import Any

import numba

__all__ = ["compiled"]

_LOOSE = {"reassoc", "contract", "nsz"}


def compiled(function: Any, *, reorder: bool = False) -> Any:
    """Compile a function that runs without the GIL, and cache it on disk if a folder is writable.

    Set `reorder` only for loops whose sums may be rounded in any order, such as bounds and losses.
    All other results must be the same on every machine.
    """
    options: Any = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    if reorder:
        options["fastmath"] = _LOOSE
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder for the cache
        return numba.njit(**options)(function)
