"""Staging, records, resume and commit: what makes a folder a run.

A run is staged in ``OUT/.staging/RUN_ID``: ``work/`` holds the records of finished units, ``run/``
what will be published. A unit's files count only once its record stands beside them. The manifest
is written last; one rename of ``run/`` to ``OUT/runs/RUN_ID`` publishes the run; then ``latest`` is
switched. The same job finds its staging again by the fingerprint and goes on.
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
from miner.runs.metrics import METRICS, Metered
from miner.runs.run import Run, open_run
from miner.runs.shards import FORMAT_VERSION, file_facts
from miner.storage.files import atomic_open, publish_folder, storage_errors, sync_folder
from miner.storage.json_files import digest, read_json, write_json
from miner.storage.locks import lock_output
from miner.storage.os_errors import PUBLISHED_NOT_LATEST, publication_state
from miner.storage.records import check_files, read_record, write_record
from miner.version import package_versions

__all__ = [
    "Output",
    "Staging",
    "clear_published",
    "finished_run",
    "latest_run",
    "why_new",
    "write_pointers",
]

_SWITCHED = "the run is published and the latest one, which a loss of power could undo"


class Output:
    """Where runs are published: an output root on a local disk.

    Attributes
    ----------
    where : str
        Its path or URL.
    root : Path
        Where the work for it lies on this machine: the same folder, on a local disk.
    """

    where: str
    root: Path

    def __init__(self, path: str) -> None:
        self.where = path
        self.root = Path(path)

    def held(self) -> AbstractContextManager[None]:
        """Be the one writer, if no file of somebody else is where the pointers belong."""
        for path in (self.root / "latest", self.root / "latest.json"):
            if not _is_pointer(path):
                raise UsageError(
                    f"{path} was not made by mine; move it away, or name another --out"
                )
        return lock_output(self.root)

    def holds(self, run_id: str) -> bool:
        """Whether a run is published."""
        return (self.root / "runs" / run_id / "manifest.json").exists()

    def publish(self, staging: Staging, manifest: Mapping[str, Any], progress: Progress) -> None:
        """Make what is staged a run, of which the manifest is the last file that was written."""
        publish_folder(staging.run, self.root / "runs" / staging.run_id, PUBLISHED_NOT_LATEST)

    def point(self, run_id: str) -> None:
        """Make a published run the latest."""
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
        Everything that changes bytes.
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
        """Go on with the staged run of this fingerprint, or begin one.

        Only units of the same versions of the packages are gone on with: another version may write
        other bytes.

        With `fresh`, what is staged under this fingerprint is thrown away first.
        """
        mark = _mark(identity)
        marks, damaged = _marks(root)
        for path, why in damaged.items():
            shutil.rmtree(path.parent)  # of which job it was is not known any more
            warn_damaged(f"{why}; that unfinished run is made again")
        found = [path.parent for path, other in marks.items() if other == mark]
        for folder in found if fresh else []:
            shutil.rmtree(folder)
        if found and not fresh:
            for torn in found[-1].rglob(".*.tmp"):  # of a process that was killed as it wrote
                torn.unlink(missing_ok=True)  # a thread of it may still be at work
            return cls(root, found[-1].name, identity)
        now = datetime.now(UTC)
        # The last part is the fraction of the second: runs of one job sort by their age.
        fraction = now.microsecond * 0x10000 // 1_000_000
        run_id = f"{now:%Y%m%dT%H%M%SZ}-{mark['fingerprint'][:8]}-{fraction:04x}"
        staging = cls(root, run_id, identity)
        with storage_errors(staging.folder):
            staging.work.mkdir(parents=True)
            staging.run.mkdir()
        write_record(staging.folder / "staging.json", mark)
        return staging

    @property
    def folder(self) -> Path:
        """The folder of the staged run."""
        return self.root / ".staging" / self.run_id

    @property
    def work(self) -> Path:
        """Where units and their records are."""
        return self.folder / "work"

    @property
    def run(self) -> Path:
        """What will be published."""
        return self.folder / "run"

    def record(self, name: str, facts: Mapping[str, Any]) -> None:
        """Say that a unit is finished: `facts` may name files with their checksums."""
        write_record(self.work / f"{name}.json", facts)

    def recorded(self, name: str) -> dict[str, Any] | None:
        """Return a finished unit's facts; None when it is not finished.

        A record's ``files`` map names in ``work/`` (or ``run/``) to their SHA-256. Where the record
        or one of these files is damaged, a warning says so and the record is removed.
        """
        path = self.work / f"{name}.json"
        if not path.exists():
            return None
        try:
            facts = read_record(path)
            check_files(self.folder, facts.get("files", {}))
        except DamageError as error:
            warn_damaged(f"{error}; what it held is made again")
            with storage_errors(path):
                path.unlink()
            return None
        return facts

    def bind(self, store: str) -> None:
        """Forget all units unless they were made from the store of this checksum."""
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
        """Return a manifest with what the staging knows: all but the metrics and the checksum."""
        known = {"fingerprint": self.fingerprint, "identity": self.identity}
        return {"format_version": FORMAT_VERSION, "run_id": self.run_id, **manifest, **known}

    def publish(self, manifest: dict[str, Any], output: Output, progress: Progress = silent) -> Run:
        """Write the manifest, publish the run, switch ``latest``, and clear the staging."""
        manifest = self.described(manifest)
        manifest["files"] = [*manifest["files"], self._write_metrics(manifest, output)]
        manifest["checksum"] = manifest_checksum(manifest)
        write_json(self.run / "manifest.json", manifest)
        for torn in self.run.rglob(".*.tmp"):  # of a worker that was given up, and is still at work
            torn.unlink(missing_ok=True)
        output.publish(self, manifest, progress)
        return self.finish(output)

    def _write_metrics(self, manifest: Mapping[str, Any], output: Output) -> dict[str, Any]:
        """Put the metrics of a run that is good beside its manifest; return the file's facts."""
        stages = manifest["timings"]
        metered = Metered(
            out=output.where,
            ended=time.time(),
            code=0,
            seconds=sum(stages.values()),
            stages=stages,
            peak=manifest["peak_rss_bytes"],
            latest=manifest,
        )
        with atomic_open(self.run / METRICS) as file:
            file.write(metered.text())
        return file_facts(self.run / METRICS, self.run, 0)

    def finish(self, output: Output) -> Run:
        """Switch ``latest`` to the run, now that it is published, and clear the staging."""
        output.point(self.run_id)
        with publication_state("the run is published and the latest one"):
            self.clear()
            clear_published(output)
            return output.open(self.run_id)

    def clear(self) -> None:
        """Remove what is staged."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _mark(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a staging says of itself; only one that says the same is gone on with."""
    versions = package_versions()
    return {"fingerprint": digest(identity), "versions": versions, "identity": dict(identity)}


def why_new(root: Path, identity: Mapping[str, Any], latest: Run | None) -> str:
    """Say what makes a run a new one, if there was something to go on with or to find done.

    Parameters
    ----------
    root : Path
        Where staging lies.
    identity : mapping
        Of the run.
    latest : Run or None
        The run that ``latest`` names.

    Returns
    -------
    str
        Empty when the run goes on, or has nothing before it.
    """
    mark = _mark(identity)
    records = list(_marks(root)[0].values())
    if mark in records:
        return ""
    staged = [(record, "the unfinished one") for record in records]
    done = [] if latest is None else [(latest.manifest, f"run {latest.run_id}")]
    for before, named in reversed(done + staged):
        parts = [(before.get(key) or {}, mark[key]) for key in ("identity", "versions")]
        changes = [change for was, now in parts for change in changed_keys(was, now)]
        if changes and before.get("identity"):
            return f"not that of {named}: {describe_changes(changes)}"
    return ""


def _marks(root: Path) -> tuple[dict[Path, dict[str, Any]], dict[Path, str]]:
    """Return what all that is staged says of itself, by file, and why that is damaged."""
    found, damaged = {}, {}
    for path in sorted((root / ".staging").glob("*/staging.json")):
        try:
            found[path] = read_record(path)
        except DamageError as error:
            damaged[path] = str(error)
    return found, damaged


def finished_run(out: str, fingerprint: str) -> Run | None:
    """Return the run that ``latest`` names when it has this fingerprint and is whole."""
    run = latest_run(out)
    if run is None or run.manifest.get("fingerprint") != fingerprint or run.missing():
        return None
    if run.manifest.get("checksum") != manifest_checksum(run.manifest):
        warn_damaged(f"{run.where}/manifest.json is damaged; the run is made again")
        return None
    return run


def latest_run(out: str) -> Run | None:
    """Return the run that ``latest`` names, if there is one that can be read."""
    try:
        return open_run(f"{out}/latest")
    except MineError:
        return None


def clear_published(output: Output) -> None:
    """Remove what runs left staged that died as they began, or right after they were published."""
    for folder in (output.root / ".staging").glob("*"):
        begun = (folder / "staging.json").exists()
        if not begun or output.holds(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _is_pointer(path: Path) -> bool:
    """Whether a path may be a pointer to the latest run: it is one, or nothing, or damaged."""
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
