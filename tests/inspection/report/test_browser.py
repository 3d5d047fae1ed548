"""Reports in headless Chromium: nothing is asked for, nothing is wrong, everybody can read them.

Screenshots go to the folder that `MINE_SCREENSHOTS` names, if it does.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import miner
from miner.runs.run import Run
from tests.conftest import ROOT
from tests.inspection.report.data import empty, images, odd

selenium = pytest.importorskip("selenium", reason="needs pip install '.[browser]'")

from selenium import webdriver  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = importlib.util.find_spec("axe_playwright_python")  # whose axe.min.js needs no playwright
pytestmark = [
    pytest.mark.slow,
    pytest.mark.report,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromium-driver"),
    pytest.mark.skipif(not AXE, reason="needs pip install --no-deps axe-playwright-python"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of selenium's sockets
]

SETS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": {"path": str(ROOT / "sample_data" / "digits.parquet")}},
    "intents": {
        "dataset": {"path": str(ROOT / "sample_data" / "support_requests.csv")},
        "mining": {"metric": "cosine"},
    },
    "handbook": {
        "dataset": {"path": str(ROOT / "sample_data" / "handbook")},
        "mining": {"metric": "cosine", "margin": 0.1},
        "select": {"per_pair": 50},
    },
    "images": {"model": {"name": "pixels", "options": {"size": 8}}},
    "odd": {"model": {"name": "tests.inspection.report.data:embed"}},
    "empty": {"dataset": {"group": "group"}, "gates": {"min_rows": 0}},
}
MADE: dict[str, Callable[[Path], Path]] = {"images": images, "odd": odd, "empty": empty}

TOO_WIDE = """
const wide = [...document.querySelectorAll('table, td, th, p, dd, dt, h1, h2, h3, pre, figure')]
  .filter(e => getComputedStyle(e.closest('thead') || e).position != 'absolute')  // for ears alone
  .filter(e => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth);
return wide.map(e => e.outerHTML.slice(0, 200));
"""
"""What is cut, or reaches out of what it lies in."""

LETTERS = """
const shown = [...document.querySelectorAll('.plot text')].filter(e => e.getClientRects().length);
return shown.map(e => {
  const turn = e.getScreenCTM(), box = e.getBoundingClientRect();
  const size = parseFloat(getComputedStyle(e).fontSize) * Math.hypot(turn.a, turn.b);
  return [e.textContent, size, box.left, box.right];
});
"""
"""The texts in figures as they are shown: their size, and from where to where they reach."""


def mined(name: str, tmp_path: Path) -> Run:
    job = {**SETS[name], "output": {"path": str(tmp_path / "out")}}
    if name in MADE:
        job["dataset"] = {**job.get("dataset", {}), "path": str(MADE[name](tmp_path))}
    return miner.mine(job)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    profile = tmp_path_factory.mktemp("profile")
    for word in (
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    driver.set_page_load_timeout(300)
    driver.set_script_timeout(300)
    driver.get("about:blank")  # what it begins with asks for things of its own
    driver.get_log("performance")
    yield driver
    driver.quit()


def shown(browser: Any, path: Path, width: int, scheme: str) -> None:
    """Load a page at a width, in a colour scheme."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())


def requests(browser: Any) -> list[str]:
    """Return what the browser asked for since the last call."""
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    urls = [one["request"]["url"] for one in asked]
    return [url for url in urls if not url.startswith(("data:", "chrome://", "about:"))]


def axe_source() -> str:
    """Return the accessibility checker axe-core."""
    assert AXE is not None and AXE.origin is not None
    return next(Path(AXE.origin).parent.glob("**/axe.min.js")).read_text(encoding="utf-8")


def look(browser: Any, path: Path, name: str) -> None:
    for width in (1280, 400):
        for scheme in ("light", "dark"):
            shown(browser, path, width, scheme)
            assert requests(browser) == [path.as_uri()]
            assert browser.get_log("browser") == []
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, f"{name} scrolls sideways at {width}: {wide}"
            assert browser.execute_script(TOO_WIDE) == [], f"{name} at {width}"
            for text, size, left, right in browser.execute_script(LETTERS):
                assert size >= 10.5, f"{name} at {width}: {text} is {size:.1f} pixels high"
                assert left >= 0 and right <= width, f"{name} at {width}: {text} is cut"
            keep_picture(browser, f"{name}-{width}-{scheme}.png")
            browser.execute_script(axe_source())
            found = browser.execute_async_script(
                "const done = arguments[0];"
                "axe.run().then(r => done(r.violations.map("
                "v => [v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])))"
            )
            assert found == [], f"{name} at {width}, {scheme}"


def keep_picture(browser: Any, name: str) -> None:
    folder = os.environ.get("MINE_SCREENSHOTS")
    if folder:
        options = {"captureBeyondViewport": True, "format": "png"}
        taken = browser.execute_cdp_cmd("Page.captureScreenshot", options)
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(base64.b64decode(taken["data"]))


@pytest.mark.parametrize("name", SETS)
def test_a_report_in_a_browser(name: str, tmp_path: Path, browser: Any) -> None:
    path = mined(name, tmp_path).file("report.html")
    assert path.stat().st_size < 1_000_000
    look(browser, path, name)


def test_a_comparison_in_a_browser(tmp_path: Path, browser: Any) -> None:
    """The words before each text make it another one: a verdict on that, and labels that moved."""
    runs = []
    for prompt in ("", "My order, card and account: "):
        job = {**SETS["intents"], "model": {"prompt": prompt}}
        runs.append(miner.mine({**job, "output": {"path": str(tmp_path / "out")}}))
    path = miner.write_comparison(miner.compare_runs(*runs), tmp_path / "compare.html")
    look(browser, path, "compare")
    assert browser.find_element("tag name", "h1").text == "B separates the labels worse than A"
    rows = browser.find_elements("css selector", "[aria-labelledby=labels-head] tbody tr")
    assert len(rows) == 10
    assert rows[0].text.split()[:2] == ["app_crash", "gift_card_balance"]
    moved = browser.find_elements("css selector", ".up, .down")
    assert len(moved) == 10 and all(one.is_displayed() for one in moved)
