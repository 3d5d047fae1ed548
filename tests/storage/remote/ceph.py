"""Ceph's object gateway on the loopback: a monitor, a manager, one store in memory, the gateway.

`ceph-mon`, `ceph-mgr`, `ceph-osd`, `ceph-common` and `radosgw` are Debian's packages. Nothing of
it outlives the context, and nothing of a cluster that the machine may have is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KEY, SECRET = "known-key", "very-secret"
_PATIENCE = 180
_CONFIGURATION = """[global]
fsid = {cluster}
mon_host = [v2:127.0.0.1:{ports[0]}/0,v1:127.0.0.1:{ports[1]}/0]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
{modes}
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
keyring = {folder}/keyring
mon_data = {folder}/mon
mgr_data = {folder}/mgr
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 1073741824
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
rgw_frontends = beast endpoint=127.0.0.1:{ports[2]}
rgw_data = {folder}/rgw
"""
_MODES = ("cluster", "service", "client", "mon_cluster", "mon_service", "mon_client")


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def _ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """Start all of it below a folder of a short path; yield the URL of the gateway."""
    ports = _ports(3)
    file = folder / "ceph.conf"
    modes = "\n".join(f"ms_{name}_mode = crc" for name in _MODES)
    for name in ("mon", "mgr", "osd", "rgw"):
        (folder / name).mkdir()
    (folder / "keyring").touch()
    cluster, osd = uuid.uuid4(), str(uuid.uuid4())
    file.write_text(_CONFIGURATION.format(cluster=cluster, ports=ports, folder=folder, modes=modes))
    environment = {**os.environ, "CEPH_CONF": str(file), "PYTHONWARNINGS": "ignore"}

    def call(*command: object) -> None:
        words = [str(word) for word in command]
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"

    with ExitStack() as stack:

        def start(*command: object) -> None:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            words = [str(word) for word in command]
            process = stack.enter_context(subprocess.Popen(words, env=environment, **quiet))
            stack.callback(process.kill)

        addresses = f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]"
        call("monmaptool", "--create", "--fsid", cluster, "--addv", "a", addresses, folder / "map")
        call("ceph-mon", "-i", "a", "--mkfs", "--monmap", folder / "map")
        start("ceph-mon", "-i", "a", "-f")
        call("ceph", "--connect-timeout", _PATIENCE, "osd", "new", osd, 0)
        start("ceph-mgr", "-i", "x", "-f")
        call("ceph-osd", "-i", 0, "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", "-i", 0, "-f")
        start("radosgw", "-n", "client.admin", "-f")
        _wait_for(ports[2])
        user = ["--uid", "tests", "--display-name", "tests"]
        call("radosgw-admin", "user", "create", *user, "--access-key", KEY, "--secret", SECRET)
        yield f"http://127.0.0.1:{ports[2]}"


def _wait_for(port: int) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the gateway did not come up")
