"""The files of `jobs/schedules`: each by its own tool or schema, and by what it makes of a code."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import miner
from tests.conftest import ROOT

SCHEDULES = ROOT / "jobs/schedules"
CODES = [0, 1, 2, 3, 4, 5, 6, 143]
SYSTEMD = shutil.which("systemd-analyze")
IMAGE_LOOPS = "/opt/mine/numba"
"""Where an image brings compiled loops."""
AIRFLOW = ROOT / ".airflow/bin/python"

FAKE = """#!/bin/sh
echo "$@" >> {log}
[ "$1" = run ] || [ -z "$PRUNES" ] || exit "$PRUNES"
[ "$1" = run ] || exit 0
[ "$CODE" = 0 ] || echo "mine: error: code $CODE" >&2
exit "$CODE"
"""
LONG = """#!/bin/sh
trap 'echo ended >> {log}; exit 143' TERM
echo begun >> {log}
for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; done
"""
"""A `mine` that takes its time, and some more once it is told to end."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def fake(bin_: Path, log: Path, code: str = FAKE) -> None:
    """Put a `mine` into a folder."""
    (bin_ / "mine").write_text(code.format(log=log))
    (bin_ / "mine").chmod(0o755)


def there(text: str) -> set[str]:
    """The options of `mine` that a file uses."""
    return set(re.findall(r"(?<= )--[a-z-]+", text))


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return Path(path).is_relative_to(folder)


# systemd


def unit(name: str) -> configparser.RawConfigParser:
    read = configparser.RawConfigParser(strict=False, delimiters=("=",))
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(SCHEDULES / name)
    return read


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path, bin_: Path, log: Path) -> None:
    """With the program where it is here: systemd looks whether there is one."""
    fake(bin_, log)
    (bin_ / "python").symlink_to(sys.executable)
    for name in ("mine.service", "mine.timer"):
        text = (SCHEDULES / name).read_text().replace("/opt/mine/bin", str(bin_))
        (tmp_path / name).write_text(text)
    names = ["mine.service", "mine.timer"]
    command = [str(SYSTEMD), "verify", "--man=no", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "mine" in line]
    assert (done.returncode, said) == (0, []), done.stderr
    (tmp_path / "mine.service").write_text(text.replace("[Timer]", "[Service]"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "mine.service" in done.stderr  # that it would say so


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
def test_systemd_knows_the_time() -> None:
    when = unit("mine.timer")["Timer"]["OnCalendar"]
    command = [str(SYSTEMD), "calendar", "--iterations=2", "--base-time=2026-11-27 12:00", when]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2026-11-28 02:30:00" in done.stdout
    assert "2026-11-29 02:30:00" in done.stdout


def test_the_unit_goes_by_the_exit_codes() -> None:
    service = unit("mine.service")["Service"]
    assert service["Type"] == "oneshot"
    well = set(service["SuccessExitStatus"].split())
    final = set(service["RestartPreventExitStatus"].split())
    assert (well, final) == ({"4", "143"}, {"1", "2", "3", "5", "143"})
    assert service["Restart"] == "on-failure"  # what is left: 6, and signals
    assert service["KillMode"] == "mixed"
    assert unit("mine.timer")["Timer"]["Persistent"] == "true"


def test_the_unit_keeps_compiled_loops_where_only_its_user_writes() -> None:
    """numba unpickles its cache: a folder that others write to would let them run code."""
    service = unit("mine.service")["Service"]
    assert service["CacheDirectoryMode"] == "0700"
    name, _, folder = service["Environment"].partition("=")
    assert name == "NUMBA_CACHE_DIR"
    assert lies_in(folder, f"/var/cache/{service['CacheDirectory']}")
    assert not lies_in(folder, service["WorkingDirectory"])  # where the output is
    assert service["ExecStartPre"] == "-/opt/mine/bin/python -m miner.census.kernels"


# cron


def crontab() -> list[tuple[str, str]]:
    """The times and the commands of the crontab."""
    lines = (SCHEDULES / "crontab").read_text().splitlines()
    jobs = [line for line in lines if line and line[0] in "*0123456789"]
    others = [line for line in lines if line and line not in jobs and line[0] != "#"]
    assert all(re.fullmatch(r"[A-Z_]+=.*", line) for line in others)
    assert not any("%" in line for line in jobs)  # cron would cut it there
    return [(" ".join(line.split()[:5]), line.split(maxsplit=5)[5]) for line in jobs]


def test_cron_knows_the_times() -> None:
    cronsim = pytest.importorskip("cronsim", reason="cronsim is not installed")
    noon = datetime(2026, 11, 27, 12, 0)
    nexts = [next(cronsim.CronSim(when, noon)).isoformat() for when, _ in crontab()]
    assert nexts == ["2026-11-28T02:30:00", "2026-11-28T09:30:00", "2026-11-27T17:45:00"]


@pytest.mark.parametrize("code", CODES)
def test_cron_mails_what_is_an_alarm(tmp_path: Path, bin_: Path, log: Path, code: int) -> None:
    fake(bin_, log)
    env = {"PATH": f"{bin_}:/usr/bin:/bin", "CODE": str(code), "PRUNES": str(code)}
    for _, command in crontab():
        here = command.replace("/srv/mine", str(tmp_path))
        done = subprocess.run(
            ["/bin/sh", "-c", here], env=env, capture_output=True, text=True, check=False
        )
        mail = done.stdout + done.stderr
        assert done.returncode == code
        told = "" if code in (0, 4) else f"mine: error: code {code}\n"
        assert mail.strip() == ("" if "prune" in command else told.strip())
    assert log.read_text().splitlines() == [
        *["run jobs/nightly.toml --quiet"] * 2,
        "prune mined --keep 7",
    ]


# Kubernetes


def documents() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found: list[dict[str, Any]] = list(yaml.safe_load_all((SCHEDULES / "cronjob.yaml").read_text()))
    return found


def cron_job() -> dict[str, Any]:
    (found,) = [one["spec"] for one in documents() if one["kind"] == "CronJob"]
    return dict(found)


def test_kubernetes_takes_the_manifests() -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is missing")
    assert [one["kind"] for one in documents()] == ["ConfigMap", "PersistentVolumeClaim", "CronJob"]
    for version in ("1.31", schemas.latest_version()):
        for document in documents():
            schemas.validate(document, version, strict=True)
    wrong = documents()[-1]
    wrong["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["acton"] = "FailJob"
    with pytest.raises(schemas.ValidationError):
        schemas.validate(wrong, version, strict=True)


def test_the_cron_job_goes_by_the_exit_codes() -> None:
    spec = cron_job()
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert pod["restartPolicy"] == "Never"
    assert job["activeDeadlineSeconds"] > pod["terminationGracePeriodSeconds"] >= 60
    final, disruption = job["podFailurePolicy"]["rules"]
    assert (final["action"], final["onExitCodes"]["values"]) == ("FailJob", [1, 2, 3, 5])
    assert (final["onExitCodes"]["operator"], disruption["action"]) == ("In", "Ignore")
    (container,) = pod["containers"]
    assert final["onExitCodes"]["containerName"] == container["name"]
    assert {"requests", "limits"} == set(container["resources"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    job_file = miner.parse_job(tomllib.loads(documents()[0]["data"]["nightly.toml"]))
    assert job_file.output.path == f"{mounts['out']}/mined"
    assert str(job_file.dataset.path).startswith(f"{mounts['data']}/")
    cronsim = pytest.importorskip("cronsim", reason="cronsim is not installed")
    assert next(cronsim.CronSim(spec["schedule"], datetime(2026, 11, 27))).hour == 2


def test_the_cron_job_keeps_compiled_loops_in_a_volume_of_the_pod() -> None:
    """numba unpickles its cache: what others write to, or mount, is no place for it."""
    pod = cron_job()["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folder = {one["name"]: one["value"] for one in container["env"]}["NUMBA_CACHE_DIR"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    around = [one["name"] for one in container["volumeMounts"] if lies_in(folder, one["mountPath"])]
    assert around == ["loops"]
    assert volumes["loops"] == {"name": "loops", "emptyDir": {}}
    assert container["securityContext"]["readOnlyRootFilesystem"]  # so it needs a volume
    assert f"[ ! -d {IMAGE_LOOPS} ] || cp -R {IMAGE_LOOPS}/. " in container["args"][0]
    said = (SCHEDULES / "cronjob.yaml").read_text()
    assert f"NUMBA_CACHE_DIR={IMAGE_LOOPS} python -m miner.census.kernels" in said


def test_no_schedule_keeps_compiled_loops_with_the_output() -> None:
    """Neither a night's output folder nor its volume holds numba's cache: trainers read there."""
    files = [path.read_text() for path in SCHEDULES.iterdir() if path.is_file()]
    said = re.findall(r"NUMBA_CACHE_DIR(?:=|, value: )(/[\w./-]+)", "\n".join(files))
    assert len(said) >= 3  # the unit, the manifest, and the line for an image
    assert not any(lies_in(folder, out) for folder in said for out in ("/out", "/srv/mine"))


def test_the_container_takes_the_loops_of_its_image(tmp_path: Path, bin_: Path, log: Path) -> None:
    fake(bin_, log)
    image, volume = tmp_path / "image", tmp_path / "volume"
    (image / "kernels_1").mkdir(parents=True)
    (image / "kernels_1/loop.nbi").write_text("compiled")
    volume.mkdir()
    start = [word.replace(IMAGE_LOOPS, str(image)) for word in container_start()]
    env = {"PATH": f"{bin_}:/usr/bin:/bin", "CODE": "0", "NUMBA_CACHE_DIR": str(volume)}
    subprocess.run(start, env=env, check=True)
    assert (volume / "kernels_1/loop.nbi").read_text() == "compiled"


def container_start() -> list[str]:
    (container,) = cron_job()["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [*container["command"], *container["args"]]


@pytest.mark.parametrize(
    ("code", "prunes", "ends"),
    [*((code, "", 0 if code == 4 else code) for code in CODES), (0, "4", 0), (0, "6", 6)],
)
def test_the_container_hands_on_codes(
    bin_: Path, log: Path, code: int, prunes: str, ends: int
) -> None:
    fake(bin_, log)
    env = {"PATH": f"{bin_}:/usr/bin:/bin", "CODE": str(code), "PRUNES": prunes}
    done = subprocess.run(container_start(), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == ends
    assert done.stdout == ""
    pruned = ["prune /out/mined --keep 7"] if code == 0 else []
    assert log.read_text().splitlines() == ["run /jobs/nightly.toml --log-format json", *pruned]


def test_the_container_hands_on_signals(bin_: Path, log: Path) -> None:
    fake(bin_, log, LONG)
    env = {"PATH": f"{bin_}:/usr/bin:/bin"}
    with subprocess.Popen(container_start(), env=env, start_new_session=True) as process:
        try:
            for _ in range(200):
                if log.exists():
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)  # to the shell alone, as a kubelet does
            assert process.wait(30) == 143
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert log.read_text() == "begun\nended\n"


# Airflow


def test_the_dag_is_light() -> None:
    tree = ast.parse((SCHEDULES / "mine_dag.py").read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name) or ""
        for node in found
        for alias in node.names
    }
    light = sys.stdlib_module_names | {"airflow"}
    assert {name.partition(".")[0] for name in names} <= light
    assert {name for name in names if name.startswith("airflow")} == {
        "airflow.sdk",
        "airflow.sdk.exceptions",
    }


DAG = """
import json, os, pathlib, sys, threading, time
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert bag.import_errors == {}, bag.import_errors
(dag,) = bag.dags.values()
run, prune = (dag.task_dict[name] for name in ("run", "prune"))
module = sys.modules[type(run).__module__]
states = {}
work = pathlib.Path(sys.argv[2])
for code in json.loads(sys.argv[3]):
    os.environ["CODE"] = str(code)
    run.program, run.work = str(work / "bin/mine"), str(work)
    try:
        type(run).execute.__wrapped__(run, {})
        states[code] = "success"
    except Exception as error:
        states[code] = f"{type(error).__name__}: {error}"

def be_killed():
    try:
        type(run).execute.__wrapped__(run, {})
    except Exception as error:
        states["killed"] = f"{type(error).__name__}: {error}"

run.program = str(work / "bin/long")
thread = threading.Thread(target=be_killed)
thread.start()
while "begun" not in (work / "log").read_text():
    time.sleep(0.05)
run.on_kill()  # what Airflow calls at SIGTERM
thread.join()
print(json.dumps({
    "dag": [dag.dag_id, dag.catchup, dag.max_active_runs, str(dag.schedule)],
    "after": sorted(run.downstream_task_ids),
    "retries": [run.retries, prune.retries],
    "rule": str(prune.trigger_rule.value),
    "states": states,
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT / ".airflow/ready").exists(), reason="Airflow is not installed; make test-slow does"
)
def test_airflow_takes_the_dag(tmp_path: Path, bin_: Path, log: Path) -> None:
    """In an environment of its own: Airflow pins hundreds of packages."""
    fake(bin_, log, LONG)
    (bin_ / "mine").rename(bin_ / "long")
    fake(bin_, log)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    command = [str(AIRFLOW), "-c", DAG, str(SCHEDULES), str(tmp_path), json.dumps(CODES)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["dag"] == ["mine", False, 1, "30 2 * * *"]
    assert (facts["after"], facts["rule"]) == (["prune"], "all_success")
    assert facts["retries"] == [3, 1]
    assert facts["states"].pop("killed").startswith("AirflowException: exit code 143")
    assert log.read_text().endswith("begun\nended\n")
    kinds = {int(code): state.partition(":")[0] for code, state in facts["states"].items()}
    final = dict.fromkeys((1, 2, 3, 5), "AirflowFailException")
    again = dict.fromkeys((6, 143), "AirflowException")
    assert kinds == {0: "success", 4: "AirflowSkipException", **final, **again}
    assert "code 5" in facts["states"]["5"]


# All of them


def test_every_file_runs_what_there_is() -> None:
    """The options that the files use are those of the command line."""
    files = {path.name: path.read_text() for path in SCHEDULES.iterdir() if path.is_file()}
    assert set(files) == {"mine.service", "mine.timer", "crontab", "cronjob.yaml", "mine_dag.py"}
    shown = {}
    for command in ("run", "prune"):
        words = [sys.executable, "-m", "miner", command, "--help"]
        shown[command] = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for name, text in files.items():
        for line in text.replace("\\\n", " ").splitlines():
            found = re.search(r"\bmine (run|prune)\b(.*)", line)
            if found and not line.lstrip().startswith("#"):
                assert all(f"{one} " in shown[found[1]] for one in there(found[2])), (
                    f"{name}: {line}"
                )
