"""What this machine has: versions, extras, compiled loops, cores, memory and folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from miner.census.device.devices import find_gpu
from miner.census.kernels import cache_folder, has_numba, is_cold
from miner.errors import DISTRIBUTION, install_hint
from miner.formatting import bytes_text
from miner.storage.urls import work_home
from miner.version import installed_version, package_versions

__all__ = ["describe_machine", "machine_facts", "usable_cores"]

_EXTRAS = (
    "fast",
    "text",
    "images",
    "sql",
    "dask",
    "http",
    "onnx",
    "remote",
    "bm25",
    "torch",
    "timm",
    "sentence-transformers",
)
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def machine_facts() -> dict[str, Any]:
    """Return the versions, resources and folders that a run on this machine has.

    Returns
    -------
    dict
        ``versions``; ``extras``, by name the packages that are missing; ``loops`` (``installed``,
        ``compiled``, ``folder``); ``cores``; ``gpu``, its name or None; ``memory_bytes``;
        ``cache`` and ``work``, folders that the environment names; ``disk_free_bytes`` of the
        current folder.
    """
    return {
        "versions": package_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "extras": {name: _missing(name) for name in _EXTRAS},
        "loops": {
            "installed": has_numba(),
            "compiled": has_numba() and not is_cold(),
            "folder": cache_folder(),
        },
        "cores": usable_cores(),
        "gpu": find_gpu(),
        "memory_bytes": _memory(),
        "cache": os.environ.get("MINE_CACHE"),
        "work": str(work_home()),
        "disk_free_bytes": shutil.disk_usage(".").free,
    }


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    able = getattr(os, "sched_getaffinity", None)
    return len(able(0)) if able else os.cpu_count() or 1


def _missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    wanted = [one for one in _requirements() if f'extra == "{extra}"' in one]
    names = [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in wanted]
    return [name for name in names if installed_version(name) is None]


def _requirements() -> list[str]:
    """Return what this package requires; nothing where it runs without being installed."""
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []


def _memory() -> int:
    """Return the bytes of memory of this machine, or of the container where that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP.read_text().strip() if _CGROUP.is_file() else "max"
    return min(whole, int(limit)) if limit.isdigit() else whole


def describe_machine(facts: dict[str, Any]) -> str:
    """Return the facts of `machine_facts` in words, one line each.

    Parameters
    ----------
    facts : dict

    Returns
    -------
    str
    """
    lines = [
        ("mine", f"{facts['versions']['mine']}, Python {facts['versions']['python']}"),
        ("machine", f"{facts['platform']}, {facts['cores']} usable cores"),
        ("gpu", facts["gpu"] or "none that PyTorch sees; the CPU counts"),
        ("memory", bytes_text(facts["memory_bytes"])),
        ("disk", f"{bytes_text(facts['disk_free_bytes'])} free in this folder"),
        ("loops", _loops(facts["loops"])),
        ("", facts["loops"]["folder"] or ""),
        ("cache", facts["cache"] or "in each output folder; MINE_CACHE names one for all jobs"),
        ("work", f"{facts['work']}, for data and output on object storage"),
    ]
    shown = ("numpy", "pyarrow", "faiss-cpu", "joblib", "numba")
    lines += [
        ("packages" * (not n), f"{name} {_version(facts, name)}") for n, name in enumerate(shown)
    ]
    for place, (name, missing) in enumerate(facts["extras"].items()):
        said = f"not installed: {', '.join(missing)}" if missing else "installed"
        lines.append(("extras" * (not place), f"{name:<21} {said}"))
    return "\n".join(f"  {name:<9} {text}".rstrip() for name, text in lines if name or text)


def _version(facts: dict[str, Any], name: str) -> str:
    return facts["versions"][name] or "not installed"


def _loops(loops: dict[str, Any]) -> str:
    if not loops["installed"]:
        return f"numba is not installed, counting is slower; {install_hint('fast')}"
    if loops["compiled"]:
        return "compiled, kept in"
    return "to be compiled at the first large job, or by python -m miner.census.kernels; in"
