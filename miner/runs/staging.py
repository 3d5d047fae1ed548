"""Staging of unfinished runs: records of finished units, resuming, and publishing.

A run is staged in ``OUT/.staging/RUN_ID``: ``work/`` contains the records of finished units,
``run/`` the files to publish. The files of a unit are valid only once its record exists. The
manifest is written last; one rename of ``run/`` to ``OUT/runs/RUN_ID`` publishes the run; then
``latest`` is switched. The same job finds its staging folder by the fingerprint and resumes.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from miner.errors import DamageError, MineError, StorageError, UsageError
from miner.progress import Progress, silent, warn_damaged
from miner.runs.changes import changed_keys, describe_changes
from miner.runs.manifest_schema import manifest_checksum
from miner.runs.metrics import METRICS, RunMetrics
from miner.runs.opening import open_run
from miner.runs.run import Run
from miner.runs.shards import FORMAT_VERSION, file_facts
from miner.storage.files import atomic_open, publish_folder, storage_errors, sync_folder
from miner.storage.json_files import digest, read_json, write_json
from miner.storage.locks import Say, lock_output, say_nothing
from miner.storage.os_errors import PUBLISHED_NOT_LATEST, publication_state
from miner.storage.records import check_files, read_record, write_record
from miner.version import package_versions

__all__ = [
    "Output",
    "Staging",
    "clear_published",
    "explain_new_run",
    "finished_run",
    "latest_run",
    "write_pointers",
]

_SWITCHED = "the run is published and the latest one, which a loss of power could undo"


class Output:
    """An output root on a local disk, where runs are published.

    Attributes
    ----------
    where : str
        The path or URL of the output root.
    root : Path
        The local folder of staging and stores; on a local disk, the output root itself.
    """

    where: str
    root: Path

    def __init__(self, path: str) -> None:
        self.where = path
        self.root = Path(path)

    def held(self, *, brief: bool = False, say: Say = say_nothing) -> AbstractContextManager[None]:
        """Lock the output root for writing; `brief` and `say` are those of `lock_output`.

        Raises
        ------
        UsageError
            If another program's file has the name ``latest`` or ``latest.json``.
        """
        for path in (self.root / "latest", self.root / "latest.json"):
            if not _is_pointer(path):
                raise UsageError(
                    f"{path} was not made by mine; move it away, or name another --out"
                )
        return lock_output(self.root, brief=brief, say=say)

    def holds(self, run_id: str) -> bool:
        """Whether a run is published."""
        return (self.root / "runs" / run_id / "manifest.json").exists()

    def publish(self, staging: Staging, manifest: Mapping[str, Any], progress: Progress) -> None:
        """Publish a staged run, whose manifest must exist."""
        publish_folder(staging.run, self.root / "runs" / staging.run_id, PUBLISHED_NOT_LATEST)

    def point(self, run_id: str) -> None:
        """Make ``latest`` name a published run."""
        write_pointers(self.root, run_id)

    def open(self, run_id: str) -> Run:
        """Open a published run."""
        return open_run(self.root / "runs" / run_id)


@dataclass(frozen=True, slots=True)
class Staging:
    """An unfinished run.

    Attributes
    ----------
    root : Path
        The output root, or the work folder of a remote one.
    run_id : str
    identity : dict
        Everything that affects the bytes of the run.
    """

    root: Path
    run_id: str
    identity: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The digest of the identity."""
        return digest(self.identity)

    @classmethod
    def open(cls, root: Path, identity: Mapping[str, Any], *, fresh: bool) -> Staging:
        """Return the staged run of this fingerprint, or a new one.

        A staged run resumes only with the same package versions, because other versions may write
        other bytes. With `fresh`, a staged run of this fingerprint is removed first.
        """
        stamp = _staging_stamp(identity)
        stamps, damaged = _staging_stamps(root)
        for path, why in damaged.items():
            shutil.rmtree(path.parent)  # its job is unknown
            warn_damaged(f"{why}; that unfinished run is made again")
        found = [path.parent for path, other in stamps.items() if other == stamp]
        for folder in found if fresh else []:
            shutil.rmtree(folder)
        if found and not fresh:
            for torn in found[-1].rglob(".*.tmp"):  # left by a killed process
                torn.unlink(missing_ok=True)  # one of its threads may still be running
            return cls(root, found[-1].name, identity)
        now = datetime.now(UTC)
        # The second part is the fraction of the second: runs sort by their age.
        fraction = now.microsecond * 0x10000 // 1_000_000
        run_id = f"{now:%Y%m%dT%H%M%SZ}-{fraction:04x}-{stamp['fingerprint'][:8]}"
        staging = cls(root, run_id, identity)
        with storage_errors(staging.folder):
            staging.work.mkdir(parents=True)
            staging.run.mkdir()
        write_record(staging.folder / "staging.json", stamp)
        return staging

    @property
    def folder(self) -> Path:
        """The folder of the staged run."""
        return self.root / ".staging" / self.run_id

    @property
    def work(self) -> Path:
        """The folder of units and their records."""
        return self.folder / "work"

    @property
    def run(self) -> Path:
        """The folder that will be published."""
        return self.folder / "run"

    def record(self, name: str, facts: Mapping[str, Any]) -> None:
        """Record that a unit is finished; ``facts["files"]`` may map files to their checksums."""
        write_record(self.work / f"{name}.json", facts)

    def recorded(self, name: str) -> dict[str, Any] | None:
        """Return the facts of a finished unit; None if it is not finished.

        ``files`` maps paths in ``work/`` or ``run/`` to their SHA-256. If the record or one of
        these files is damaged, a warning is issued and the record is removed.
        """
        path = self.work / f"{name}.json"
        if not path.exists():
            return None
        try:
            facts = read_record(path)
            check_files(self.folder, facts.get("files", {}))
        except DamageError as error:
            warn_damaged(f"{error}; its content is made again")
            with storage_errors(path):
                path.unlink()
            return None
        return facts

    def bind(self, store: str) -> None:
        """Remove all finished units unless they were made from the store with this checksum."""
        known = self.recorded("bound")
        if known is not None and known["store"] != store:
            for folder in (self.work, self.run):
                with storage_errors(folder):
                    shutil.rmtree(folder)
                    folder.mkdir()
            warn_damaged(
                f"{self.folder} is of an embedding store with other vectors; the unfinished run is "
                "made again"
            )
            known = None
        if known is None:
            self.record("bound", {"store": store})

    def described(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Return the manifest with run id, fingerprint, identity and format version added."""
        known = {"fingerprint": self.fingerprint, "identity": self.identity}
        return {"format_version": FORMAT_VERSION, "run_id": self.run_id, **manifest, **known}

    def publish(self, manifest: dict[str, Any], output: Output, progress: Progress = silent) -> Run:
        """Write the manifest, publish the run, switch ``latest``, and clear the staging."""
        manifest = self.described(manifest)
        manifest["files"] = [*manifest["files"], self._write_metrics(manifest, output)]
        manifest["checksum"] = manifest_checksum(manifest)
        write_json(self.run / "manifest.json", manifest)
        for torn in self.run.rglob(".*.tmp"):  # of an abandoned worker, which may still be running
            torn.unlink(missing_ok=True)
        output.publish(self, manifest, progress)
        return self.finish(output)

    def _write_metrics(self, manifest: Mapping[str, Any], output: Output) -> dict[str, Any]:
        """Write the metrics of a successful run into it; return the facts of the file."""
        stages = manifest["timings"]
        metrics = RunMetrics(
            out=output.where,
            ended=time.time(),
            code=0,
            seconds=sum(stages.values()),
            stages=stages,
            peak=manifest["peak_rss_bytes"],
            latest=manifest,
        )
        with atomic_open(self.run / METRICS) as file:
            file.write(metrics.text())
        return file_facts(self.run / METRICS, self.run, 0)

    def finish(self, output: Output) -> Run:
        """Switch ``latest`` to the published run, and clear the staging."""
        output.point(self.run_id)
        with publication_state("the run is published and the latest one"):
            self.clear()
            clear_published(output)
            return output.open(self.run_id)

    def clear(self) -> None:
        """Remove the staging folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _staging_stamp(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``staging.json``; a staged run resumes only if it is the same."""
    versions = package_versions()
    return {"fingerprint": digest(identity), "versions": versions, "identity": dict(identity)}


def explain_new_run(root: Path, identity: Mapping[str, Any], latest: Run | None) -> str:
    """Return why a new run begins although there is an unfinished or a finished one.

    Parameters
    ----------
    root : Path
        The folder that contains ``.staging``.
    identity : mapping
        The identity of the run.
    latest : Run or None
        The run that ``latest`` names.

    Returns
    -------
    str
        Empty if the run resumes, or if there is no earlier run.
    """
    stamp = _staging_stamp(identity)
    records = _staging_stamps(root)[0]
    if stamp in records.values():
        return ""
    newest = "" if latest is None else latest.run_id
    later = (record for path, record in records.items() if path.parent.name > newest)
    staged = [(record, "the unfinished run") for record in later]  # an earlier one was given up
    done = [] if latest is None else [(latest.manifest, f"run {latest.run_id}")]
    for before, named in reversed(done + staged):
        parts = [(before.get(key) or {}, stamp[key]) for key in ("identity", "versions")]
        changes = [change for was, now in parts for change in changed_keys(was, now)]
        if changes and before.get("identity"):
            return f"which differs from {named}: {describe_changes(changes)}"
    return ""


def _staging_stamps(root: Path) -> tuple[dict[Path, dict[str, Any]], dict[Path, str]]:
    """Return the content of each ``staging.json``, and the errors of damaged ones, by path."""
    found, damaged = {}, {}
    for path in sorted((root / ".staging").glob("*/staging.json")):
        try:
            found[path] = read_record(path)
        except DamageError as error:
            damaged[path] = str(error)
    return found, damaged


def finished_run(out: str, fingerprint: str) -> Run | None:
    """Return the run that ``latest`` names if it has this fingerprint and is complete."""
    run = latest_run(out)
    if run is None or run.manifest.get("fingerprint") != fingerprint or run.missing():
        return None
    if run.manifest.get("checksum") != manifest_checksum(run.manifest):
        warn_damaged(f"{run.where}/manifest.json is damaged; the run is made again")
        return None
    return run


def latest_run(out: str) -> Run | None:
    """Return the run that ``latest`` names, or None if there is none that can be read."""
    try:
        return open_run(f"{out}/latest")
    except MineError:
        return None


def clear_published(output: Output) -> None:
    """Remove the staging folders of runs that died at their beginning or after publishing."""
    for folder in (output.root / ".staging").glob("*"):
        begun = (folder / "staging.json").exists()
        if not begun or output.holds(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _is_pointer(path: Path) -> bool:
    """Whether a path is a pointer to the latest run, a damaged pointer, or does not exist."""
    if path.is_symlink():
        return path.readlink().parent.name == "runs"
    if path.suffix != ".json" or not path.is_file():
        return not path.exists()
    try:
        facts = read_json(path)
    except StorageError:
        return True
    return isinstance(facts, dict) and "run_id" in facts


def write_pointers(root: Path, run_id: str) -> None:
    """Point ``latest.json`` and then the symlink ``latest`` to a published run."""
    relative = f"runs/{run_id}"
    with publication_state(PUBLISHED_NOT_LATEST):
        write_json(root / "latest.json", {"run_id": run_id, "path": relative})
        with storage_errors(root / "latest"):
            temporary = root / f".latest.{uuid.uuid4().hex[:8]}.tmp"
            temporary.symlink_to(relative, target_is_directory=True)
            temporary.replace(root / "latest")
    with publication_state(_SWITCHED), storage_errors(root / "latest"):
        sync_folder(root)
