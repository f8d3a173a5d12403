"""A headless Chromium, driven by its own driver over HTTP (the W3C's WebDriver and DevTools commands)."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = "needs Chromium and its driver: apt-get install chromium chromium-driver"

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
)  # fmt: skip
_PATIENCE_S = 600.0


class Browser:
    """One window. Paths are local files; scripts run in the page, under its own content security policy."""

    def __init__(self, driver: str, folder: Path) -> None:
        self._driver = driver
        options = {
            "binary": CHROMIUM, "args": [*_FLAGS, f"--user-data-dir={folder / 'profile'}"],
            "prefs": {"download.default_directory": str(folder)},
        }  # fmt: skip
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"
        self._send("POST", f"{self._session}/timeouts", {"script": int(1000 * _PATIENCE_S)})

    def open(self, page: Path, fragment: str = "") -> None:
        """Loads a file anew, with a fragment."""
        self.devtools("Page.navigate", url="about:blank")
        self._send("POST", f"{self._session}/url", {"url": page.as_uri() + (f"#{fragment}" if fragment else "")})

    def size(self, width: int, height: int) -> None:
        """Sets the size of what is seen, without the window's frame."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefer(self, scheme: str = "light", media: str = "") -> None:
        """Sets the preferred colours, `light` or `dark`, and the medium: `print`, or the screen's."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.devtools("Emulation.setEmulatedMedia", media=media, features=features)

    def script(self, body: str, *arguments: Any) -> Any:
        """Runs the body of a function in the page, and returns what it returns. A promise is waited for."""
        return self._send("POST", f"{self._session}/execute/sync", {"script": body, "args": list(arguments)})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Sends a command of Chromium's DevTools protocol."""
        return self._send("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def messages(self) -> list[str]:
        """Returns the messages on the console since the last call."""
        found = self._send("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in found]

    def screenshot(self, into: Path) -> None:
        """Writes what is seen to a PNG file."""
        into.write_bytes(base64.b64decode(self._send("GET", f"{self._session}/screenshot")))

    def pdf(self, into: Path) -> None:
        """Writes the printed page to a PDF file."""
        printed = self.devtools("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        into.write_bytes(base64.b64decode(printed["data"]))

    def close(self) -> None:
        """Ends the session and its browser."""
        self._send("DELETE", self._session)

    def _send(self, method: str, path: str, values: dict[str, Any] | None = None) -> Any:
        body = None if method == "GET" else json.dumps(values or {}).encode()
        request = urllib.request.Request(self._driver + path, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Starts a browser whose profile is in the folder, and ends it."""
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [DRIVER, f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            window = Browser(f"http://127.0.0.1:{port}", folder)
            try:
                yield window
            finally:
                window.close()
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    """Waits until the driver listens."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("chromedriver does not listen")
