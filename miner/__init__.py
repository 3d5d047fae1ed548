"""An offline triplet miner: exact hard and semi-hard triplets of a whole data set.

``miner.mine(job)`` mines a job and returns a `Run`; ``miner.open_run(path)`` opens a finished run.
Importing the package loads neither FAISS nor Arrow: names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from miner.version import __version__ as __version__

if TYPE_CHECKING:
    from miner.embedding.eviction import kept_facts, prune_vectors
    from miner.embedding.models.base import Model
    from miner.embedding.models.listing import list_models
    from miner.errors import MineError
    from miner.inspection.compare.facts import compare_facts, compare_runs
    from miner.inspection.compare.page import write_comparison
    from miner.inspection.report.build import make_report, report_facts
    from miner.inspection.verify.run import verify_run
    from miner.job import Job, load_job, parse_bytes, parse_job
    from miner.pipeline.run import mine, run_job
    from miner.pipeline.settle import settle
    from miner.pipeline.units.in_memory import select
    from miner.planning.doctor import machine_facts
    from miner.planning.job_schema import job_schema
    from miner.planning.plan import plan_job
    from miner.planning.starter_job import starter_job
    from miner.runs.describe import run_facts, some_triplets
    from miner.runs.listing import held_run, list_runs
    from miner.runs.opening import latest_id, open_run
    from miner.runs.prune import prune_output
    from miner.runs.run import Run
    from miner.training.exports.export import export_triplets
    from miner.training.exports.review import export_review

__all__ = [
    "Job",
    "MineError",
    "Model",
    "Run",
    "compare_facts",
    "compare_runs",
    "export_review",
    "export_triplets",
    "held_run",
    "job_schema",
    "kept_facts",
    "latest_id",
    "list_models",
    "list_runs",
    "load_job",
    "machine_facts",
    "make_report",
    "mine",
    "open_run",
    "parse_bytes",
    "parse_job",
    "plan_job",
    "prune_output",
    "prune_vectors",
    "report_facts",
    "run_facts",
    "run_job",
    "select",
    "settle",
    "some_triplets",
    "starter_job",
    "verify_run",
    "write_comparison",
]

_HOMES = {
    "Job": "job",
    "MineError": "errors",
    "Model": "embedding.models.base",
    "Run": "runs.run",
    "compare_facts": "inspection.compare.facts",
    "compare_runs": "inspection.compare.facts",
    "export_review": "training.exports.review",
    "export_triplets": "training.exports.export",
    "held_run": "runs.listing",
    "job_schema": "planning.job_schema",
    "kept_facts": "embedding.eviction",
    "latest_id": "runs.opening",
    "list_models": "embedding.models.listing",
    "list_runs": "runs.listing",
    "load_job": "job",
    "machine_facts": "planning.doctor",
    "make_report": "inspection.report.build",
    "mine": "pipeline.run",
    "open_run": "runs.opening",
    "parse_bytes": "job",
    "parse_job": "job",
    "plan_job": "planning.plan",
    "prune_output": "runs.prune",
    "prune_vectors": "embedding.eviction",
    "report_facts": "inspection.report.build",
    "run_facts": "runs.describe",
    "run_job": "pipeline.run",
    "select": "pipeline.units.in_memory",
    "settle": "pipeline.settle",
    "some_triplets": "runs.describe",
    "starter_job": "planning.starter_job",
    "verify_run": "inspection.verify.run",
    "write_comparison": "inspection.compare.page",
}

_TEXTS = {
    "describe_comparison": "inspection.compare.describe",
    "describe_export": "training.exports.describe",
    "describe_facts": "runs.describe",
    "describe_kept": "embedding.eviction",
    "describe_machine": "planning.doctor",
    "describe_models": "embedding.models.listing",
    "describe_plan": "planning.describe",
    "describe_pruned": "runs.prune",
    "describe_report": "inspection.report.build",
    "describe_review": "training.exports.review",
    "describe_run": "runs.describe",
    "describe_starter": "planning.starter_job",
    "describe_tables": "runs.tables",
    "describe_triplets": "runs.describe",
}
"""Functions that return the text the command line prints; not public, the text may change."""

_COMMANDS = {
    "EXPORT_FORMATS": "training.exports.catalog",
    "check_metrics": "runs.metrics",
    "write_starter": "planning.starter_job",
}
"""What only the command line needs."""


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name in ("errors", "torch"):
        return importlib.import_module(f"miner.{name}")
    home = (_HOMES | _TEXTS | _COMMANDS).get(name)
    if home is None:
        raise AttributeError(f"module 'miner' has no attribute {name!r}")
    return getattr(importlib.import_module(f"miner.{home}"), name)
