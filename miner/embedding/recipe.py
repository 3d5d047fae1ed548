"""How a source becomes vectors, and the key of the store that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.datasets.source import Source
from miner.embedding.model_identity import CANARY_ROWS, Identity, identify
from miner.embedding.models.base import LoadedModel, Role
from miner.storage.files import sha256_file
from miner.storage.json_files import digest
from miner.storage.urls import url_name

__all__ = ["EmbeddingRecipe", "StoreKey"]

_VERSION = 6
_GENERATION_VERSION = {"text": 1, "image": 2, "vectors": 1}
"""The version of the cached vectors, by the kind of content."""


@dataclass(frozen=True, slots=True)
class EmbeddingRecipe:
    """How a source becomes vectors: the model, its prompts and options, and the cache.

    Attributes
    ----------
    prompts : tuple of str
        For each side of the source, the text that is put before each text.
    cache : Path
    batch_size : int
    normalize, texts : bool
        Whether stored rows are scaled to unit length; whether texts are kept for the shards.
    """

    source: Source
    model: LoadedModel
    prompts: tuple[str, ...]
    cache: Path
    batch_size: int
    normalize: bool
    texts: bool

    def role(self, side: int) -> Role:
        """Return the role of a side's rows."""
        if len(self.source.sides) == 1:
            return "item"
        return "document" if side else "query"

    def generation(self, side: int, identity: Identity) -> dict[str, Any]:
        """Return the facts that identify the generation of the cache for a side's rows."""
        return {
            "version": _GENERATION_VERSION[self.source.kind],
            "model": {**identity.family, "weights": identity.facts["weights"]},
            "kind": self.source.kind,
            "prompt": self.prompts[side],
            "role": self.role(side) if self.model.model.by_role else None,
        }


@dataclass(frozen=True, slots=True)
class StoreKey:
    """The inputs that determine a store, from which its name is derived.

    Attributes
    ----------
    files : list of dict
        Path, bytes and SHA-256 of the data's files.
    identity : Identity
        The identity of the model.
    facts : dict
        Everything that enters the digest; no paths.
    """

    files: list[dict[str, Any]]
    identity: Identity
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The store's folder name."""
        return digest(self.facts)[:24]

    @classmethod
    def of(cls, recipe: EmbeddingRecipe, *, keep: bool) -> StoreKey:
        """Compute the checksums of the data and identify the model; for `keep` see `identify`."""
        source = recipe.source
        files = [
            {"path": url_name(str(file)), "bytes": file.stat().st_size, "sha256": sha256_file(file)}
            for file in source.files
        ]
        corrected = sum(len(table.files) for table in source.corrections)
        _, sample = source.sides[0].sample(CANARY_ROWS)
        identity = identify(
            recipe.model, sample, recipe.role(0), recipe.prompts[0], recipe.cache, keep=keep
        )
        facts = {
            "version": _VERSION,
            "files": [file["sha256"] for file in files[: len(files) - corrected]],
            "roles": source.roles(),
            "links": source.rules.facts(),
            "model": identity.facts | {"family": identity.family},
            "prompts": list(recipe.prompts),
            "normalize": recipe.normalize,
            "texts": recipe.texts,
        }
        if corrected:
            facts["corrections"] = [file["sha256"] for file in files[-corrected:]]
        return cls(files, identity, facts)
