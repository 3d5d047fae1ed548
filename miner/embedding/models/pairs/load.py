"""Find a teacher by name: a model that scores pairs, or else an embedding model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from miner.embedding.models.base import MODELS, LoadedModel, Model
from miner.embedding.models.load import constructed, import_from_here, placed
from miner.embedding.models.pairs.base import PairFunction, PairModel
from miner.errors import UsageError
from miner.registry import Registry
from miner.storage.urls import expanded

__all__ = ["PAIR_MODELS", "load_pair_model"]

PAIR_MODELS = Registry("teacher")
PAIR_MODELS.register(
    "cross-encoder",
    "miner.embedding.models.pairs.cross_encoder:CrossEncoderScores",
    "texts: a folder, or a name on the hub",
    needs=("sentence_transformers",),
    extra="sentence-transformers",
    argument="path",
)
PAIR_MODELS.register(
    "rerank",
    "miner.embedding.models.pairs.rerank:Reranker",
    "texts: a server of a reranker",
    needs=("requests",),
    extra="http",
    argument="url",
)


def load_pair_model(
    name: str, options: Mapping[str, Any], device: str | None = None
) -> LoadedModel | None:
    """Load a model that scores pairs; None if the name is that of an embedding model.

    Parameters
    ----------
    name : str
        ``cross-encoder:PATH``, ``http:URL`` that ends with ``/rerank``, or
        ``package.module:attribute`` of a function from a list of pairs to numbers.
    options : mapping
        Keyword arguments for the model's class.
    device : str, optional
        As for `miner.embedding.models.load.placed`.

    Raises
    ------
    UsageError
        If it does not exist or cannot be called.
    """
    family, colon, value = name.partition(":")
    if not name:
        raise UsageError("teacher.model is empty; name a model, or drop the key")
    if value.startswith("//"):
        raise UsageError(f"teacher.model = {name!r} is a URL alone; write http:{name}")
    if family == "http" and value.rstrip("/").endswith("/rerank"):
        family = "rerank"
    if family in PAIR_MODELS.names():
        return LoadedModel(name, _registered(name, family, value, options, device), options)
    if not colon or family in MODELS.names() or expanded(name).is_dir():
        return None
    found = import_from_here(name)
    if isinstance(found, Model) or (inspect.isclass(found) and issubclass(found, Model)):
        return None
    if not callable(found) or inspect.isclass(found):
        raise UsageError(f"teacher.model = {name!r} is not a function; name one")
    if options:
        raise UsageError(f"teacher.model = {name!r} is a function: it takes no teacher.options")
    return LoadedModel(name, PairFunction(name, found), options)


def _registered(
    name: str, family: str, value: str, options: Mapping[str, Any], device: str | None
) -> PairModel:
    if not value:
        raise UsageError(f"teacher.model = {name!r} names no model; write {family}:PATH")
    found = PAIR_MODELS.load(family)
    make = partial(found, value, **placed(found, options, device))
    model: PairModel = constructed(f"teacher.model = {name!r}", make)
    return model
