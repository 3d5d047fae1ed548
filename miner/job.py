"""The job file as frozen dataclasses: parsing, overrides, checks."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from miner.distance import Metric
from miner.errors import UsageError
from miner.fields import built, known
from miner.hardness import Mined

__all__ = [
    "CacheJob",
    "DatasetJob",
    "EngineJob",
    "IndexJob",
    "Job",
    "MiningJob",
    "ModelJob",
    "OutputJob",
    "SelectJob",
    "load_job",
    "parse_bytes",
    "parse_job",
]


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
    """The FAISS index over the stored embeddings."""

    factory: str = "Flat"
    save: bool = False


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
    gaps: int = 1000

    @property
    def normalized(self) -> bool:
        """Whether embeddings are scaled to unit length: by default, unless the metric is dot."""
        return self.metric != "dot" if self.normalize is None else self.normalize


@dataclass(frozen=True, slots=True)
class SelectJob:
    """Which of the semi-hard and hard triplets are written. 0 means no cap but in max_triplets.

    First come the filters (`classes` to `ranks`; `miner.strategies.filters`), then the strategy
    with its `options`, then the caps. With `suspects`, what a positive-aware filter drops is kept.
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
    """Where the run goes."""

    path: str = "mined"
    content: bool = True


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
class Job:
    """A whole job. `facts` is its canonical form, `identity` what of it changes bytes."""

    dataset: DatasetJob = field(default_factory=DatasetJob)
    model: ModelJob = field(default_factory=ModelJob)
    index: IndexJob = field(default_factory=IndexJob)
    mining: MiningJob = field(default_factory=MiningJob)
    select: SelectJob = field(default_factory=SelectJob)
    output: OutputJob = field(default_factory=OutputJob)
    engine: EngineJob = field(default_factory=EngineJob)
    cache: CacheJob = field(default_factory=CacheJob)

    @property
    def cache_folder(self) -> Path:
        """Where vectors are kept: by the job, by MINE_CACHE, or beside the runs."""
        named = self.cache.path or os.environ.get("MINE_CACHE")
        return Path(named).expanduser() if named else Path(self.output.path) / ".cache"

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return the job as plain sections and keys, as the manifest shows it."""
        facts = dataclasses.asdict(self)
        for keys in facts.values():
            keys.update({k: list(v) for k, v in keys.items() if isinstance(v, tuple)})
        return facts

    def identity(self) -> dict[str, Any]:
        """Return the part of the job that decides the bytes of a run.

        Left out are the data set and the model, which their checksums and resolved columns stand
        for, and what only decides how fast and where: engine, workers, memory, batch size, output
        folder, cache.
        """
        return {
            "index": {"save": self.index.save},
            "mining": {
                "margin": self.mining.margin,
                "metric": self.mining.metric,
                "normalize": self.mining.normalized,
                "loss": self.mining.loss,
                "hubs": self.mining.hubs,
                "confusions": self.mining.confusions,
                "neighbours": self.mining.neighbours,
                "gaps": self.mining.gaps,
            },
            "select": self.select.identity(),
        }


SECTIONS: dict[str, Any] = typing.get_type_hints(Job)
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6}
_UNITS["GB"] = 10**9
_MOST_PATIENCE = 1e9
_MOST_MARGIN = 1e100
"""Beyond every distance of float32 vectors; its square is still a float64."""


def parse_bytes(text: str, key: str = "mining.memory", *, zero: bool = False) -> int:
    """Turn ``"512MiB"`` or ``"2GB"`` into bytes; `UsageError` that names the key otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2] not in _UNITS:
        raise UsageError(f"{key} = {text!r} is not a size such as 512MiB or 2GiB")
    size = int(float(match[1]) * _UNITS[match[2]])
    if not size and not zero:
        raise UsageError(f"{key} = {text!r} is nothing; give a size such as 512MiB")
    return size


def load_job(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Job:
    """Read a job file and apply overrides (``"section.key": value``).

    Raises
    ------
    UsageError
        When the file is missing or is not TOML, or a key or value cannot be followed.
    """
    try:
        sections = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no job file {path}; `mine init DATA` writes one") from None
    except OSError as error:
        raise UsageError(
            f"cannot read the job file {path}: {error.strerror}; name a TOML file"
        ) from error
    except ValueError as error:
        data = "" if Path(path).suffix == ".toml" else f"; if it is data, use --data {path}"
        raise UsageError(f"{path} is not valid TOML: {error}; correct it{data}") from error
    return parse_job(sections, overrides or {}, where=str(path))


def parse_job(
    sections: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, where: str = "job"
) -> Job:
    """Build a checked job from nested mappings and dotted overrides."""
    merged: dict[str, dict[str, Any]] = {}
    for name, keys in sections.items():
        known(name, SECTIONS, f"{where}: unknown section")
        if not isinstance(keys, Mapping):
            raise UsageError(f"{where}: [{name}] must be a section (a table), not {keys!r}")
        merged[name] = dict(keys)
    for dotted, value in (overrides or {}).items():
        section, dot, key = dotted.partition(".")
        if not dot:
            raise UsageError(f"{dotted!r} is not of the form section.key, as in mining.margin")
        known(section, SECTIONS, "unknown section")
        _override(merged.setdefault(section, {}), section, key, value)
    job = Job(**{name: built(SECTIONS[name], name, keys, where) for name, keys in merged.items()})
    _check(job)
    return job


def _override(keys: dict[str, Any], section: str, key: str, value: Any) -> None:
    """Set one key; ``model.options.KEY`` reaches into the options of the model or strategy."""
    outer, dot, inner = key.partition(".")
    if dot and (section, outer) in (("model", "options"), ("select", "options")):
        options = keys.get("options", {})
        if not isinstance(options, Mapping):
            raise UsageError(f"{section}.options = {options!r} must be a table")
        keys["options"] = {**options, inner: value}
    else:
        keys[key] = value


def _check(job: Job) -> None:
    margin = job.mining.margin
    if not 0 < margin <= _MOST_MARGIN:  # not a number is refused too
        raise UsageError(
            f"mining.margin = {margin} must be a number above 0 (and at most {_MOST_MARGIN:g}), "
            "such as 0.2"
        )
    parse_bytes(job.mining.memory)
    parse_bytes(job.cache.max_size, "cache.max_size")
    counts = {
        "mining.hubs": job.mining.hubs,
        "mining.confusions": job.mining.confusions,
        "mining.neighbours": job.mining.neighbours,
        "mining.gaps": job.mining.gaps,
        "select.max_triplets": job.select.max_triplets,
        "select.per_pair": job.select.per_pair,
        "select.per_anchor": job.select.per_anchor,
        "select.per_negative": job.select.per_negative,
        "select.skip_nearest": job.select.skip_nearest,
        "select.seed": job.select.seed,
        "engine.workers": job.engine.workers,
    }
    for key, value in counts.items():
        if value < 0:
            raise UsageError(f"{key} = {value} must be 0 or more")
    if not 0 < job.engine.patience < _MOST_PATIENCE:
        raise UsageError(f"engine.patience = {job.engine.patience} must be seconds, such as 30")
    if job.model.batch_size < 1:
        raise UsageError(f"model.batch_size = {job.model.batch_size} must be 1 or more")
    if job.mining.metric == "dot" and job.mining.normalize:
        raise UsageError("metric dot is never normalised; use cosine, or drop --normalize")
    _check_dataset(job.dataset)


def _check_dataset(dataset: DatasetJob) -> None:
    pairs = {"queries": dataset.queries, "corpus": dataset.corpus, "links": dataset.links}
    given = [name for name, value in pairs.items() if value]
    if dataset.path:
        if dataset.queries or dataset.corpus:
            raise UsageError("dataset.path and dataset.queries/corpus exclude each other; drop one")
        if bool(dataset.pair_anchor) != bool(dataset.pair_positive):
            raise UsageError("a table of pairs needs pair_anchor and pair_positive; set both")
    elif not given:
        raise UsageError("no data: set dataset.path (or --data PATH), or queries, corpus and links")
    elif len(given) < 3:
        missing = ", ".join(f"dataset.{name}" for name in pairs if name not in given)
        raise UsageError(f"pairs need queries, corpus and links: {missing} is missing")
