"""Publishes runs in object storage, where files cannot be renamed.

The files are uploaded under their final names ``runs/RUN_ID/...``. Then the manifest is written by
one conditional put, which commits the run: readers ignore runs without a manifest, and files that
it does not name. ``latest.json`` is written last. Staging, embedding store and cache are in a local
folder. A run that was killed resumes there; files that it has uploaded are recognised by their tag
in the storage and are not uploaded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from miner.errors import StorageError
from miner.progress import Progress
from miner.runs.metrics import METRICS
from miner.runs.opening import open_run
from miner.runs.run import REPORT, Run
from miner.runs.staging import Output, Staging
from miner.storage.json_files import parse_json, pretty_json
from miner.storage.locks import Say, lock_output, say_nothing
from miner.storage.remote.base import Entry, open_folder
from miner.storage.remote.lease import Lease, held_lease
from miner.storage.urls import check_url, is_url, local_root

__all__ = ["RemoteOutput", "open_output"]


def open_output(path: str) -> Output:
    """Return the output root of a job, from a path or a URL."""
    return RemoteOutput(path) if is_url(path) else Output(path)


class RemoteOutput(Output):
    """An output root in object storage."""

    def __init__(self, path: str) -> None:
        super().__init__(check_url(path, "output.path"))
        self.root = local_root(self.where)
        self.folder = open_folder(self.where, "output.path")
        self._lease: Lease | None = None

    @contextmanager
    def held(self, *, brief: bool = False, say: Say = say_nothing) -> Iterator[None]:
        """Lock the work folder, and hold the lease of the output root."""
        with (
            lock_output(self.root, self.where, brief=brief, say=say),
            held_lease(self.folder, self.root, brief=brief, say=say) as lease,
        ):
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def holds(self, run_id: str) -> bool:
        """Whether a run is published."""
        return self.folder.entry(f"runs/{run_id}/manifest.json") is not None

    def publish(self, staging: Staging, manifest: Mapping[str, Any], progress: Progress) -> None:
        """Upload the files, check their tags, and commit the run by its manifest."""
        named = {file["path"]: file for file in [*manifest["shards"], *manifest["files"]]}
        under = f"runs/{staging.run_id}/"
        tags = self._upload(staging, named, progress)
        found = {entry.name.removeprefix(under): entry for entry in self.folder.entries(under)}
        found.pop("manifest.json", None)
        for name, tag in tags.items():
            if name not in found or found[name].tag != tag:
                raise StorageError(
                    f"{self.where}/{under}{name} is not what was uploaded; run the command again"
                )
        self.folder.remove(under + name for name in sorted(found.keys() - tags.keys()))
        self._check()
        content = (staging.run / "manifest.json").read_bytes()
        if not self.folder.create(f"{under}manifest.json", content):
            self._accept(staging.run_id, manifest)

    def _upload(
        self, staging: Staging, named: Mapping[str, Mapping[str, Any]], progress: Progress
    ) -> dict[str, str]:
        """Upload the files that are missing; return the tag of every file."""
        under = f"runs/{staging.run_id}/"
        there = {entry.name: entry for entry in self.folder.entries(under)}
        tags: dict[str, str] = {}
        done, total = 0, sum(facts["bytes"] for facts in named.values())
        progress("uploading", done, total)
        for name, facts in named.items():
            record = f"upload-{name.replace('/', '-')}"
            known = staging.recorded(record) or {}
            entry = there.get(under + name)
            if entry is None or known != _known(entry, facts["sha256"]):
                self._check()
                entry = self.folder.upload(staging.run / name, under + name)
                staging.record(record, _known(entry, facts["sha256"]))
            tags[name] = entry.tag
            done += facts["bytes"]
            progress("uploading", done, total)
        return tags

    def _accept(self, run_id: str, manifest: Mapping[str, Any]) -> None:
        """Accept another process' commit of the same run if its files are the same; else raise."""
        name = f"runs/{run_id}/manifest.json"
        content = self.folder.read(name)
        other = parse_json(content or b"", f"{self.where}/{name}")
        keys = ("fingerprint", "shards")
        same = isinstance(other, dict) and _timeless(other) == _timeless(manifest)
        same = same and all(other.get(key) == manifest[key] for key in keys)
        if not same:
            raise StorageError(
                f"{self.where}/runs/{run_id} was published by another process, with other files; "
                "run the command again with --force"
            )

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def point(self, run_id: str) -> None:
        """Point ``latest.json`` to a published run."""
        self._check()
        facts = {"run_id": run_id, "path": f"runs/{run_id}"}
        self.folder.write("latest.json", pretty_json(facts))

    def open(self, run_id: str) -> Run:
        """Open a published run."""
        return open_run(f"{self.where}/runs/{run_id}")


def _timeless(manifest: Mapping[str, Any]) -> list[Any]:
    """Return the files of a manifest without the metrics and the report, which contain times."""
    files, timed = manifest.get("files"), (METRICS, REPORT)
    some = files if isinstance(files, list) else []
    return [one for one in some if not isinstance(one, dict) or one.get("path") not in timed]


def _known(entry: Entry, sha256: str) -> dict[str, Any]:
    return {"tag": entry.tag, "bytes": entry.bytes, "sha256": sha256}
