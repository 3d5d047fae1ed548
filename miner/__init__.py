"""An offline triplet miner: exact hard and semi-hard triplets of a whole data set.

``miner.mine(job)`` mines a job and returns a `Run`; ``miner.open_run(path)`` opens a finished one.
Importing the package loads neither FAISS nor Arrow: names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from miner.version import __version__ as __version__

if TYPE_CHECKING:
    from miner.comparison.facts import compare_facts, compare_runs
    from miner.comparison.page import write_comparison
    from miner.comparison.words import describe_comparison
    from miner.describe import (
        describe_facts,
        describe_run,
        describe_triplets,
        run_facts,
        some_triplets,
    )
    from miner.errors import MineError
    from miner.exports.batches import export_batches
    from miner.exports.export import export_pairs, export_triplets
    from miner.exports.words import describe_batches, describe_export
    from miner.finished import Run, latest_id, list_runs, open_run
    from miner.inventory import describe_kept, describe_models, describe_pruned
    from miner.job import Job, load_job, parse_bytes, parse_job
    from miner.leftovers import prune_output
    from miner.models.base import Model
    from miner.models.listing import list_models
    from miner.operation import settle
    from miner.plan import plan_job
    from miner.plan_words import describe_plan
    from miner.pruning import kept_facts
    from miner.report.making import make_report
    from miner.report.words import describe_report, report_facts
    from miner.run import mine, run_job
    from miner.starter import describe_starter, starter_job
    from miner.verify import verify_run

__all__ = [
    "Job",
    "MineError",
    "Model",
    "Run",
    "compare_facts",
    "compare_runs",
    "describe_batches",
    "describe_comparison",
    "describe_export",
    "describe_facts",
    "describe_kept",
    "describe_models",
    "describe_plan",
    "describe_pruned",
    "describe_report",
    "describe_run",
    "describe_starter",
    "describe_tables",
    "describe_triplets",
    "export_batches",
    "export_pairs",
    "export_triplets",
    "kept_facts",
    "latest_id",
    "list_models",
    "list_runs",
    "load_job",
    "make_report",
    "mine",
    "open_run",
    "parse_bytes",
    "parse_job",
    "plan_job",
    "prune_output",
    "report_facts",
    "run_facts",
    "run_job",
    "settle",
    "some_triplets",
    "starter_job",
    "verify_run",
    "write_comparison",
]

_HOMES = {
    "Job": "job",
    "MineError": "errors",
    "Model": "models.base",
    "Run": "finished",
    "compare_facts": "comparison.facts",
    "compare_runs": "comparison.facts",
    "describe_batches": "exports.words",
    "describe_comparison": "comparison.words",
    "describe_export": "exports.words",
    "describe_facts": "describe",
    "describe_kept": "inventory",
    "describe_models": "inventory",
    "describe_plan": "plan_words",
    "describe_pruned": "inventory",
    "describe_report": "report.words",
    "describe_run": "describe",
    "describe_starter": "starter",
    "describe_tables": "standouts",
    "describe_triplets": "describe",
    "export_batches": "exports.batches",
    "export_pairs": "exports.export",
    "export_triplets": "exports.export",
    "kept_facts": "pruning",
    "latest_id": "finished",
    "list_models": "models.listing",
    "list_runs": "finished",
    "load_job": "job",
    "make_report": "report.making",
    "mine": "run",
    "open_run": "finished",
    "parse_bytes": "job",
    "parse_job": "job",
    "plan_job": "plan",
    "prune_output": "leftovers",
    "report_facts": "report.words",
    "run_facts": "describe",
    "run_job": "run",
    "settle": "operation",
    "some_triplets": "describe",
    "starter_job": "starter",
    "verify_run": "verify",
    "write_comparison": "comparison.page",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'miner' has no attribute {name!r}")
    return getattr(importlib.import_module(f"miner.{_HOMES[name]}"), name)
