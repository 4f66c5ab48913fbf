"""The page in a real Chromium, as a person uses it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

PATIENCE_MS = 20_000
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; a test without one is skipped."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Screen:
    """One tab. What the page's scripts complain of, or what its policy forbids, is in `complaints`."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._said(said.type, said.text))

    def _said(self, kind: str, text: str) -> None:
        # That an answer was an error is no fault of the page's.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def open(self, path: str = "/") -> Screen:
        """Go there; what the server can do is known when this returns."""
        with self.page.expect_response("**/v1/info"):
            self.page.goto(self.url + path)
        return self.wait("html.is-ready")

    def wait(self, selector: str, **how: Any) -> Screen:
        """Wait until an element is there and visible."""
        self.page.wait_for_selector(selector, **how)
        return self

    def at(self, selector: str) -> Locator:
        """An element."""
        return self.page.locator(selector)

    def add(self, *files: Path) -> Screen:
        """Choose files as the dialog would."""
        self.page.set_input_files("#files", [str(file) for file in files])
        return self

    def compared(self) -> Screen:
        """Wait for a result that stands beside bicubic."""
        return self.wait("#viewport .before canvas", state="attached")

    def in_trouble(self) -> str:
        """Wait for an error; its title."""
        self.wait("#trouble")
        return self.at("#trouble-title").inner_text()

    def downloaded(self, button: str = "#download") -> tuple[str, bytes]:
        """Press it; the name and the content of what comes."""
        with self.page.expect_download() as waiting:
            self.page.click(button)
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def pixels(self) -> NDArray[np.uint8]:
        """What is seen of the comparison: uint8 [H, W, 3]."""
        image = Image.open(io.BytesIO(self.at("#viewport").screenshot()))
        return np.asarray(image.convert("RGB"))

    def module(self, name: str, script: str, value: Any = None) -> Any:
        """Run `script`, a function of a module of the page's and a value."""
        address = self.page.evaluate("document.querySelector('script[type=module]').src").replace("main.js", name)
        code = f"async (value) => ({script})(await import({json.dumps(address)}), value)"
        return self.page.evaluate(code, value)

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that a reload would look for."""
        found: list[dict[str, Any]] = json.loads(self.page.evaluate("sessionStorage.getItem('edsr-jobs') || '[]'"))
        return found
