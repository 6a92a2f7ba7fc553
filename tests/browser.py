"""Chromium without a window, driven by WebDriver (W3C), which is JSON over HTTP."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
_SERIOUS = """
const done = arguments[arguments.length - 1];
document.querySelectorAll("details").forEach((part) => { part.open = true; });
axe.run().then((found) => done(found.violations
  .filter((fault) => ["serious", "critical"].includes(fault.impact))
  .map((fault) => `${fault.id}: ${fault.nodes[0].html.slice(0, 200)}`)));
"""


class Browser:
    """A session of a browser."""

    def __init__(self, driver: str, chromium: str) -> None:
        chrome = {"args": list(_OPTIONS), "binary": chromium}
        wanted = {
            "goog:chromeOptions": chrome,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._place = f"{driver}/session"
        found = self._call("POST", "", capabilities={"alwaysMatch": wanted})
        self._place += f"/{found['sessionId']}"

    def open(self, file: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Opens a page in a window of this size."""
        self._devtools(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.visit(file.resolve().as_uri())

    def visit(self, address: str) -> None:
        """Opens the page at an address."""
        self._call("POST", "/url", url=address)

    def run(self, script: str, *values: object) -> Any:
        """Returns the value of JavaScript, in which `arguments` are the values."""
        return self._call("POST", "/execute/sync", script=script, args=list(values))

    def wait_for(self, script: str, *values: object) -> Any:
        """Returns what JavaScript calls its last argument with."""
        return self._call("POST", "/execute/async", script=script, args=[*values])

    def complaints(self) -> list[str]:
        """Returns what the console has said since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", type="browser")]

    def requests(self) -> list[str]:
        """Returns the addresses that were asked for since the last call, those of data left out."""
        entries = self._call("POST", "/se/log", type="performance")
        sent = (json.loads(entry["message"])["message"] for entry in entries)
        urls = [x["params"]["request"]["url"] for x in sent if x["method"].endswith("BeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def screenshot(self, file: Path) -> None:
        """Writes a PNG of the whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return window.innerWidth")
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        file.write_bytes(b64decode(self._call("GET", "/screenshot")))

    @contextmanager
    def without_javascript(self) -> Iterator[None]:
        """Pages that are opened meanwhile have no JavaScript."""
        self._devtools("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._devtools("Emulation.setScriptExecutionDisabled", value=False)

    def text(self) -> str:
        """Returns the text that the page shows, without running a script in it."""
        element = self._call("POST", "/element", using="css selector", value="body")
        return str(self._call("GET", f"/element/{next(iter(element.values()))}/text"))

    def close(self) -> None:
        self._call("DELETE", "")

    def _devtools(self, command: str, **values: object) -> None:
        self._call("POST", "/goog/cdp/execute", cmd=command, params=values)

    def _call(self, method: str, path: str, **values: object) -> Any:
        body = json.dumps(values).encode() if method == "POST" else None
        asked = urllib.request.Request(f"{self._place}{path}", body, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """Yields a session; skips the test where Chromium or its driver is missing."""
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("chromium and chromedriver are not installed: the page is not tried in them")
    started = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        port = next(
            m[1] for line in started.stdout if (m := re.search(r"successfully on port (\d+)", line))
        )
        session = Browser(f"http://127.0.0.1:{port}", chromium)
        try:
            yield session
        finally:
            session.close()
    finally:
        started.terminate()
        started.communicate()


def serious_faults(session: Browser) -> list[str]:
    """Returns the serious faults of accessibility of the open page, of what is folded away, too.

    Skips the test where axe-core is missing.
    """
    axe = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
    if not axe.is_file():
        pytest.skip("axe-core is not installed (npm install axe-core, or AXE_CORE=FILE)")
    session.run(axe.read_text())
    return list(session.wait_for(_SERIOUS))
