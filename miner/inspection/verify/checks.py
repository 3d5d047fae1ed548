"""Checks of a run without its vectors: checksums of its files, and consistency of its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.errors import StorageError
from miner.formatting import counted
from miner.runs.manifest_schema import manifest_checksum
from miner.runs.run import MANIFEST, Run
from miner.runs.shards import shard_facts
from miner.runs.tables import CONFUSION, HUBS, LABEL_NOISE, has_table, read_census, read_table
from miner.runs.totals import found_counts
from miner.storage.files import storage_errors
from miner.storage.json_files import pretty_json
from miner.triplets.hardness import CLASSES, MINED_CLASSES, difficulty

__all__ = ["Check", "check_census", "check_files", "check_manifest", "check_shards", "check_tables"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes
    ----------
    name : str
    problems : list of str
        Empty if the check passed.
    detail : str
        What was checked, or why it could not be checked.
    """

    name: str
    problems: list[str]
    detail: str = ""
    skipped: bool = False

    @property
    def state(self) -> str:
        """``ok``, ``FAILS`` or ``skipped``."""
        return "FAILS" if self.problems else "skipped" if self.skipped else "ok"


def check_manifest(run: Run) -> Check:
    """Check the manifest's checksum, and that its bytes are as `pretty_json` writes them.

    The checksum covers the parsed values only. The comparison of bytes also finds changes that do
    not change a value: spaces, redundant digits of a number, a repeated key.
    """
    if run.manifest.get("checksum") != manifest_checksum(run.manifest):
        return Check("manifest", [f"{MANIFEST} was changed: its checksum does not match"])
    if run.manifest_bytes() != pretty_json(run.manifest):
        return Check("manifest", [f"{MANIFEST} was changed: it is not as `mine` writes it"])
    return Check("manifest", [], "its checksum matches")


def check_files(run: Run) -> Check:
    """Check the presence, size and checksum of every file, and that there are no other files."""
    problems = []
    found = run.sizes()
    named = run.named_files()
    links = _links(run)
    for file in named:
        name, size = file["path"], found.get(file["path"])
        if name in links:
            continue
        if size is None:
            problems.append(f"{name} is missing")
        elif size != file["bytes"]:
            problems.append(
                f"{name} has {counted(size, 'byte')}, the manifest says {file['bytes']:,}"
            )
        else:
            problems += _damage(run, name)
    known = {file["path"] for file in named} | {MANIFEST, *links}
    unknown = sorted(found.keys() - known)
    problems += [f"{name} is not in the manifest" for name in unknown]
    problems += [f"{name} is a link, not a file of the run" for name in sorted(links)]
    return Check("files", problems, f"{counted(len(named), 'file')}, SHA-256")


def _links(run: Run) -> set[str]:
    """Return the paths in a run's folder that are symbolic links."""
    if run.remote is not None:
        return set()
    with storage_errors(run.path):
        found = (path for path in run.path.rglob("*") if path.is_symlink())
        return {path.relative_to(run.path).as_posix() for path in found}


def _damage(run: Run, name: str) -> list[str]:
    """Return the problem of a file whose checksum does not match, if any."""
    try:
        run.file(name)
    except StorageError as error:
        return [str(error).removeprefix(f"{run.path}/")]
    return []


def check_shards(run: Run) -> Check:
    """Check the rows, the schema and the metadata of every shard, and the total of the rows."""
    problems = []
    rows = dict.fromkeys(run.manifest["written"], 0)
    for shard in run.manifest["shards"]:
        facts = shard_facts(run.file(shard["path"]))
        name = shard["path"].split("/")[0]
        rows[name] = rows.get(name, 0) + facts["rows"]
        if facts["rows"] != shard["rows"]:
            problems.append(
                f"{shard['path']} has {counted(facts['rows'], 'row')}, not {shard['rows']:,}"
            )
        problems += [f"{shard['path']}: {why}" for why in facts["wrong"]]
        problems += _metadata(run, shard["path"], name, facts["metadata"])
    for name, total in rows.items():
        stated = run.manifest["written"].get(name, {"rows": 0})["rows"]
        if total != stated:
            problems.append(
                f"{name}: {counted(total, 'row')} in the shards, {stated:,} in the manifest"
            )
    return Check("shards", problems, f"{counted(sum(rows.values()), 'row')}, schema and metadata")


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


def check_census(run: Run) -> Check:
    """Check the rows of the census, and compare their sums with the manifest."""
    counts = read_census(run)
    missing = {"positives", "negatives", *CLASSES} - counts.keys()
    if missing:
        return Check("census", [f"census.parquet has no column {min(missing)!r}"])
    problems = []
    stated = found_counts(run.manifest["census"])
    for name in CLASSES:
        total = sum(counts[name].tolist())
        if total != stated[name]:
            problems.append(f"census.parquet: {total:,} {name}, the manifest says {stated[name]:,}")
    valid = counts["positives"] * counts["negatives"]
    wrong = np.flatnonzero(sum(counts[name] for name in CLASSES) != valid)
    if len(wrong):
        problems.append(
            f"census.parquet, row {wrong[0]}: the classes do not add up to positives x negatives"
        )
    problems += _written(run, stated)
    return Check("census", problems, f"{counted(len(valid), 'anchor adds', 'anchors add')} up")


def _written(run: Run, stated: dict[str, int]) -> list[str]:
    """Compare the numbers of written triplets in the manifest with the census.

    With `denoise`, `of` may be smaller than the count of the census.
    """
    problems = []
    denoised = run.manifest.get("denoised")
    listed = run.manifest["census"].get("label_noise")
    if denoised is not None and denoised != listed:
        problems.append(f"denoised: {denoised}, the census has {listed}")
    for name in MINED_CLASSES:
        facts = run.manifest["written"][name]
        fewer = denoised is not None and facts["of"] < stated[name]
        if facts["of"] != stated[name] and not fewer:
            problems.append(f"written: {name} of {facts['of']:,}, the census has {stated[name]:,}")
        if facts["rows"] > facts["of"] or facts["truncated"] != (facts["rows"] < facts["of"]):
            problems.append(f"written: {name} {facts['rows']:,} of {facts['of']:,}")
    return problems


def check_tables(run: Run) -> Check:
    """Compare the sums of the tables with the census."""
    census, problems, checked = run.manifest["census"], [], []
    if has_table(run, CONFUSION):
        facts, table = census["confusions"], read_table(run, CONFUSION)
        checked.append(counted(table.num_rows, "confusion"))
        for name in ("hard", "semi_hard"):
            total = sum(table[name].to_pylist())
            wanted = facts[name] if facts["rows"] < facts["of"] else census[name]
            if total != wanted:
                problems.append(f"{CONFUSION}: {total:,} {name}, not {wanted:,}")
    if has_table(run, HUBS):
        facts, table = census["hubs"], read_table(run, HUBS)
        checked.append(counted(table.num_rows, "hub"))
        for name in ("hard", "semi_hard"):
            total = sum(table[name].to_pylist())
            if total > census[name] or (facts["rows"] == facts["of"] and total != census[name]):
                problems.append(f"{HUBS}: {total:,} {name} of {census[name]:,}")
    if has_table(run, LABEL_NOISE):
        table = read_table(run, LABEL_NOISE)
        checked.append(counted(table.num_rows, "suspect of label noise", "suspects of label noise"))
        if table.num_rows and min(table["share"].to_pylist()) <= 0.5:
            problems.append(f"{LABEL_NOISE}: a share is not a majority")
    detail = f"{', '.join(checked)} add up" if checked else "none"
    return Check("tables", problems, detail, skipped=not checked)
