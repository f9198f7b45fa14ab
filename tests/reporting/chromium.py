"""Drives a headless Chromium by its DevTools protocol through a pipe: nothing to install but the browser itself."""

import fcntl
import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Browser:
    """One tab. `events` holds what the protocol reported, errors of the page among it."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader, self.writer = os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0)
        self.events: list[dict] = []
        self.number, self.session, self.rest = 0, None, b""

    def call(self, method: str, **params: object) -> dict:
        """Send a command and wait for its result. RuntimeError with the browser's message if it fails."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        self.writer.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self.rest:
            part = self.reader.read(1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def wait(self, event: str) -> None:
        """Wait for an event that has not been reported yet."""
        while (found := self._next()).get("method") != event:
            self.events.append(found)

    def run(self, script: str) -> object:
        """The value of a JavaScript expression in the page. RuntimeError if it throws."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True) -> None:
        """Load a file at a window's size, in a colour scheme, with or without JavaScript."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # scrolling by script is done at once
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("Page.loadEventFired")

    def press(self, key: str) -> None:
        """Press a key, as ArrowRight, Tab, Enter."""
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)
            text = {}

    def screenshot(self) -> bytes:
        """The window's picture as PNG."""
        return b64decode(self.call("Page.captureScreenshot")["data"])

    def complaints(self) -> list[dict]:
        """What the page logged or threw, and every request that was not for the page itself or for data within it."""
        names = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        requests = [
            event
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
            and not event["params"]["request"]["url"].startswith(("file:", "data:"))
        ]
        return [event for event in self.events if event.get("method") in names] + requests


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with one tab; `profile` is an empty folder for what it keeps."""
    # its ends of the pipes have to be 3 and 4, so ours go where they cannot be in the way
    theirs_in, ours_out, ours_in, theirs_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in _pipes())
    command = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={profile}", "--no-first-run", "about:blank"],
        preexec_fn=lambda: (os.dup2(theirs_in, 3), os.dup2(theirs_out, 4)),
        pass_fds=(3, 4),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        browser = Browser(ours_in, ours_out)
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        yield browser
        browser.session = None
        browser.call("Browser.close")  # its other processes end with it, and write nothing any more
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()


def _pipes() -> Iterator[int]:
    """The four ends of two pipes; each is closed when its copy has been made."""
    for end in (*os.pipe(), *os.pipe()):
        yield end
        os.close(end)
