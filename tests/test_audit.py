"""The audit of the dependencies: it fails on what is known, and says when it knows nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests import audit

BAD = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"], "description": ""}
REPORT = {
    "dependencies": [
        {"name": "good", "version": "1.0", "vulns": []},
        {"name": "bad", "version": "1.0", "vulns": [BAD]},
        {"name": "ours", "skip_reason": "distribution marked as editable"},
    ]
}
UNKNOWN = {"dependencies": [{"name": "good", "skip_reason": "not found on PyPI"}]}


def told(monkeypatch: pytest.MonkeyPatch, *answers: tuple[dict[str, Any] | None, str]) -> None:
    """Let the services answer so."""
    given = iter(answers)
    monkeypatch.setattr(audit, "asked", lambda service: next(given))


def test_a_known_vulnerability_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, (REPORT, ""))
    assert audit.main() == 1
    said = capsys.readouterr().out
    assert "vulnerable: bad 1.0: PYSEC-2026-1, CVE-2026-1; mended in 2.0" in said
    assert "2 packages, 1 known" in said


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-1"])
def test_what_is_ignored_by_name_passes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "IGNORED", {name: "not used here", "CVE-2020-9": "gone by now"})
    told(monkeypatch, (REPORT, ""))
    assert audit.main() == 0
    assert "CVE-2020-9 is ignored, but no package has it" in capsys.readouterr().out


def test_without_an_answer_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AUDIT_REQUIRED", raising=False)
    for required in (0, 1):
        told(monkeypatch, (UNKNOWN, ""), (None, "connection refused"))
        assert audit.main() == required
        said = capsys.readouterr().out
        assert said.startswith("NOT AUDITED: no network")
        assert "knows none of 1 packages" in said and "connection refused" in said
        monkeypatch.setenv("AUDIT_REQUIRED", "1")


def test_the_second_service_is_asked_where_the_first_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(monkeypatch, (None, "timeout"), (REPORT, ""))
    assert audit.main() == 1


def test_every_ignored_one_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in audit.IGNORED.values())


@pytest.fixture
def osv() -> Iterator[str]:
    """A service that knows one vulnerability, of pytest."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            package = json.loads(self.rfile.read(size))["package"]["name"]
            affected = [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": []}]
            one = {"id": "OSV-1", "affected": affected, "summary": "bad", "aliases": ["CVE-1"]}
            one |= {"modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z"}
            answer = json.dumps({"vulns": [one]} if package == "pytest" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/v1/query"
        http.shutdown()
        thread.join()


@pytest.mark.slow
def test_pip_audit_is_understood(
    osv: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pip_audit")
    monkeypatch.setattr(audit, "SERVICES", (("--osv-url", osv, "-s", "osv"),))
    assert audit.main() == 1
    said = capsys.readouterr().out
    assert "vulnerable: pytest" in said and "OSV-1" in said and "1 known" in said
    monkeypatch.setattr(audit, "SERVICES", (("--osv-url", "http://127.0.0.1:1/q", "-s", "osv"),))
    monkeypatch.delenv("AUDIT_REQUIRED", raising=False)
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("NOT AUDITED")
