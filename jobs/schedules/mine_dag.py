"""Nightly runs in Airflow 3: a DAG that mines and then removes old runs.

Install: copy this file to the DAGs folder. The workers need `mine` at the path ``MINE``, best in a
separate virtual environment, because this file does not import it, and the folder ``WORK`` with the
job file.

The exit code of `mine` decides the state of a task. 0: success. 4 (another run holds the output
folder): skipped together with the tasks that follow; no alarm. 1, 2, 3 and 5 (a defect, the job
file, the data, a gate): failed without a retry, because a retry would fail too. 6 and all others
(storage, engine, killed): failed and retried; `mine` continues where it stopped.
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
"""Seconds from SIGTERM to SIGKILL, in which `mine` ends its workers and writes its metrics."""


class MineOperator(BaseOperator):
    """Runs `mine` with the given arguments, and copies its log lines to the log of the task."""

    template_fields = ("arguments",)
    ui_color = "#e8f0d8"

    def __init__(self, *, arguments: list[str], program: str = MINE, work: str = WORK, **more: Any):
        super().__init__(**more)
        self.arguments = arguments
        self.program = program
        self.work = work
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> None:
        """Run `mine` and convert its exit code to the state of the task."""
        command = [self.program, *self.arguments]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        last = ""
        with subprocess.Popen(  # noqa: S603  # no shell; the arguments come from this file
            command, cwd=self.work, text=True, **both
        ) as self._process:
            try:
                for line in self._process.stdout or ():
                    last = line.rstrip()
                    self.log.info("%s", last)
                code = self._process.wait()
            finally:  # also after a timeout, which arrives as an exception
                self.on_kill()
        if code in SKIPPED:
            raise AirflowSkipException(last)
        if code in FINAL:
            raise AirflowFailException(f"exit code {code}: {last}")
        if code:
            raise AirflowException(f"exit code {code}: {last}")

    def on_kill(self) -> None:
        """End `mine` when the task must end: it was cleared, or its worker shuts down."""
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
    catchup=False,  # missed nights are not run one by one later
    max_active_runs=1,  # one writer per output folder
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
