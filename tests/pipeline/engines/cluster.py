"""A real Dask scheduler with real workers, in processes of their own, on the loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed

from tests.conftest import ROOT


class Cluster:
    """A scheduler, and workers that come and go."""

    def __init__(self, folder: Path, allowed_failures: int = 3) -> None:
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._allowed = allowed_failures
        self._start()

    def _start(self) -> None:
        told = self.folder / "scheduler.json"
        told.unlink(missing_ok=True)
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        words += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(told)]
        name = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"
        self.scheduler = self._run(words, {name: str(self._allowed)})
        for _ in range(600):
            if told.exists() and told.stat().st_size:
                break
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = str(json.loads(told.read_text())["address"])

    def _run(self, words: list[str], more: dict[str, str]) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self.folder,  # not that of the run: paths must be whole
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(
        self, *names: str, sabotage: str = "", nanny: bool = False, wait: bool = True
    ) -> None:
        """Start workers of one thread, and wait until the scheduler has them."""
        for name in names:
            words = ["worker", self.address, "--host", "127.0.0.1", "--nthreads", "1"]
            words += ["--name", name, "--no-dashboard", "--memory-limit", "0"]
            words += [
                "--local-directory",
                str(self.folder),
                "--preload",
                "tests.pipeline.engines.sabotage",
            ]
            words += ["--death-timeout", "60", *([] if nanny else ["--no-nanny"])]
            self.workers[name] = self._run(words, {"MINE_SABOTAGE": sabotage})
        if wait:
            with distributed.Client(self.address, set_as_default=False) as client:
                client.wait_for_workers(len(self.workers), timeout=60)

    def connected(self) -> int:
        """Count the workers that the scheduler has."""
        with distributed.Client(self.address, set_as_default=False) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])

    def kill(self, *names: str) -> None:
        """Kill workers at once, with all that they have started."""
        for name in names or list(self.workers):
            self._end(self.workers.pop(name))

    def kill_scheduler(self) -> None:
        self._end(self.scheduler)

    def close(self) -> None:
        self.kill()
        self.kill_scheduler()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
