"""Identify a model by its weights, or by the vectors that it returns.

A model that cannot identify its weights (a function, a remote service) is identified by a canary: a
few rows of data and their vectors, which are stored in the cache. If the model still returns these
vectors for these rows, it is the same model. While it embeds, the canary also serves as its probe:
the model is asked for the same rows again, to detect that it has changed.
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
from miner.errors import DamageError, DataError, EngineError
from miner.progress import warn_damaged
from miner.storage.json_files import digest, read_json, write_json

__all__ = ["CANARY_ROWS", "Identity", "Probe", "identify"]

CANARY_ROWS = 8
_MOST = 8
"""Most canaries that are kept for one model; the oldest are removed."""
_ROUNDING = 1e-4
"""Least tolerance, relative to a vector's length, of a probe within one run: rounding may depend on
other work of the device. The next run compares by the model's `drift` alone."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A few rows and the vectors that the model is expected to return for them.

    Attributes
    ----------
    values : list of str, ndarray or Pictures
    vectors : ndarray of shape (rows, dim), float64
    role, prompt : str
        How the rows are embedded.
    """

    values: Values
    vectors: NDArray[np.float64]
    role: Role
    prompt: str

    def answered_alike(self, model: LoadedModel, *, drift: float = _ROUNDING) -> bool:
        """Whether a model returns the vectors, within the larger of `drift` and its own drift."""
        now = _answer(model, self.values, self.role, self.prompt)
        if now.shape != self.vectors.shape:
            return False
        apart = np.linalg.norm(now - self.vectors, axis=1)
        most = max(drift, model.model.drift) * np.linalg.norm(self.vectors, axis=1)
        return bool((apart <= most).all())


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a model.

    Attributes
    ----------
    facts : dict
        ``id``, ``weights`` and ``options``, for the manifest.
    family : dict
        Everything except the weights that decides the vectors.
    vectors : ndarray or None
        The vectors of the sample, if they were computed to identify the model.
    probe : Probe or None
        Checked while the model embeds; None if the model identifies its weights.
    """

    facts: dict[str, Any]
    family: dict[str, Any]
    vectors: NDArray[np.floating] | None = None
    probe: Probe | None = None


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
        How to embed these rows.
    cache : Path
        The vector cache, where canaries are kept.
    keep : bool
        Whether to store a new canary; False to write nothing.
    """
    weights, vectors, probe = model.model.weights(), None, None
    if weights is None:
        folder = cache / "canaries" / digest([model.family(), role, prompt])[:24]
        weights, probe = _known_weights(model, role, prompt, folder)
    if weights is None:
        vectors = _answer(model, sample, role, prompt)
        # Vectors that are not finite are not valid JSON; they are refused later, by row.
        plain = np.nan_to_num(vectors.astype(np.float64))
        probe = Probe(sample, plain, role, prompt)
        canary = {"content": _encoded(sample), "vectors": plain.tolist()}
        weights = f"canary:{digest(canary)}"
        if keep:
            write_json(folder / f"{_named(canary)}.json", canary)
            for old in _newest(folder)[_MOST:]:
                old.unlink(missing_ok=True)
    facts = {"id": model.name, "weights": weights, "options": dict(model.options)}
    return Identity(facts, model.family(), vectors, probe)


def _answer(model: LoadedModel, values: Values, role: Role, prompt: str) -> NDArray[np.floating]:
    """Embed a few rows in one batch, or one by one if memory runs out."""
    batch = as_batch(values)
    try:
        return model.embed(batch, role, prompt)
    except MemoryError:
        pass
    try:
        rows = [model.embed(batch[row : row + 1], role, prompt) for row in range(len(batch))]
    except MemoryError as error:
        raise EngineError(
            f"model {model.name!r} has no memory even for one row alone, of the first rows of "
            "the data; shorten it, or use a smaller model or a larger machine"
        ) from error
    return np.concatenate(rows)


def _newest(folder: Path) -> list[Path]:
    files = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.json")]
    return [path for _, path in sorted(files, reverse=True)]


def _known_weights(
    model: LoadedModel, role: Role, prompt: str, folder: Path
) -> tuple[str | None, Probe | None]:
    """Return the weights and probe of the canary that the model matches; None if there is none."""
    for path in _newest(folder):
        read = _read_canary(path)
        if read is None:
            continue
        canary, before, values = read
        probe = Probe(values, before, role, prompt)
        try:
            alike = probe.answered_alike(model, drift=0)
        except DataError:  # such as a function that handles only the texts of one data set
            continue
        if alike:
            os.utime(path)
            return f"canary:{digest(canary)}", probe
    return None, None


def _read_canary(path: Path) -> tuple[Any, NDArray[np.float64], Values] | None:
    """Read a canary, its vectors and its content; None if the file is damaged."""
    try:
        canary = read_json(path)
        if path.stem != _named(canary):
            raise DamageError(f"{path} is damaged: its content does not fit its name")
    except (DamageError, ValueError) as error:
        warn_damaged(f"{error}; the vectors that identify the model are computed again")
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    before = np.asarray(canary["vectors"], dtype=np.float64)
    return canary, before, _decoded(canary["content"])


def _named(canary: Any) -> str:
    """Return the name of a canary's file, without its extension."""
    return digest(canary)[:24]


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
