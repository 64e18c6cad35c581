"""A small client of a real, headless Chromium over its DevTools protocol: what a person does, and what they see.

Clicks and keys go through the browser's own input queue, at the place where the element is drawn; so a button that is
covered, disabled or not there is a failure, as it is for a person.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
)
CONTROLS = "button, a, [role=button], [role=tab], label"
SHOWN_WITHIN_S = 90.0
"""Ours: a page shows what it is to show within a second; on a crowded machine within tens of them."""
_STARTED_WITHIN_S = 120.0
_LOOK_S = 0.1

# The deepest drawn element whose own text (or label, or placeholder) is, or else begins with, what is looked for.
_FIND = """
(text, kinds) => {
  const drawn = (e) => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0; };
  const said = (e) => (e.innerText || e.getAttribute('aria-label') || e.placeholder || '').trim();
  const among = (which, fits) => [...document.querySelectorAll(which)].filter((e) => drawn(e) && fits(said(e))).pop();
  const found = among(kinds, (s) => s === text) || among(kinds, (s) => s.startsWith(text))
    || among('*', (s) => s === text);
  if (!found) return null;
  found.scrollIntoView({block: 'center'});
  const box = found.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}
"""

# The drawn control of the form's field whose label begins with what is looked for; not the buttons inside the label.
_FIELD = """
(text) => {
  const label = [...document.querySelectorAll('label')].find((e) => e.innerText.trim().startsWith(text));
  if (!label) return null;
  let field = label.parentElement;
  const control = () => [...field.querySelectorAll('textarea, input, select, [role=switch]')]
    .find((e) => !label.contains(e) && e.getBoundingClientRect().width > 0);
  while (field && !control()) field = field.parentElement;
  if (!field) return null;
  const found = control();
  found.scrollIntoView({block: 'center'});
  const box = found.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}
"""

_CHOOSE = """
(text) => {
  const option = [...document.querySelectorAll('select option')].find((e) => e.innerText.trim() === text);
  if (!option) return false;
  const list = option.closest('select');
  list.value = option.value;
  for (const event of ['input', 'change']) list.dispatchEvent(new Event(event, {bubbles: true}));
  return true;
}
"""


def installed() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One browser with one page.

    Args:
        program: Path of the browser.
        profile: A fresh folder of its own.
        width: Of the page, in CSS pixels.
        height: Of the page, in CSS pixels.
    """

    def __init__(self, program: str, profile: Path, *, width: int = 1440, height: int = 900) -> None:
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._size = (width, height)
        self._number = 0
        self._socket = self._connect(profile)
        try:
            self._open_page(height)
        except Exception:
            self.close()
            raise

    def _open_page(self, height: int) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self._resize(height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and wait until it is gone."""
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- what a person does ------------------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def click(self, text: str, *, kinds: str = CONTROLS, within_s: float = SHOWN_WITHIN_S) -> None:
        """Press the element that says `text`."""
        self._press(f"({_FIND})({json.dumps(text)}, {json.dumps(kinds)})", within_s, repr(text))

    def press_field(self, label: str, *, within_s: float = SHOWN_WITHIN_S) -> None:
        """Press the control (text, switch) of the form's field with this label."""
        self._press(f"({_FIELD})({json.dumps(label)})", within_s, f"the field {label!r}")

    def fill(self, label: str, text: str) -> None:
        """Type into the form's field with this label."""
        self.press_field(label)
        self.type(text)

    def choose(self, option: str, *, within_s: float = SHOWN_WITHIN_S) -> None:
        """Choose an option of the first list that offers it.

        The one thing not done by hand: a list's pop-up is drawn by the system and is not part of the page, so what it
        does is done: the value is set, and the page is told.
        """
        self.wait(f"({_CHOOSE})({json.dumps(option)})", within_s=within_s, what=f"the option {option!r}")

    def _press(self, place: str, within_s: float, what: str) -> None:
        """Press the left button in the middle of an element, once it has stopped moving."""
        at, before = self.wait(place, within_s=within_s, what=what), None
        while at != before:
            time.sleep(_LOOK_S)
            at, before = self.wait(place, within_s=within_s, what=what), at
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    # -- what a person sees ------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Return what the page says."""
        return str(self.evaluate("document.body.innerText"))

    def see(self, text: str, *, within_s: float = SHOWN_WITHIN_S) -> None:
        """Wait until the page says `text`."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})", within_s=within_s, what=f"{text!r}")

    def wait(self, expression: str, *, within_s: float = SHOWN_WITHIN_S, what: str = "") -> Any:
        """Wait until a JavaScript expression is true, and return its value.

        Raises:
            AssertionError: It did not become true; says what the page shows instead.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(_LOOK_S)
        shown = self.text()
        shown = shown if len(shown) < 3000 else f"{shown[:1000]}\n[...]\n{shown[-2000:]}"  # a dialog stands last
        raise AssertionError(f"{what or expression} did not appear within {within_s:.0f} s; the page says:\n{shown}")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; None while the page is between two documents."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def prefer(self, scheme: str) -> None:
        """Ask pages for their `light` or `dark` dress."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path, *, height: int | None = None) -> Path:
        """Write what is shown as PNG; `height`: draw the page that much higher for it, without a scroll bar."""
        if height is not None:
            self._resize(height)
            time.sleep(1.0)  # no event tells that a page has laid itself out anew
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        if height is not None:
            self._resize(self._size[1])
        return path

    # -- the protocol ------------------------------------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call one method of the DevTools protocol and return its result.

        Raises:
            RuntimeError: The browser refused it.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if not method.startswith("Target."):
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=120))
            if answer.get("id") != self._number:
                continue  # an event, or the answer to a call that was given up
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            result: dict[str, Any] = answer["result"]
            return result

    def _resize(self, height: int) -> None:
        width = self._size[0]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def _connect(self, profile: Path) -> ClientConnection:
        """Wait for the address that the browser writes into its profile, and connect to it."""
        port_file, deadline = profile / "DevToolsActivePort", time.monotonic() + _STARTED_WITHIN_S
        while time.monotonic() < deadline:
            lines = port_file.read_text().splitlines() if port_file.is_file() else []
            if len(lines) == 2:
                return connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_size=None, proxy=None)
            if self._process.poll() is not None:
                break
            time.sleep(_LOOK_S)
        self._process.kill()
        raise RuntimeError(f"the browser did not start within {_STARTED_WITHIN_S:.0f} s")
