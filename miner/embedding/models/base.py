"""The seam of the models: one method, `embed`, and how a model is found by name."""

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
"""Texts; or images and vectors as numbers in rows; or decoded images (``PIL.Image``, RGB)."""

Role = Literal["item", "query", "document"]
"""What a row is: a labelled item, or one of the two sides of pairs."""

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
    "a torch.nn.Module of your own",
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
"""The model of each kind of content when the job names none."""


class Model(ABC):
    """Turns content into vectors.

    A model of your own needs `embed`. `weights` should identify the weights (a hash of their
    files); without it the vectors of a few rows stand for them.

    Attributes
    ----------
    kinds : frozenset of str
        The kinds of content that it embeds.
    cached : bool
        Whether vectors are worth keeping; False where they cost no more than reading them.
    by_role : bool
        Whether a query and a document of the same text have different vectors, beside the
        prompts of the job. `embed_as` then says how.
    drift : float
        How far the vectors of the same weights may lie apart from one call to another, relative
        to their length: rounding for a program on this machine, more for a remote service. Only
        used for models that cannot identify their weights: such a model is probed when a run
        begins and, with 0.0001 at least, while it embeds; one that answers otherwise ends the run.
    argument : str or None
        The option that ``NAME:VALUE`` sets, as in ``onnx:path/of/model``.
    cache_id : str or None
        The class's name in the keys of the vector cache, where its module was renamed since
        vectors were cached under it; None for the module and class as they are. A subclass does
        not inherit it.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image", "vectors"})
    cached: ClassVar[bool] = True
    by_role: bool = False
    drift: float = 1e-6
    argument: ClassVar[str | None] = None
    cache_id: ClassVar[str | None] = None

    @abstractmethod
    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed a batch.

        Parameters
        ----------
        batch : list of str, or ndarray of shape (b, values)
            Texts, or images and vectors with their numbers in a row.

        Returns
        -------
        ndarray of shape (b, dim), float32
            Not normalised: that is done once, in float64, by the embedding store. A row must not
            depend on the other rows of its batch. float64 is taken as well and rounded once.
        """

    def embed_as(self, batch: Batch, role: Role, prompt: str) -> NDArray[np.floating]:
        """Embed a batch in its role; by default the prompt is put before each text.

        Parameters
        ----------
        batch : as for `embed`
        role : str
            ``item``, ``query`` or ``document``.
        prompt : str
            What the job wants before each text; empty for nothing, and always for images.

        Returns
        -------
        ndarray of shape (b, dim), float32
            As of `embed`.
        """
        return self.embed([prompt + text for text in batch] if prompt else batch)

    def weights(self) -> str | None:
        """Return what identifies the weights, or None if the model cannot say."""
        return None

    def facts(self) -> Mapping[str, Any] | None:
        """Return what beside the weights decides the vectors, as JSON; None for all options.

        A family leaves out what does not (device, time limits, where the files lie), and adds a
        number that is raised when its own code changes the vectors.
        """
        return None


class _Done(Model):
    """Stands for a model that is not asked again."""

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Say that it was."""
        raise RuntimeError("all is embedded, and the model is gone")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, ready, under the name that the job used."""

    name: str
    model: Model
    options: Mapping[str, Any]

    def embed(self, batch: Batch, role: Role = "item", prompt: str = "") -> NDArray[np.floating]:
        """Embed a batch in its role and check the shape of what came back.

        Raises
        ------
        DataError
            When the model did not return one vector of numbers a row.
        MemoryError
            When the batch was too large.
        """
        try:
            vectors = np.asarray(self.model.embed_as(batch, role, prompt))
        except (MineError, MemoryError):
            raise
        except Exception as error:  # the code of others: whatever it raises is theirs to mend
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
        """Return what is left when all is embedded: its name, without weights."""
        return LoadedModel(self.name, _Done(), self.options)

    def family(self) -> dict[str, Any]:
        """Return what beside its weights decides its vectors, the same for the same model."""
        facts = self.model.facts()
        if facts is None:
            return {"name": self.name, "options": dict(self.options)}
        kind = type(self.model)
        name = vars(kind).get("cache_id") or f"{kind.__module__}:{kind.__qualname__}"
        return {"class": name, "facts": dict(facts)}


def error_words(error: Exception) -> str:
    """Return what an error of the code of others says, in one line."""
    return f"{type(error).__name__}: " + " ".join(str(error).split())[:300]


def weight_files(*files: Path) -> str:
    """Identify weights by the checksums of their files."""
    return "files:" + digest([sha256_file(file) for file in files])
