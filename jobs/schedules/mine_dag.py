"""The night in Airflow 3: a DAG that mines and then removes old runs.

Install: copy this file to the DAGs folder. The workers need `mine` (set ``MINE``, best a virtual
environment of its own: this file imports nothing of it) and the folder ``WORK`` with the job file.

A task ends as the exit code of `mine` has it: 0 success; 4 (another run holds the output folder)
skipped, which is no alarm, and what follows is skipped with it; 1, 2, 3 and 5 (a defect, the job
file, the data, a gate) failed for good, for a second try would fail too; 6 and everything else
(storage, engine, killed) failed and tried again: `mine` goes on where it was.
"""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

MINE = "/opt/mine/bin/mine"
WORK = "/srv/mine"

SKIPPED = {4}
FINAL = {1, 2, 3, 5}
GRACE = 120
"""Seconds from SIGTERM to SIGKILL: `mine` ends its workers and writes its metrics in between."""


class MineOperator(BaseOperator):
    """Runs `mine` with some arguments; its log lines are the task's."""

    template_fields = ("arguments",)
    ui_color = "#e8f0d8"

    def __init__(self, *, arguments: list[str], program: str = MINE, work: str = WORK, **more: Any):
        super().__init__(**more)
        self.arguments = arguments
        self.program = program
        self.work = work
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> None:
        """Run it; turn its exit code into the state of the task."""
        command = [self.program, *self.arguments]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        said = ""
        with subprocess.Popen(  # noqa: S603  # no shell; the words are this file's
            command, cwd=self.work, text=True, **both
        ) as self._process:
            try:
                for line in self._process.stdout or ():
                    said = line.rstrip()
                    self.log.info("%s", said)
                code = self._process.wait()
            finally:  # of the timeout, too: it arrives as an exception
                self.on_kill()
        if code in SKIPPED:
            raise AirflowSkipException(said)
        if code in FINAL:
            raise AirflowFailException(f"exit code {code}: {said}")
        if code:
            raise AirflowException(f"exit code {code}: {said}")

    def on_kill(self) -> None:
        """End it when the task is to end (it was cleared, or its worker goes down)."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()


with DAG(
    dag_id="mine",
    description="Mine triplets for the night",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,  # nights that were missed are not made up for one by one
    max_active_runs=1,  # one writer an output folder
    dagrun_timeout=timedelta(hours=8),
    default_args={"owner": "mine"},
    tags=["mine"],
    doc_md=__doc__,
) as dag:
    run = MineOperator(
        task_id="run",
        arguments=["run", "jobs/nightly.toml", "--quiet", "--log-format", "json"],
        execution_timeout=timedelta(hours=6),
        retries=3,
        retry_delay=timedelta(minutes=5),
        retry_exponential_backoff=True,
    )
    prune = MineOperator(
        task_id="prune",
        arguments=["prune", "mined", "--keep", "7"],
        execution_timeout=timedelta(minutes=30),
        retries=1,
    )
    run >> prune
