"""A real headless browser for tests: Chromium, driven through chromedriver by the WebDriver protocol (plain HTTP)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

import httpx

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The protocol's key of an element."""


def missing() -> str:
    """Why there is no browser to test with; empty where there is one."""
    needed = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}
    lacking = [name for name, commands in needed.items() if not any(map(shutil.which, commands))]
    return f"not installed: {', '.join(lacking)} (apt-get install chromium chromium-driver)" if lacking else ""


class Element:
    """An element of the page."""

    def __init__(self, browser: Browser, name: str):
        self.browser, self.name = browser, name

    def _post(self, what: str, **body):
        return self.browser.post(f"element/{self.name}/{what}", **body)

    def click(self):
        self._post("click")

    def type(self, text: str):
        self._post("value", text=text)

    @property
    def text(self) -> str:
        return self.browser.get(f"element/{self.name}/text")


class Browser:
    """One browser window.

    Args:
        width, height: of the window in CSS pixels; below 500 it is a phone.
        camera: it has a camera and a microphone, which show and play a test signal.
    """

    def __init__(self, width: int = 1400, height: int = 1000, camera: bool = False):
        self.port_line = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.port_line.stdout is not None
        for line in self.port_line.stdout:
            if "started successfully on port" in line:
                port = int(line.rstrip().rstrip(".").rpartition(" ")[2])
                break
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        switches = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio"]
        switches += [f"--window-size={width},{height}", "--autoplay-policy=no-user-gesture-required"]
        if camera:
            switches += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        options = {"binary": binary, "args": switches, "perfLoggingPrefs": {"enableNetwork": True}}
        if width < 500:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1}}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        made = self.client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        self.session = made["sessionId"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc):
        self.client.delete(f"/session/{self.session}")
        self.client.close()
        self.port_line.terminate()
        self.port_line.wait(10)

    def post(self, what: str, **body):
        answer = self.client.post(f"/session/{self.session}/{what}", json=body).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise LookupError(f"{what}: {answer['error']}: {answer['message'][:300]}")
        return answer

    def get(self, what: str):
        return self.client.get(f"/session/{self.session}/{what}").json()["value"]

    def open(self, url: str):
        self.post("url", url=url)

    def find(self, css: str, seconds: float = 60.0) -> Element:
        """The first element of a selector, once there is one."""
        found = self.wait(lambda: self.post("elements", using="css selector", value=css), seconds, css)
        return Element(self, found[0][ELEMENT])

    def wait(self, condition, seconds: float = 60.0, what: str = "the condition"):
        """What a condition returns, once that is true."""
        until = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
            time.sleep(0.2)
        return found

    def run(self, script: str, *arguments):
        """The value of a JavaScript function's body."""
        return self.post("execute/sync", script=script, args=list(arguments))

    def frame(self, css: str | None):
        """Go into a frame, or back to the page."""
        self.post("frame", id=None if css is None else {ELEMENT: self.find(css).name})

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call, blocked ones included."""
        entries = self.post("se/log", type="performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors of the page's console since the last call."""
        return [entry["message"] for entry in self.post("se/log", type="browser") if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path):
        path.write_bytes(base64.b64decode(self.get("screenshot")))
