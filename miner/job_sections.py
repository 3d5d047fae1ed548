"""The sections of the job file as frozen dataclasses, built from plain values that are checked."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from miner.errors import UsageError, did_you_mean
from miner.triplets.distance import Metric, scales
from miner.triplets.hardness import Mined

__all__ = [
    "CacheJob",
    "DatasetJob",
    "EngineJob",
    "GatesJob",
    "IndexJob",
    "MiningJob",
    "ModelJob",
    "OutputJob",
    "SelectJob",
    "built",
    "known",
]

_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def known(name: str, names: Iterable[str], prefix: str) -> None:
    """Raise `UsageError` with the nearest of the known names when `name` is none of them."""
    if name not in names:
        raise UsageError(f"{prefix} {name!r}: {did_you_mean(name, names)}")


def built(kind: Any, section: str, keys: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from keys and values.

    Parameters
    ----------
    kind : type
        A dataclass.
    section : str
        What stands before a key in messages, such as ``mining``.
    keys : mapping
    where : str
        The file, for messages.

    Raises
    ------
    UsageError
        On an unknown key or a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in keys.items():
        if key not in hints:
            hint = did_you_mean(key, hints) if hints else "there are none; drop it"
            raise UsageError(f"{where}: unknown key {section}.{key}: {hint}")
        values[key] = _typed(f"{where}: {section}.{key}", value, hints[key])
    return kind(**values)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _typed(where: str, value: Any, hint: Any) -> Any:
    """Check a value against its field's type; integers pass for floats."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = dict.fromkeys(typing.get_args(hint))
        known(value if isinstance(value, str) else repr(value), choices, f"{where}: unknown value")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where} = {value!r} must be a list, such as {[value]!r}")
        return tuple(_typed(where, one, typing.get_args(hint)[0]) for one in value)
    plain = Mapping if origin is not None else hint
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        value = _float(value)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        wanted = _WORDS.get(plain.__name__, "a table")
        example = ", such as '512MiB'" if where.endswith(("mining.memory", "max_size")) else ""
        if plain is int and isinstance(value, float) and value.is_integer():
            example = f", such as {value:.0f}"
        raise UsageError(f"{where} = {value!r} must be {wanted}{example}")
    return value


OnError = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """What is mined: labelled items (`path`), a table of pairs, or `queries`, `corpus`, `links`."""

    path: str | None = None
    queries: str | None = None
    corpus: str | None = None
    links: str | None = None
    id: str | None = None
    content: str | None = None
    label: str | None = None
    group: str | None = None
    link_query: str | None = None
    link_corpus: str | None = None
    link_score: str | None = None
    pair_anchor: str | None = None
    pair_positive: str | None = None
    where: str | None = None
    anchors: str | None = None
    on_error: OnError = "stop"

    @property
    def paths(self) -> dict[str, str]:
        """The paths that are given, by their keys."""
        every = {name: getattr(self, name) for name in ("path", "queries", "corpus", "links")}
        return {name: path for name, path in every.items() if path}


@dataclass(frozen=True, slots=True)
class ModelJob:
    """What turns content into vectors; `options` are the model's own."""

    name: str | None = None
    batch_size: int = 256
    prompt: str = ""
    query_prompt: str | None = None
    document_prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def prompts(self, sides: int) -> tuple[str, ...]:
        """Return what is put before each text: of items (one side), of queries and documents."""
        if sides == 1:
            return (self.prompt,)
        given = (self.query_prompt, self.document_prompt)
        return tuple(self.prompt if prompt is None else prompt for prompt in given)


@dataclass(frozen=True, slots=True)
class IndexJob:
    """The FAISS index over the stored embeddings; all but the first two are of approximate ones.

    An index that is not exact nominates `candidates` negatives an anchor. On `audit` anchors it is
    held to `min_recall` of the triplets that there are. ``auto`` is exact while that takes no more
    than `budget_minutes`.
    """

    factory: str = "Flat"
    save: bool = False
    candidates: int = 100
    min_recall: float = 0.95
    audit: int = 400
    budget_minutes: float = 60.0

    def identity(self) -> dict[str, Any]:
        """Return what decides bytes."""
        if self.factory == "Flat":
            return {"save": self.save}
        facts = {"save": self.save, "candidates": self.candidates, "aim": self.aim}
        return facts | ({"budget": self.budget_minutes} if self.factory == "auto" else {})

    @property
    def aim(self) -> float:
        """What share of a sample's nearest rows the search is tuned to find.

        It does not fall with a lower floor, so that a run that missed its floor goes on under one.
        """
        return (1 + max(0.95, self.min_recall)) / 2


@dataclass(frozen=True, slots=True)
class MiningJob:
    """The definition of the classes, and the memory of the exact pass."""

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
        """Whether embeddings are scaled to unit length: by default, unless the metric is dot."""
        return scales(self.metric, self.normalize)

    def identity(self) -> dict[str, Any]:
        """Return what decides bytes: all but the memory."""
        facts = dataclasses.asdict(self) | {"normalize": self.normalized}
        del facts["memory"]
        return facts

    @property
    def classes_alone(self) -> MiningJob:
        """The same without the tables beside the census."""
        return dataclasses.replace(self, hubs=0, confusions=0, neighbours=0, gaps=0)


@dataclass(frozen=True, slots=True)
class SelectJob:
    """Which of the semi-hard and hard triplets are written. 0 means no cap but in max_triplets.

    First come the filters (`classes` to `ranks`; `miner.selection.filters`), then the strategy
    with its `options`, then the caps. With `suspects`, what a positive-aware filter drops is kept.
    With `denoise`, rows whose labels are likely wrong (``label_noise.parquet``) take no part.
    """

    strategy: str = "all"
    max_triplets: int = 1_000_000
    per_pair: int = 0
    per_anchor: int = 0
    per_negative: int = 0
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    classes: tuple[Mined, ...] = ("hard", "semi_hard")
    absolute_margin: float | None = None
    relative_margin: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    skip_nearest: int = 0
    ranks: tuple[int, ...] | None = None
    suspects: bool = False
    denoise: bool = False
    rescore: str | None = None
    rescore_max: float | None = None

    def identity(self) -> dict[str, Any]:
        """Return what decides bytes: the first keys, and of the later ones what is set.

        So a key that a newer version brings changes no fingerprint of a job that does not use it.
        """
        plain = {one.name: one.default for one in dataclasses.fields(self)} | {"options": {}}
        always = {"strategy", "max_triplets", "per_pair", "per_anchor", "seed"}
        facts = dataclasses.asdict(self) | {"classes": sorted(set(self.classes))}
        plain["classes"] = ["hard", "semi_hard"]
        return {k: v for k, v in facts.items() if k in always or v != plain[k]}


@dataclass(frozen=True, slots=True)
class OutputJob:
    """Where the run goes; `report` puts ``report.html`` beside its shards."""

    path: str = "mined"
    content: bool = True
    report: bool = True


@dataclass(frozen=True, slots=True)
class EngineJob:
    """How the units are spread; changes no byte of the output.

    `patience` is for how many seconds `dask` waits where its scheduler or all its workers are gone.
    """

    name: str = "threads"
    workers: int = 0
    address: str | None = None
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class CacheJob:
    """Where vectors are kept by content, and how much room they and the stores may take."""

    path: str | None = None
    max_size: str = "20GiB"


@dataclass(frozen=True, slots=True)
class GatesJob:
    """What a run must reach to become the latest one; changes no byte of the output.

    `min_triplets` is of the classes that the job writes, as they were found; `max_hard_share` is
    of all valid triplets. `min_rows` is of the rows that were written, unless the job only counts.
    `min_recall` is the floor of an approximate run; None leaves it to `IndexJob.min_recall`, what
    its search aims for.
    """

    min_triplets: int = 0
    min_rows: int = 1
    max_hard_share: float = 1.0
    min_recall: float | None = None
