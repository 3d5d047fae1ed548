"""``metrics.prom``: the metrics of a run for the textfile collector of Prometheus.

Every series has the label ``out``, the output root, so that the files of several jobs can be in
one folder. The last start has times, exit code, durations, memory and gates. The run that
``latest`` names, which an earlier start may have made, has items, anchors, triplets and recall.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from miner.errors import StorageError
from miner.storage.outputs import check_output, keeps, write_output
from miner.storage.urls import is_url
from miner.triplets.hardness import CLASSES, MINED_CLASSES
from miner.version import __version__

__all__ = ["METRICS", "RunMetrics", "check_metrics", "write_metrics"]

METRICS = "metrics.prom"

_SUCCESS = "mine_last_success_timestamp_seconds"
_PATIENCE = 10.0
"""Seconds to wait for another process that writes the same file."""


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """The facts of the last start of a job.

    Attributes
    ----------
    out : str or None
        The output root; None if the job could not be read.
    ended : float
        Unix time of the end.
    code : int
        The exit code.
    seconds : float
        Duration of the start.
    stages : mapping of str to float
        Seconds per stage.
    peak : int
        Peak resident memory, in bytes.
    gates : mapping
        The measured value and the bound of each gate.
    latest : mapping or None
        The manifest of the run that ``latest`` names.
    """

    out: str | None
    ended: float
    code: int
    seconds: float
    stages: Mapping[str, float]
    peak: int
    gates: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    latest: Mapping[str, Any] | None = None

    def text(self, succeeded: float = 0.0, out: str = "") -> bytes:
        """Return the content of the metrics file.

        Parameters
        ----------
        succeeded : float
            Unix time of the last success before this start; 0 if there is none.
        out : str
            The label ``out`` of a job that could not be read.
        """
        text_file = _TextFile(out if self.out is None else _absolute(self.out))
        text_file.add("mine_last_run_timestamp_seconds", "When the last start ended.", self.ended)
        last = succeeded if self.code else self.ended
        text_file.add(_SUCCESS, "When a start last ended with exit code 0; 0: never.", last)
        text_file.add("mine_last_exit_code", "Exit code of the last start.", self.code)
        text_file.add("mine_run_duration_seconds", "How long the last start took.", self.seconds)
        text_file.add(
            "mine_peak_memory_bytes", "Peak resident memory of the last start.", self.peak
        )
        words = "How long a stage of the last start took."
        text_file.table("mine_duration_seconds", words, "stage", self.stages)
        measured = {name: value for name, (value, _) in self.gates.items()}
        text_file.table(
            "mine_gate_value", "What the last start measured at a gate.", "gate", measured
        )
        bounds = {name: bound for name, (_, bound) in self.gates.items()}
        text_file.table("mine_gate_bound", "What the job asks at a gate.", "gate", bounds)
        facts = {"version": __version__}
        if self.latest is not None:
            _add_counts(text_file, self.latest)
            facts["run_id"] = str(self.latest["run_id"])
        text_file.add("mine_info", "Version of mine, and the run that latest names.", 1, **facts)
        return text_file.text()


def _add_counts(text_file: _TextFile, manifest: Mapping[str, Any]) -> None:
    """Add the gauges of the run that ``latest`` names."""
    dataset, census, index = (manifest[name] for name in ("dataset", "census", "index"))
    text_file.add("mine_items", "Items (of pairs: queries and documents).", dataset["items"])
    text_file.add("mine_anchors", "Anchors.", dataset["anchors"])
    counts = {name: census[name] for name in CLASSES}
    text_file.table("mine_triplets", "Valid triplets by class.", "class", counts)
    rows = {name: facts["rows"] for name, facts in manifest["written"].items()}
    text_file.table("mine_triplets_written", "Triplets in the shards.", "class", rows)
    recall = index.get("recall", {})
    found = {str(name): recall[name]["recall"] if recall else 1.0 for name in MINED_CLASSES}
    words = "Share of a class' triplets that was found: 1 of an exact run."
    text_file.table("mine_recall", words, "class", found)


class _TextFile:
    """Collects the gauges of one output root."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._registry = CollectorRegistry()

    def add(self, name: str, words: str, value: float, **labels: str) -> None:
        """Add a gauge with one value."""
        labels = {"out": self._out, **labels}
        Gauge(name, words, list(labels), registry=self._registry).labels(**labels).set(value)

    def table(self, name: str, words: str, label: str, values: Mapping[str, float]) -> None:
        """Add a gauge with one value for each value of a label."""
        if values:
            gauge = Gauge(name, words, ["out", label], registry=self._registry)
            for key, value in values.items():
                gauge.labels(self._out, key).set(value)

    def text(self) -> bytes:
        """Return all gauges in the text format of Prometheus."""
        return generate_latest(self._registry)


def check_metrics(path: str) -> Path:
    """Return the user's path for metrics, checked.

    Raises
    ------
    UsageError
        If metrics must not be written there; see `miner.storage.outputs.check_output`.
    """
    return check_output(path, "--metrics", _is_ours, force=None)


def _is_ours(head: bytes) -> bool:
    """Whether a file that begins with these bytes contains metrics of ``mine``."""
    return head.startswith(b"# HELP mine_")


def write_metrics(path: Path, metrics: RunMetrics) -> None:
    """Write a metrics file atomically; the time of the last success is taken from the old file.

    Raises
    ------
    StorageError
        If the file cannot be written, or contains the metrics of another program.
    """
    if not keeps(path):
        write_output(path, metrics.text())
        return
    with _alone(path):
        out, succeeded = _before(path)
        if metrics.out is not None and out != _absolute(metrics.out):
            succeeded = 0.0  # the old file belongs to another job
        write_output(path, metrics.text(succeeded, out))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the metrics file: a refused start must not overwrite what the running one writes."""
    lock = FileLock(path.parent / f".{path.name}.lock", timeout=_PATIENCE)
    with contextlib.suppress(Timeout, OSError):  # continue without the lock: writes are atomic
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _before(path: Path) -> tuple[str, float]:
    """Return the output root and the time of the last success from a file; '' and 0 if absent."""
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return "", 0.0
    if families and not any(family.name.startswith("mine_") for family in families):
        raise StorageError(f"{path} holds the metrics of another program; move it away")
    for family in families:
        for sample in family.samples:
            if sample.name == _SUCCESS:
                return sample.labels.get("out", ""), float(sample.value)
    return "", 0.0


def _absolute(out: str) -> str:
    return out if is_url(out) else str(Path(out).absolute())
