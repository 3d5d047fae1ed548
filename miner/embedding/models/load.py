"""Find a model by name and build it."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.base import DEFAULTS, MODELS, Batch, LoadedModel, Model, error_words
from miner.errors import MineError, StorageError, UsageError
from miner.registry import load_attribute
from miner.storage.json_files import canonical_json
from miner.storage.urls import expanded

__all__ = ["constructed", "import_from_here", "load_model", "placed"]

# Without a network it would log every try. The error that ends a run is printed once.
logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)


class _Callable(Model):
    """Wraps a user's function from a batch to vectors."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Return the vectors of the function."""
        return np.asarray(self._function(batch))


def load_model(
    name: str | None, kind: str, options: Mapping[str, Any], device: str | None = None
) -> LoadedModel:
    """Build a model by name: a registered one, a folder, or ``package.module:attribute``.

    Parameters
    ----------
    name : str or None
        None for the default model of the kind of content.
    kind : str
        The kind of content: text, image or vectors.
    options : mapping
        Keyword arguments for the model's class.
    device : str, optional
        As for `placed`.

    Raises
    ------
    UsageError
        If the model does not exist, cannot be built, or cannot embed this kind of content.
    """
    name = name or DEFAULTS[kind]
    try:
        canonical_json(options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"model.options = {dict(options)!r} must be texts, numbers, true, false, lists or "
            f"tables ({error})"
        ) from error
    found, options = _find(name, options)
    model = _build(name, found, placed(found, options, device))
    if kind not in model.kinds:
        wanted = " or ".join(sorted(model.kinds))
        raise UsageError(f"model {name!r} embeds {wanted}; the content column holds {kind}")
    options = {key: value for key, value in options.items() if key not in model.placement}
    return LoadedModel(name, model, options)


def placed(found: Any, options: Mapping[str, Any], device: str | None) -> Mapping[str, Any]:
    """Return options with a device, where a class takes one and the options name none.

    It is in no key: where a model runs does not make it another one.
    """
    if device is None or not inspect.isclass(found) or options.keys() & {"device", "devices"}:
        return options
    try:
        takes = "device" in inspect.signature(found).parameters
    except ValueError:  # a class of an extension module has no signature
        takes = False
    return {**options, "device": device} if takes else options


def _find(name: str, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Return the object of a name, and the options; ``NAME:VALUE`` sets the family's `argument`."""
    if name not in MODELS.names() and expanded(name).is_dir():
        name = f"{_family_of(expanded(name))}:{name}"
    family, colon, value = name.partition(":")
    if not colon or family not in MODELS.names():
        own = colon and family not in MODELS.gone
        return (import_from_here(name) if own else MODELS.load(name)), options
    found = MODELS.load(family)
    argument = getattr(found, "argument", None)
    if not argument:
        raise UsageError(f"model {family!r} takes nothing after a colon; drop {colon + value!r}")
    if argument in options:
        raise UsageError(f"model {name!r}: model.options.{argument} is set as well; drop one")
    return found, {**options, argument: value}


def _family_of(folder: Path) -> str:
    """Return the family of models that can load a folder."""
    if (folder / "modules.json").exists() or (
        folder / "config_sentence_transformers.json"
    ).exists():
        return "sentence-transformers"
    if any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx")):
        return "onnx"
    raise UsageError(
        f"{folder} is not a known model: it has neither modules.json (sentence-transformers) nor "
        "an .onnx file; check the path"
    )


def import_from_here(target: str) -> Any:
    """Import a user's attribute; its module may lie in the current folder."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return load_attribute(target)


def constructed(what: str, make: Callable[[], Any]) -> Any:
    """Return the object that `make` loads; `what` names it in messages.

    Raises
    ------
    UsageError
        If it cannot be made.
    StorageError
        If it would have to be downloaded without a network.
    """
    try:
        return make()
    except TypeError as error:
        raise UsageError(f"{what} cannot be made with these options: {error}") from error
    except (MineError, MemoryError):
        raise
    except Exception as error:  # a user's code may raise any error
        if isinstance(error, OSError) and "couldn't connect to" in str(error):
            raise StorageError(
                f"{what}: no network, and it was not downloaded before; check the network, or give "
                "a folder of this machine"
            ) from error
        raise UsageError(f"{what} cannot be made: {error_words(error)}; correct it") from error


def _build(name: str, found: Any, options: Mapping[str, Any]) -> Model:
    if inspect.isclass(found):
        found = constructed(f"model {name!r}", partial(found, **options))
    elif options:
        raise UsageError(f"model {name!r} is not a class: model.options cannot be given to it")
    if isinstance(found, Model):
        return found
    for call in (getattr(found, "embed", None), getattr(found, "encode", None), found):
        if callable(call):
            return _Callable(call)
    raise UsageError(
        f"model {name!r} is {found!r}: it must be a function from a batch to vectors, "
        "or have a method `embed` or `encode`"
    )
