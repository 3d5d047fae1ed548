"""`python -m tests.audit`: known vulnerabilities of the installed packages, by pip-audit.

Fails on one that `IGNORED` does not name. Where no service can be asked (no network, or an index
that knows nothing of vulnerabilities) it says that nothing was audited, and does not fail: checks
must pass offline too. `AUDIT_REQUIRED=1` makes that a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IGNORED: dict[str, str] = {}
"""Identifier -> why it does not concern us. An entry that no package has any more is named."""

SERVICES: tuple[tuple[str, ...], ...] = (("--vulnerability-service", "pypi"), ("-s", "osv"))
"""They are asked in turn, until one knows the packages."""
SECONDS = 120


def asked(service: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """Ask a service about what is installed: pip-audit's report, or None and why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", *service, "--skip-editable"]
        command += ["--progress-spinner", "off", "--timeout", "10", "--format", "json"]
        try:
            done = subprocess.run(
                [*command, "--output", str(report)],
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None, f"no answer within {SECONDS} s"
        if report.exists() and report.stat().st_size:
            found: dict[str, Any] = json.loads(report.read_text())
            return found, ""
    said = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return None, said[-1][:300] if said else f"pip-audit ended with {done.returncode}"


def verdict(report: Mapping[str, Any], ignored: Mapping[str, str]) -> tuple[int, list[str]]:
    """Say what a report means.

    Returns
    -------
    int
        How many packages were audited.
    list of str
        The vulnerabilities that are not ignored.
    """
    packages = [one for one in report["dependencies"] if "vulns" in one]
    found = []
    for package in packages:
        for vulnerability in package["vulns"]:
            names = [vulnerability["id"], *vulnerability.get("aliases", [])]
            if not ignored.keys() & set(names):
                fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"
                known = f"{package['name']} {package['version']}: {', '.join(names)}"
                found.append(f"{known}; mended in {fixed}")
    return len(packages), found


def unused(report: Mapping[str, Any], ignored: Mapping[str, str]) -> list[str]:
    """Return the ignored identifiers that no package has any more."""
    names = {
        name
        for package in report["dependencies"]
        for one in package.get("vulns", [])
        for name in (one["id"], *one.get("aliases", []))
    }
    return sorted(ignored.keys() - names)


def main() -> int:
    """Ask, print, and return the exit code."""
    reasons = []
    for service in SERVICES:
        report, reason = asked(service)
        if report is None:
            reasons.append(f"{service[-1]}: {reason}")
            continue
        count, found = verdict(report, IGNORED)
        if not count:
            reasons.append(f"{service[-1]}: knows none of {len(report['dependencies'])} packages")
            continue
        for one in found:
            print(f"vulnerable: {one}")
        for name in unused(report, IGNORED):
            print(f"audit: {name} is ignored, but no package has it: drop it from tests/audit.py")
        print(f"audit: {count} packages, {len(found)} known vulnerabilities")
        return min(len(found), 1)
    required = os.environ.get("AUDIT_REQUIRED", "") not in ("", "0")
    print(f"NOT AUDITED: no network, or no service that answers ({'; '.join(reasons)})")
    return int(required)


if __name__ == "__main__":
    sys.exit(main())
