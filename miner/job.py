"""Read a job file, apply overrides and check it; `miner.job_sections` defines the sections."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miner.errors import UsageError
from miner.formatting import bytes_text, is_text
from miner.job_sections import (
    CacheJob,
    CandidatesJob,
    DatasetJob,
    EngineJob,
    GatesJob,
    IndexJob,
    MiningJob,
    ModelJob,
    OutputJob,
    SelectJob,
    TeacherJob,
)
from miner.registry import built, known
from miner.storage.urls import check_url, expanded, is_url, local_root
from miner.triplets.distance import widest_gap

__all__ = ["Job", "load_job", "parse_bytes", "parse_job"]


@dataclass(frozen=True, slots=True)
class Job:
    """A checked job: one attribute for each section of the job file."""

    dataset: DatasetJob = field(default_factory=DatasetJob)
    model: ModelJob = field(default_factory=ModelJob)
    index: IndexJob = field(default_factory=IndexJob)
    mining: MiningJob = field(default_factory=MiningJob)
    candidates: CandidatesJob = field(default_factory=CandidatesJob)
    select: SelectJob = field(default_factory=SelectJob)
    teacher: TeacherJob = field(default_factory=TeacherJob)
    output: OutputJob = field(default_factory=OutputJob)
    engine: EngineJob = field(default_factory=EngineJob)
    cache: CacheJob = field(default_factory=CacheJob)
    gates: GatesJob = field(default_factory=GatesJob)

    @property
    def cache_folder(self) -> Path:
        """The folder of cached vectors: ``cache.path``, MINE_CACHE, or ``.cache`` in the output."""
        named = self.cache.path or os.environ.get("MINE_CACHE")
        return expanded(named) if named else local_root(self.output.path) / ".cache"

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return the job as a dictionary of sections, as the manifest stores it."""
        facts = dataclasses.asdict(self)
        for keys in facts.values():
            keys.update({k: list(v) for k, v in keys.items() if isinstance(v, tuple)})
        return facts

    def identity(self) -> dict[str, Any]:
        """Return the part of the job that decides the bytes of a run.

        The data set and the model are left out because their checksums and the resolved columns
        identify them. Engine, workers, memory, batch size, output folder, cache and gates are left
        out because they do not change the result.
        """
        facts = {
            "index": self.index.identity(),
            "mining": self.mining.identity(),
            "select": self.select.identity(),
        }
        if self.teacher.model is not None:
            facts["teacher"] = self.teacher.draws() | self.teacher.decides()
        if self.candidates.runs:
            facts["candidates"] = self.candidates.identity()
        return facts


SECTIONS: dict[str, Any] = typing.get_type_hints(Job)
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6}
_UNITS["GB"] = 10**9
_MOST_JOB, _MOST_PARTS = 1 << 20, 32
"""Limits on the characters of a file and the parts of a key: parsing time is quadratic in both."""
_DEEP = re.compile(
    r"(?<![\w-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"
    rf"{{{_MOST_PARTS}}}"
)
_COUNTS = {
    "mining": ("hubs", "confusions", "neighbours", "gaps"),
    "candidates": ("own",),
    "select": ("max_triplets", "per_pair", "per_anchor", "per_negative", "skip_nearest", "seed"),
    "engine": ("workers",),
    "gates": ("min_triplets", "min_rows"),
}
"""Keys whose values must be 0 or more."""
_OPTIONS = (("model", "options"), ("select", "options"), ("teacher", "options"))
"""Keys that are tables of options."""
_MOST_PATIENCE = 1e9
_MOST_MARGIN = 1e100
"""Larger than every distance of float32 vectors; its square is still a finite float64."""


def parse_bytes(text: str, key: str = "mining.memory", *, zero: bool = False) -> int:
    """Convert a size such as ``"512MiB"`` or ``"2GB"`` to bytes.

    Parameters
    ----------
    text : str
        A number, optionally with a unit: B, KB, MB, GB, KiB, MiB, GiB.
    key : str
        The name of the key or option in error messages.
    zero : bool
        Whether 0 is allowed.

    Returns
    -------
    int

    Raises
    ------
    UsageError
        If `text` is not such a size, or is 0 and `zero` is False.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2] not in _UNITS:
        raise UsageError(f"{key} = {text!r} is not a size such as 512MiB or 2GiB")
    size = int(float(match[1]) * _UNITS[match[2]])
    if not size and not zero:
        raise UsageError(f"{key} = {text!r} must be above 0, such as 512MiB")
    return size


def load_job(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Job:
    """Read a job file and apply overrides (``"section.key": value``).

    Parameters
    ----------
    path : str or Path
        A TOML file.
    overrides : mapping, optional
        Values by ``section.key``; they override the values in the file.

    Returns
    -------
    Job

    Raises
    ------
    UsageError
        If the file is missing or is not TOML, or a key or value is not valid.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            text = file.read(_MOST_JOB + 1)
        if len(text) > _MOST_JOB:
            raise ValueError(f"it has more than {bytes_text(_MOST_JOB)}")
        if _DEEP.search(text):
            raise ValueError(f"it has a key of more than {_MOST_PARTS} parts")
        sections = tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(f"no job file {path}; `mine init DATA` writes one") from None
    except OSError as error:
        raise UsageError(
            f"cannot read the job file {path}: {error.strerror}; name a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        data = "" if Path(path).suffix == ".toml" else f"; if it is data, use --data {path}"
        raise UsageError(f"{path} is not UTF-8, as TOML is; save it as UTF-8{data}") from error
    except (ValueError, RecursionError) as error:
        data = "" if Path(path).suffix == ".toml" else f"; if it is data, use --data {path}"
        raise UsageError(f"{path} is not valid TOML: {error}; correct it{data}") from error
    return parse_job(sections, overrides or {}, where=str(path))


def parse_job(
    sections: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, where: str = "job"
) -> Job:
    """Build a checked job from nested mappings and dotted overrides.

    Parameters
    ----------
    sections : mapping
        Keys and values by section, as parsed from TOML.
    overrides : mapping, optional
        Values by ``section.key``; they override `sections`.
    where : str
        The name of the job in error messages.

    Returns
    -------
    Job
    """
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
        if "." not in key:  # so that an error is not said to be one of the file
            built(SECTIONS[section], section, {key: value}, "options")
        _override(merged.setdefault(section, {}), section, key, value)
    job = Job(**{name: built(SECTIONS[name], name, keys, where) for name, keys in merged.items()})
    _check(job)
    return job


def _override(keys: dict[str, Any], section: str, key: str, value: Any) -> None:
    """Set one key; ``model.options.KEY``, for example, sets one option."""
    outer, dot, inner = key.partition(".")
    if dot and (section, outer) in _OPTIONS:
        options = keys.get("options", {})
        if not isinstance(options, Mapping):
            raise UsageError(f"{section}.options = {options!r} must be a table")
        keys["options"] = {**options, inner: value}
    else:
        keys[key] = value


def _check(job: Job) -> None:
    _check_margin(job.mining)
    parse_bytes(job.mining.memory)
    parse_bytes(job.cache.max_size, "cache.max_size")
    _check_shares(job)
    if job.index.candidates < 1 or job.index.audit < 1:
        raise UsageError("index.candidates and index.audit must be 1 or more")
    for section, keys in _COUNTS.items():
        for key in keys:
            value = getattr(getattr(job, section), key)
            if value < 0:
                raise UsageError(f"{section}.{key} = {value} must be 0 or more")
    if not 0 < job.engine.patience < _MOST_PATIENCE:
        raise UsageError(f"engine.patience = {job.engine.patience} must be seconds, such as 30")
    if not 0 <= job.index.budget_minutes < math.inf:
        raise UsageError(f"index.budget_minutes = {job.index.budget_minutes} must be 0 or more")
    if job.model.batch_size < 1:
        raise UsageError(f"model.batch_size = {job.model.batch_size} must be 1 or more")
    if job.mining.metric == "dot" and job.mining.normalize:
        raise UsageError("metric dot is never normalised; use cosine, or drop --normalize")
    if is_url(job.output.path):
        check_url(job.output.path, "output.path")
    _check_dataset(job.dataset)
    _check_candidates(job)
    _check_names(job)


def _check_candidates(job: Job) -> None:
    candidates, plain = job.candidates, CandidatesJob()
    if candidates.depth < 1:
        raise UsageError(f"candidates.depth = {candidates.depth} must be 1 or more")
    if "" in candidates.runs:
        raise UsageError("candidates.runs has an empty path; name a file, or bm25")
    if not candidates.runs and candidates != plain:
        key = "own" if candidates.own else "depth"
        raise UsageError(
            f'candidates.{key} has no meaning without candidates.runs; name runs, such as ["bm25"]'
        )
    if candidates.runs and job.index.factory != "Flat":
        raise UsageError(
            f"candidates.runs needs the exact index, not index.factory = {job.index.factory!r}, "
            "which proposes candidates itself; drop one of the two"
        )


def _check_margin(mining: MiningJob) -> None:
    margin = mining.margin
    if not 0 < margin <= _MOST_MARGIN:  # also False for NaN
        raise UsageError(f"mining.margin = {margin} must be a finite number above 0, such as 0.2")
    widest = widest_gap(mining.metric, mining.normalized)
    if margin > widest:
        vectors = "" if mining.metric == "cosine" else " of unit vectors"
        raise UsageError(
            f"mining.margin = {margin:g}: two {mining.metric} distances{vectors} differ by "
            f"{widest:g} at most, so no triplet would be easy; choose a margin in that range, such "
            "as 0.2"
        )


def _check_names(job: Job) -> None:
    paths = {"output.path": job.output.path, "cache.path": job.cache.path}
    paths |= {f"dataset.{key}": path for key, path in job.dataset.paths.items()}
    paths |= {f"candidates.runs[{n}]": path for n, path in enumerate(job.candidates.runs)}
    for key, path in paths.items():
        if path and not is_text(path):
            raise UsageError(f"{key} = {path!r} is not UTF-8, as manifests are; rename it")


def _check_shares(job: Job) -> None:
    floors = {"index.min_recall": job.index.min_recall, "gates.min_recall": job.gates.min_recall}
    for key, floor in floors.items():
        if floor is not None and not 0 < floor <= 1:
            raise UsageError(f"{key} = {floor} must be above 0, at most 1")
    share = job.gates.max_hard_share
    if not 0 <= share <= 1:
        raise UsageError(f"gates.max_hard_share = {share} must be from 0 to 1, such as 0.3")


def _check_dataset(dataset: DatasetJob) -> None:
    for key, path in dataset.paths.items():
        if is_url(path):
            check_url(path, f"dataset.{key}")
    missing = [name for name in ("queries", "corpus", "links") if name not in dataset.paths]
    if dataset.path:
        if dataset.queries or dataset.corpus:
            raise UsageError("dataset.path and dataset.queries/corpus exclude each other; drop one")
        if bool(dataset.pair_anchor) != bool(dataset.pair_positive):
            raise UsageError("a table of pairs needs pair_anchor and pair_positive; set both")
    elif len(missing) == 3:
        raise UsageError("no data: set dataset.path (or --data PATH), or queries, corpus and links")
    elif missing:
        names = ", ".join(f"dataset.{name}" for name in missing)
        raise UsageError(f"pairs need queries, corpus and links: {names} is missing")
