"""The interface of models, with one required method, `embed`, and the registry of models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from miner.errors import DataError, MineError
from miner.registry import Registry
from miner.storage.files import sha256_file
from miner.storage.json_files import digest
from miner.storage.os_errors import lacks_memory

__all__ = ["DEFAULTS", "MODELS", "LoadedModel", "Model", "error_words"]

Batch = Sequence[str] | NDArray[np.floating] | Sequence[Any]
"""Texts, or an array with the numbers of an item in each row, or decoded ``PIL.Image`` in RGB."""

Role = Literal["item", "query", "document"]
"""The role of a row: a labelled item, or a query or a document of pairs."""

MODELS = Registry("model")
MODELS.register(
    "precomputed",
    "miner.embedding.models.precomputed:Precomputed",
    "the content is the vectors",
)
MODELS.register(
    "pixels",
    "miner.embedding.models.pixels:Pixels",
    "images as the vectors of their pixels",
)
MODELS.register(
    "wordllama",
    "miner.embedding.models.wordllama:WordLlama",
    "text: static, 256 dims, no download",
    needs=("wordllama", "tokenizers", "safetensors"),
    extra="text",
)
MODELS.register(
    "sentence-transformers",
    "miner.embedding.models.sentence_transformers:SentenceTransformers",
    "text: a folder, or a name on the hub",
    needs=("sentence_transformers",),
    extra="sentence-transformers",
    argument="path",
)
MODELS.register(
    "onnx",
    "miner.embedding.models.onnx:Onnx",
    "text: an encoder exported to ONNX",
    needs=("onnxruntime", "tokenizers"),
    extra="onnx",
    argument="path",
)
MODELS.register(
    "torch",
    "miner.embedding.models.torch_module:TorchModule",
    "your own torch.nn.Module",
    needs=("torch", "safetensors", "PIL"),
    extra="torch",
    argument="target",
)
MODELS.register(
    "timm",
    "miner.embedding.models.timm:Timm",
    "images: a backbone by name",
    needs=("timm", "torch", "PIL"),
    extra="timm",
    argument="name",
)
MODELS.gone["torchvision"] = (
    "use timm:NAME, such as timm:resnet18, with model.options.weights = a file, or "
    "model.options.pretrained = true"
)
MODELS.gone["efficientnet-lite0"] = (
    "use timm:tf_efficientnet_lite0 with model.options.weights = a file, or "
    "model.options.pretrained = true"
)
MODELS.register(
    "http",
    "miner.embedding.models.http:Http",
    "text: an endpoint in the OpenAI shape",
    needs=("requests",),
    extra="http",
    argument="url",
)

DEFAULTS = {"text": "wordllama", "image": "pixels", "vectors": "precomputed"}
"""The default model of each kind of content."""


class Model(ABC):
    """Turns content into vectors.

    Your own model must define `embed`. `weights` should identify the weights (a hash of their
    files); without it, the model is identified by the vectors of a few rows.

    Attributes
    ----------
    kinds : frozenset of str
        The kinds of content that the model embeds.
    cached : bool
        Whether to cache vectors; False if computing them is as fast as reading them.
    by_role : bool
        Whether a query and a document with the same text and prompt have different vectors.
        `embed_as` then implements the difference.
    drift : float
        The greatest distance between vectors of one content from two calls with the same weights,
        relative to their length: rounding for a program on this machine, more for a remote
        service. Used only for models that cannot identify their weights. Such a model is probed
        when a run begins and, with a tolerance of at least 0.0001, while it embeds; if the vectors
        then differ more, the run ends.
    parallel : int
        Batches that `embed_parallel` embeds at the same time.
    placement : frozenset of str
        Options that do not change the vectors, and are in no key.
    argument : str or None
        The option that ``NAME:VALUE`` sets, as in ``onnx:path/of/model``.
    cache_id : str or None
        The name of the class in the keys of the vector cache, kept when its module is renamed, so
        that cached vectors stay valid; None for the current module and class. Subclasses do not
        inherit it.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image", "vectors"})
    cached: ClassVar[bool] = True
    by_role: bool = False
    drift: float = 1e-6
    parallel: int = 1
    placement: ClassVar[frozenset[str]] = frozenset()
    argument: ClassVar[str | None] = None
    cache_id: ClassVar[str | None] = None

    @abstractmethod
    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed a batch.

        Parameters
        ----------
        batch : list of str, or ndarray of shape (b, values)
            Texts, or images or vectors with the numbers of an item in each row.

        Returns
        -------
        ndarray of shape (b, dim), float32
            Not normalised: the embedding store normalises once, in float64. A row must not depend
            on the other rows of its batch. float64 is accepted too and rounded once.
        """

    def embed_as(self, batch: Batch, role: Role, prompt: str) -> NDArray[np.floating]:
        """Embed a batch in a role; by default the prompt is put before each text.

        Parameters
        ----------
        batch : as for `embed`
        role : str
            ``item``, ``query`` or ``document``.
        prompt : str
            The job's prompt for each text; empty for no prompt, and always for images.

        Returns
        -------
        ndarray of shape (b, dim), float32
            As from `embed`.
        """
        return self.embed([prompt + text for text in batch] if prompt else batch)

    def embed_parallel(
        self, rows: Batch, role: Role, prompt: str, batch_size: int
    ) -> NDArray[np.floating]:
        """Embed at most `parallel` batches, each of `batch_size` rows but for the last one.

        Parameters
        ----------
        rows : sequence of str, of images, or ndarray
            The rows of the batches, one after the other.
        role, prompt : str
            As for `embed_as`.
        batch_size : int

        Returns
        -------
        ndarray of shape (rows, dim)
            Every row has the vector that `embed_as` gives in its batch.
        """
        return self.embed_as(rows, role, prompt)

    def close(self) -> None:
        """Release what the model holds apart from memory, such as processes; nothing by default."""
        return None

    def weights(self) -> str | None:
        """Return a string that identifies the weights; None if the model cannot identify them."""
        return None

    def facts(self) -> Mapping[str, Any] | None:
        """Return everything except the weights that decides the vectors, as JSON.

        None means all options. A family leaves out options that do not change the vectors
        (device, time limits, paths), and adds a version that is raised when a change of its code
        changes them.
        """
        return None


class _Done(Model):
    """Replaces a model that has been released."""

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Raise `RuntimeError`: the model has been released."""
        raise RuntimeError("the model was released after all rows were embedded")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to embed, with the name and the options of the job."""

    name: str
    model: Model
    options: Mapping[str, Any]

    def embed(
        self, batch: Batch, role: Role = "item", prompt: str = "", batch_size: int | None = None
    ) -> NDArray[np.floating]:
        """Embed a batch in a role and check the shape and the type of the vectors.

        With `batch_size`, up to `Model.parallel` batches of this many rows are embedded at once.

        Raises
        ------
        DataError
            If the model fails, or does not return one vector of floats for each row.
        MemoryError
            If the batch is too large for memory.
        """
        try:
            size = batch_size or len(batch)
            vectors = np.asarray(self.model.embed_parallel(batch, role, prompt, size))
        except (MineError, MemoryError):
            raise
        except Exception as error:  # a user's code may raise any error
            if lacks_memory(error):
                raise MemoryError(error_words(error)) from error
            raise DataError(
                f"model {self.name!r} failed: {error_words(error)}; correct it"
            ) from error
        if vectors.ndim != 2 or len(vectors) != len(batch) or vectors.dtype.kind != "f":
            raise DataError(
                f"model {self.name!r} returned an array of shape {vectors.shape} and type "
                f"{vectors.dtype} for a batch of {len(batch)} rows; it must be ({len(batch)}, dim) "
                "of floats"
            )
        return vectors

    def done(self) -> LoadedModel:
        """Return the model's name and options without the weights, to release their memory."""
        return LoadedModel(self.name, _Done(), self.options)

    def family(self) -> dict[str, Any]:
        """Return everything except the weights that decides the vectors, for cache keys."""
        facts = self.model.facts()
        if facts is None:
            return {"name": self.name, "options": dict(self.options)}
        kind = type(self.model)
        name = vars(kind).get("cache_id") or f"{kind.__module__}:{kind.__qualname__}"
        return {"class": name, "facts": dict(facts)}


def error_words(error: Exception) -> str:
    """Return the type and message of an error of foreign code, on one line."""
    return f"{type(error).__name__}: " + " ".join(str(error).split())[:300]


def weight_files(*files: Path) -> str:
    """Return a string that identifies weights by the checksums of their files."""
    return "files:" + digest([sha256_file(file) for file in files])
