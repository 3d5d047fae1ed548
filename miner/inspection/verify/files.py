"""Checks of the files of a run: every byte of them is covered by a checksum, or by its absence."""

from __future__ import annotations

from typing import Any

from miner.inspection.verify.check import Check
from miner.runs.run import MANIFEST, Run, manifest_checksum
from miner.runs.shards import shard_facts
from miner.storage.files import sha256_file
from miner.storage.json_files import pretty_json
from miner.triplets.hardness import difficulty

__all__ = ["check_files", "check_manifest", "check_shards"]


def check_manifest(run: Run) -> Check:
    """Hold the manifest against its own checksum, and its bytes against what was written.

    The checksum is of what the manifest says. What it does not say (blanks, the digits of a number
    beyond those that make it, a key that stands twice) has one form only: that of `pretty_json`.
    """
    if run.manifest.get("checksum") != manifest_checksum(run.manifest):
        return Check("manifest", [f"{MANIFEST} was changed: its checksum does not fit"])
    if run.manifest_bytes() != pretty_json(run.manifest):
        return Check("manifest", [f"{MANIFEST} was changed: it is not written as `mine` does"])
    return Check("manifest", [], "its checksum fits")


def check_files(run: Run) -> Check:
    """Look for every file that the manifest names, at its bytes, and for others."""
    problems = []
    found = run.sizes()
    named = run.named_files()
    links = run.links()
    for file in named:
        name, size = file["path"], found.get(file["path"])
        if name in links:
            continue
        if size is None:
            problems.append(f"{name} is missing")
        elif size != file["bytes"]:
            problems.append(f"{name} has {size} bytes, the manifest says {file['bytes']}")
        elif sha256_file(run.file(name)) != file["sha256"]:
            problems.append(f"{name} was changed: its checksum does not fit")
    known = {file["path"] for file in named} | {MANIFEST, *links}
    unknown = sorted(found.keys() - known)
    problems += [f"{name} is not named by the manifest" for name in unknown]
    problems += [f"{name} is a link, not a file of the run" for name in sorted(links)]
    return Check("files", problems, f"{len(named)} files, SHA-256")


def check_shards(run: Run) -> Check:
    """Look at the rows, the schema and the metadata of every shard, and add the rows up."""
    problems = []
    rows = dict.fromkeys(run.manifest["written"], 0)
    for shard in run.manifest["shards"]:
        facts = shard_facts(run.file(shard["path"]))
        name = shard["path"].split("/")[0]
        rows[name] = rows.get(name, 0) + facts["rows"]
        if facts["rows"] != shard["rows"]:
            problems.append(f"{shard['path']} has {facts['rows']} rows, not {shard['rows']}")
        problems += [f"{shard['path']}: {why}" for why in facts["wrong"]]
        problems += _metadata(run, shard["path"], name, facts["metadata"])
    for name, total in rows.items():
        stated = run.manifest["written"].get(name, {"rows": 0})["rows"]
        if total != stated:
            problems.append(f"{name}: {total} rows in the shards, {stated} in the manifest")
    return Check("shards", problems, f"{sum(rows.values()):,} rows, schema and metadata")


def _metadata(run: Run, path: str, name: str, found: dict[str, str]) -> list[str]:
    mining = run.manifest["job"]["mining"]
    wanted: dict[str, Any] = {
        "difficulty": difficulty(name),
        "fingerprint": run.manifest["fingerprint"],
        "metric": mining["metric"],
        "margin": repr(mining["margin"]),
        "model": run.manifest["model"]["id"],
        "format_version": str(run.manifest["format_version"]),
    }
    return [
        f"{path}: {key} is {found.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
