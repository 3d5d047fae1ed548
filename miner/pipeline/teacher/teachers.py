"""The two kinds of teachers: models that score pairs of texts, and embedding models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from miner.census.device.devices import model_device
from miner.census.measure import Vectors
from miner.datasets.content import content_digests
from miner.datasets.source import Source
from miner.embedding.batches import Embedder, embed_missing
from miner.embedding.build import prepare_store
from miner.embedding.cache import Digests, VectorCache, open_generation
from miner.embedding.model_identity import CANARY_ROWS, Identity, identify
from miner.embedding.models.base import LoadedModel
from miner.embedding.models.load import load_model
from miner.embedding.models.pairs.base import PairModel, joined_pair
from miner.embedding.models.pairs.load import load_pair_model
from miner.embedding.recipe import EmbeddingRecipe, StoreKey
from miner.embedding.store import Store
from miner.errors import StorageError, UsageError
from miner.formatting import counted
from miner.job import Job
from miner.job_sections import Activation
from miner.pipeline.teacher.pairs import Pairs, parted
from miner.progress import Progress, warn_damaged
from miner.runs.staging import Staging
from miner.selection.teacher_rules import TeacherRules
from miner.storage.arrays import load_array, save_array
from miner.storage.files import sha256_file
from miner.triplets.types import Float32, Rows

__all__ = ["Teacher", "open_teacher"]

_VERSION = 1
_CHUNK = 1 << 14
_REPAIRS = 3


class Teacher(Protocol):
    """A model that scores pairs of an anchor and a row."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the scores, before the activation."""

    @property
    def facts(self) -> dict[str, Any]:
        """``id``, ``weights`` and ``options``, for the manifest."""

    @property
    def activation(self) -> Activation | None:
        """The activation that turns the scores into those that are compared and written."""

    def score(
        self, pairs: Pairs, store: Store, staging: Staging, progress: Progress
    ) -> tuple[Float32, int]:
        """Return the score of each pair, and how many were computed now: pairs, or vectors."""


def open_teacher(job: Job, source: Source, *, texts: bool, keep: bool) -> Teacher | None:
    """Load the teacher of a job and identify it; None if the job has none.

    Parameters
    ----------
    job : Job
    source : Source
    texts : bool
        Whether the store has the texts.
    keep : bool
        As for `miner.embedding.model_identity.identify`.

    Raises
    ------
    UsageError
        If the teacher cannot be used for these data, or has logits and the job no activation.
    """
    rules, asked = TeacherRules.from_job(job.teacher), job.teacher
    if asked.model is None:
        return None
    if asked.rejected == "suspects" and job.select.suspects:
        raise UsageError(
            "select.suspects and teacher.rejected = 'suspects' both write to suspects/, and the "
            "reasons could not be seen there; drop one"
        )
    model = load_pair_model(asked.model, asked.options, model_device(job.engine.device))
    if model is None:
        return _vector_teacher(job, source, rules, keep=keep)
    given = [key for key, text in _prompts(job).items() if text]
    if given:
        raise UsageError(f"teacher.{given[0]} is for embedding models; drop it")
    if not texts:
        raise UsageError(
            f"teacher.model = {asked.model!r} reads texts; it needs text and output.content = true"
        )
    scorer = model.model
    assert isinstance(scorer, PairModel)
    if scorer.logits and rules.any and asked.activation is None:
        raise UsageError(
            f"the scores of teacher.model = {asked.model!r} are logits, on which a threshold has "
            "no scale; set teacher.activation = 'sigmoid', or 'identity' to compare logits"
        )
    cache, activation = job.cache_folder, asked.activation or scorer.activation
    identity = identify(model, _sample(source), "item", "", cache, keep=keep)
    known: Activation | None = "sigmoid" if activation == "sigmoid" else None
    if known:
        rules.check_range(0, 1)
    return _PairTeacher(model, identity, cache, asked.batch_size, known)


def _prompts(job: Job) -> dict[str, str | None]:
    return {key: getattr(job.teacher, key) for key in ("prompt", "query_prompt", "document_prompt")}


def _sample(source: Source) -> list[str]:
    """Return a few pairs, which identify a model that cannot identify its weights."""
    anchors, rows = (side.sample(CANARY_ROWS)[1] for side in (source.sides[0], source.sides[-1]))
    return [
        joined_pair(str(a), str(b)) for a, b in zip(anchors, reversed(list(rows)), strict=False)
    ]


def _vector_teacher(job: Job, source: Source, rules: TeacherRules, *, keep: bool) -> Teacher:
    asked = job.teacher
    if asked.activation is not None:
        raise UsageError(
            "teacher.activation is for models that score pairs; the scores of an embedding model "
            "are cosines, drop it"
        )
    rules.check_range(-1, 1)
    device = model_device(job.engine.device)
    model = load_model(asked.model, source.kind, asked.options, device)
    prompts = asked.embedding.prompts(len(source.sides))
    if any(prompts) and source.kind != "text":
        raise UsageError(f"teacher.prompt is for texts; the content column holds {source.kind}")
    recipe = EmbeddingRecipe(
        source, model, prompts, job.cache_folder, asked.batch_size, normalize=False, texts=False
    )
    return _VectorTeacher(recipe, StoreKey.of(recipe, keep=keep))


@dataclass(frozen=True, slots=True)
class _PairTexts:
    """The texts of pairs, as the content of a table."""

    pairs: Pairs
    store: Store
    kind: Literal["text"] = "text"

    def values(self, rows: Rows) -> Iterator[list[str]]:
        """Yield the pairs with the given numbers as texts."""
        for start in range(0, len(rows), _CHUNK):
            own, other = parted(self.pairs[rows[start : start + _CHUNK]])
            anchors = self._texts(0, own)
            others = self._texts(self.store.row_side, other)
            yield list(map(joined_pair, anchors, others))

    def _texts(self, side: int, rows: Rows) -> list[str]:
        column = self.store.texts(side)
        if column is None:
            raise StorageError(f"{self.store.folder} has lost its texts; run with --force")
        texts: list[str] = column.take(rows).to_pylist()
        return texts


@dataclass(frozen=True, slots=True)
class _PairTeacher:
    """A model that scores pairs of texts; the scores are cached by the texts."""

    model: LoadedModel
    known: Identity
    cache: Path
    batch_size: int
    activation: Activation | None

    @property
    def identity(self) -> dict[str, Any]:
        return {"family": self.known.family, "weights": self.known.facts["weights"]}

    @property
    def facts(self) -> dict[str, Any]:
        return self.known.facts

    def score(
        self, pairs: Pairs, store: Store, staging: Staging, progress: Progress
    ) -> tuple[Float32, int]:
        side = _PairTexts(pairs, store)
        every = np.arange(len(pairs))
        digests = np.concatenate(
            [np.empty(0, "V16"), *(content_digests(texts) for texts in side.values(every))]
        )
        embedder = Embedder(self.model, "the teacher's pairs", "item", "", self.batch_size, 1)
        facts = {"version": _VERSION, "kind": "pairs", "model": self.identity}
        scored = 0
        with open_generation(self.cache, facts, self.model.name) as generation:
            todo = _missing(staging, digests, generation)
            for attempt in range(_REPAIRS):

                def done(rows: int, total: int = len(todo)) -> None:
                    progress("teacher", rows, total)

                scored += embed_missing(
                    embedder,
                    side,
                    generation,
                    todo,
                    digests[todo],
                    done,
                    probe=self.known.probe,
                    again=attempt > 0,
                    by_length=False,
                )
                generation.refresh()
                generation.dim = generation.dim or 1
                scores, whole = generation.read(digests, generation.find(digests))
                todo = np.flatnonzero(~whole)
                if not len(todo):
                    return scores[:, 0].astype(np.float32), scored
                warn_damaged(
                    f"{generation.folder}: the scores of {counted(len(todo), 'pair')} are damaged; "
                    "they are computed again"
                )
        raise StorageError(f"{generation.folder}: scores cannot be read back; remove the folder")


def _missing(staging: Staging, digests: Digests, generation: VectorCache) -> Rows:
    """Return the first pair of each content without a score; of a resumed run, the same ones.

    Their batches must not depend on where a run was killed, because models round differently in
    other batches.
    """
    path = staging.work / "teacher-todo.npy"
    if staging.recorded("teacher") is not None:
        kept: Rows = np.array(load_array(path))
        return kept
    _, first = np.unique(digests, return_index=True)
    first.sort()
    todo: Rows = first[generation.find(digests[first])[:, 0] < 0]
    save_array(path, todo)
    staging.record("teacher", {"files": {f"work/{path.name}": sha256_file(path)}})
    return todo


@dataclass(frozen=True, slots=True)
class _VectorTeacher:
    """An embedding model: the score of a pair is the cosine of its vectors."""

    recipe: EmbeddingRecipe
    key: StoreKey
    activation: Activation | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.key.facts["model"], "prompts": list(self.recipe.prompts)}

    @property
    def facts(self) -> dict[str, Any]:
        return self.key.identity.facts

    def score(
        self, pairs: Pairs, store: Store, staging: Staging, progress: Progress
    ) -> tuple[Float32, int]:
        def renamed(stage: str, done: int, total: int) -> None:
            progress(f"teacher: {stage}", done, total)

        own, facts = prepare_store(store.folder.parent, self.key, self.recipe, renamed)
        if own.facts["rows"] != store.facts["rows"]:
            raise StorageError(f"{own.folder} has other rows than {store.folder}; remove both")
        rows = own.vectors(own.row_side)
        vectors = Vectors(rows if own.row_side == 0 else own.vectors(0), rows)
        cosines = 1 - vectors.measure("cosine", *parted(pairs))
        return cosines.astype(np.float32), int(facts["embedded"])
