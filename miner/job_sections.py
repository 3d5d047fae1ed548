"""The sections of the job file as frozen dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from miner.triplets.distance import Metric, scales
from miner.triplets.hardness import MinedClass

__all__ = [
    "CacheJob",
    "CandidatesJob",
    "DatasetJob",
    "EngineJob",
    "GatesJob",
    "IndexJob",
    "MiningJob",
    "ModelJob",
    "OutputJob",
    "SelectJob",
    "TeacherJob",
]

Columns = str | tuple[str, ...] | None
"""A column, or several."""
OnError = Literal["stop", "skip"]
JudgedBelow = Literal["negative", "ignore", "prefer"]
SameText = Literal["exact", "folded"]
Activation = Literal["identity", "sigmoid"]
Rejected = Literal["drop", "suspects", "promote"]


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """The data: labelled items or a table of pairs (`path`), or `queries`, `corpus` and `links`."""

    path: str | None = None
    queries: str | None = None
    corpus: str | None = None
    links: str | None = None
    id: str | None = None
    content: str | None = None
    label: str | None = None
    group: Columns = None
    positives_across: Columns = None
    negatives_within: Columns = None
    before: str | None = None
    negative_only: tuple[str, ...] = ()
    link_query: str | None = None
    link_corpus: str | None = None
    link_score: str | None = None
    min_relevance: float | None = None
    judged_below: JudgedBelow = "negative"
    pair_anchor: str | None = None
    pair_positive: str | None = None
    pair_score: str | None = None
    pair_negatives: tuple[str, ...] | None = None
    where: str | None = None
    anchors: str | None = None
    corrections: str | None = None
    same_id: bool = False
    same_text: SameText = "exact"
    on_error: OnError = "stop"
    separator: str | None = None
    encoding: str | None = None

    def columns(self, key: str) -> tuple[str, ...]:
        """Return the columns that a key names: none, one or several."""
        named: Columns = getattr(self, key)
        return (named,) if isinstance(named, str) else named or ()

    @property
    def paths(self) -> dict[str, str]:
        """The paths that are set, by key."""
        names = ("path", "queries", "corpus", "links", "corrections")
        every = {name: getattr(self, name) for name in names}
        return {name: path for name, path in every.items() if path}


@dataclass(frozen=True, slots=True)
class ModelJob:
    """The model that embeds the content; `options` are passed to the model."""

    name: str | None = None
    batch_size: int = 256
    prompt: str = ""
    query_prompt: str | None = None
    document_prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def prompts(self, sides: int) -> tuple[str, ...]:
        """Return the prefixes of the texts: one for items, or two for queries and documents."""
        if sides == 1:
            return (self.prompt,)
        given = (self.query_prompt, self.document_prompt)
        return tuple(self.prompt if prompt is None else prompt for prompt in given)


@dataclass(frozen=True, slots=True)
class IndexJob:
    """The FAISS index over the stored embeddings.

    All keys except `factory` and `save` apply to approximate indexes only. Such an index proposes
    `candidates` negatives for each anchor. Its recall is measured on `audit` anchors and should
    reach `min_recall`. ``auto`` is exact if exact mining takes at most `budget_minutes`.
    """

    factory: str = "Flat"
    save: bool = False
    candidates: int = 100
    min_recall: float = 0.95
    audit: int = 400
    budget_minutes: float = 60.0

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide the bytes of a run."""
        if self.factory == "Flat":
            return {"save": self.save}
        facts = {"save": self.save, "candidates": self.candidates, "aim": self.aim}
        return facts | ({"budget": self.budget_minutes} if self.factory == "auto" else {})

    @property
    def aim(self) -> float:
        """The share of a sample's nearest rows that the search is tuned to find.

        It does not decrease with `min_recall` below 0.95, so that a run that missed its gate can be
        resumed with a lower one.
        """
        return (1 + max(0.95, self.min_recall)) / 2


@dataclass(frozen=True, slots=True)
class MiningJob:
    """The definition of the classes, the statistics, and the memory limit of exact mining."""

    margin: float = 0.2
    metric: Metric = "euclidean"
    normalize: bool | None = None
    memory: str = "512MiB"
    loss: bool = True
    hubs: int = 1000
    confusions: int = 100_000
    neighbours: int = 10
    gaps: int = 100_000

    @property
    def normalized(self) -> bool:
        """Whether embeddings are scaled to unit length; the default is True, except for dot."""
        return scales(self.metric, self.normalize)

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide the bytes of a run: all except `memory`."""
        facts = dataclasses.asdict(self) | {"normalize": self.normalized}
        del facts["memory"]
        return facts

    @property
    def classes_alone(self) -> MiningJob:
        """The same options without the statistics tables."""
        return dataclasses.replace(self, hubs=0, confusions=0, neighbours=0, gaps=0)


@dataclass(frozen=True, slots=True)
class SelectJob:
    """Which of the semi-hard and hard triplets are written.

    The filters (`classes` to `ranks`; `miner.selection.filters`) are applied first, then the
    strategy with its `options`, then the caps. A cap of 0 means no cap, except `max_triplets`,
    where 0 writes nothing. With `suspects`, the triplets that a positive-aware filter drops are
    written to a folder of their own. With `denoise`, rows whose labels are likely wrong
    (``label_noise.parquet``) are left out.
    """

    strategy: str = "all"
    max_triplets: int = 1_000_000
    per_pair: int = 0
    per_anchor: int = 0
    per_negative: int = 0
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    classes: tuple[MinedClass, ...] = ("hard", "semi_hard")
    absolute_margin: float | None = None
    relative_margin: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    skip_nearest: int = 0
    ranks: tuple[int, ...] | None = None
    suspects: bool = False
    denoise: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide the bytes of a run.

        Keys with their default value are left out, except the oldest ones, so that a key added by a
        newer version does not change the fingerprint of a job that does not use it.
        """
        plain = {one.name: one.default for one in dataclasses.fields(self)} | {"options": {}}
        always = {"strategy", "max_triplets", "per_pair", "per_anchor", "seed"}
        facts = dataclasses.asdict(self) | {"classes": sorted(set(self.classes))}
        plain["classes"] = ["hard", "semi_hard"]
        return {k: v for k, v in facts.items() if k in always or v != plain[k]}


@dataclass(frozen=True, slots=True)
class CandidatesJob:
    """Which retrievers propose the negatives that are drawn; without `runs` all rows are negatives.

    A run is a file of ranked documents, or ``bm25`` for the built-in retriever. Of each run the
    first `depth` documents of a query are candidates. The nearest negatives by the job's own model
    join them, `own` for each anchor. The census does not depend on candidates.
    """

    runs: tuple[str, ...] = ()
    depth: int = 100
    own: int = 0

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide the bytes of a run; the checksums of `runs` are added."""
        return {"depth": self.depth, "own": self.own}


@dataclass(frozen=True, slots=True)
class TeacherJob:
    """A second model that scores the triplets that were drawn, and decides which are written.

    A triplet is rejected if the score of its (anchor, negative) is above `max_score`, or above the
    score of its (anchor, positive) less `absolute_margin`, or less the share `relative_margin` of
    it. For each triplet, the next `spares` negatives by distance are drawn and scored too: one of
    them takes the place of a rejected one. Of a model with logits, `activation` says what is
    compared.
    """

    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 256
    prompt: str = ""
    query_prompt: str | None = None
    document_prompt: str | None = None
    spares: int = 2
    activation: Activation | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    rejected: Rejected = "drop"

    @property
    def embedding(self) -> ModelJob:
        """The keys of a teacher that is an embedding model."""
        names = [one.name for one in dataclasses.fields(ModelJob) if one.name != "name"]
        return ModelJob(self.model, **{name: getattr(self, name) for name in names})

    def draws(self) -> dict[str, Any]:
        """Return the keys that decide what is drawn and scored, except for the model's weights."""
        return {"spares": self.spares}

    def decides(self) -> dict[str, Any]:
        """Return the keys that decide what is rejected, and what happens to it."""
        keys = ("activation", "absolute_margin", "relative_margin", "max_score", "rejected")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True, slots=True)
class OutputJob:
    """The output folder, and whether shards contain the content and the run has a report."""

    path: str = "mined"
    content: bool = True
    report: bool = True


@dataclass(frozen=True, slots=True)
class EngineJob:
    """How the units are distributed over workers; does not change the output.

    `patience` is the number of seconds that `dask` waits if its scheduler or all workers are lost.
    `device` is what counts: a GPU, or the CPU.
    """

    name: str = "threads"
    workers: int = 0
    device: str = "auto"
    address: str | None = None
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class CacheJob:
    """The folder of cached vectors, and the largest size of the cache and the stores."""

    path: str | None = None
    max_size: str = "20GiB"


@dataclass(frozen=True, slots=True)
class GatesJob:
    """Conditions for a run to become the latest one; they do not change the output.

    `min_triplets` is compared with the triplets found in the classes that the job writes,
    `max_hard_share` with the share of hard triplets among all valid ones, and `min_rows` with the
    rows written (unless the job only counts). `min_recall` is the least recall of an approximate
    run; None means `IndexJob.min_recall`.
    """

    min_triplets: int = 0
    min_rows: int = 1
    max_hard_share: float = 1.0
    min_recall: float | None = None
