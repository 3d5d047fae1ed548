"""Which model it is, when its name does not tell: by its weights, or by what it does.

A model that cannot identify its weights (a function, a remote service) is known by canaries: a few
rows of data and their vectors, kept beside the vectors of the cache. When the model still gives
those rows those vectors, it is that model.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.content import Values, as_batch
from miner.datasets.image_files import Pictures
from miner.embedding.models.base import LoadedModel, Role
from miner.errors import DamageError, DataError
from miner.progress import warn_damaged
from miner.storage.json_files import digest, read_json, write_json

__all__ = ["CANARY_ROWS", "Identity", "identify"]

CANARY_ROWS = 8
_MOST = 8
"""Canaries that are kept of one model: the last of its weights."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A model's identity.

    Attributes
    ----------
    facts : dict
        ``id``, ``weights`` and ``options``, for the manifest.
    family : dict
        What beside the weights decides the vectors.
    vectors : ndarray or None
        The vectors of the sample, when they had to be made to find out.
    """

    facts: dict[str, Any]
    family: dict[str, Any]
    vectors: NDArray[np.floating] | None = None


def identify(
    model: LoadedModel, sample: Values, role: Role, prompt: str, cache: Path, *, keep: bool
) -> Identity:
    """Identify a model.

    Parameters
    ----------
    model : LoadedModel
    sample : list of str, ndarray or Pictures
        The first rows of the data, at most `CANARY_ROWS`.
    role, prompt : str
        How to embed them.
    cache : Path
        The vector cache, where canaries are kept.
    keep : bool
        Whether to write a new canary; False to leave no trace.
    """
    weights, vectors = model.model.weights(), None
    if weights is None:
        folder = cache / "canaries" / digest([model.family(), role, prompt])[:24]
        weights = _known_weights(model, role, prompt, folder)
    if weights is None:
        vectors = model.embed(as_batch(sample), role, prompt)
        # One that is not finite, which JSON does not keep, is refused later, by its row.
        plain = np.nan_to_num(vectors.astype(np.float64)).tolist()
        canary = {"content": _encoded(sample), "vectors": plain}
        weights = f"canary:{digest(canary)}"
        if keep:
            write_json(folder / f"{_named(canary)}.json", canary)
            for old in _newest(folder)[_MOST:]:
                old.unlink(missing_ok=True)
    facts = {"id": model.name, "weights": weights, "options": dict(model.options)}
    return Identity(facts, model.family(), vectors)


def _newest(folder: Path) -> list[Path]:
    files = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.json")]
    return [path for _, path in sorted(files, reverse=True)]


def _known_weights(model: LoadedModel, role: Role, prompt: str, folder: Path) -> str | None:
    """Return the canary that the model still gives the same vectors."""
    for path in _newest(folder):
        read = _read_canary(path)
        if read is None:
            continue
        canary, before, values = read
        try:
            now = model.embed(as_batch(values), role, prompt)
        except DataError:  # a function that knows only the texts of another data set
            continue
        if now.shape == before.shape and _near(before, now, model.model.drift):
            os.utime(path)
            return f"canary:{digest(canary)}"
    return None


def _read_canary(path: Path) -> tuple[Any, NDArray[np.float64], Values] | None:
    """Read a canary, its vectors and its content; None when the file is damaged."""
    try:
        canary = read_json(path)
        if path.stem != _named(canary):
            raise DamageError(f"{path} is damaged: its content does not fit its name")
    except (DamageError, ValueError) as error:
        warn_damaged(f"{error}; the vectors by which the model is known are made again")
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    before = np.asarray(canary["vectors"], dtype=np.float64)
    return canary, before, _decoded(canary["content"])


def _named(canary: Any) -> str:
    """Return what the file of a canary is called."""
    return digest(canary)[:24]


def _near(before: NDArray[np.float64], now: NDArray[np.floating], drift: float) -> bool:
    lengths = np.linalg.norm(before, axis=1)
    return bool((np.linalg.norm(now - before, axis=1) <= drift * lengths).all())


def _encoded(values: Values) -> dict[str, Any]:
    if isinstance(values, Pictures):
        return {"images": [base64.b64encode(image).decode() for image in values.encoded]}
    if isinstance(values, np.ndarray):
        return {"numbers": values.tolist(), "type": values.dtype.str}
    return {"texts": list(values)}


def _decoded(content: Mapping[str, Any]) -> Values:
    if "images" in content:
        return Pictures(tuple(base64.b64decode(image) for image in content["images"]))
    if "numbers" in content:
        return np.asarray(content["numbers"], dtype=content["type"])
    texts: list[str] = content["texts"]
    return texts
