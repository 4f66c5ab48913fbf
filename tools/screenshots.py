"""Makes the pictures of docs/web.md again: python tools/screenshots.py [http://127.0.0.1:8080], with a gateway running.

Needs what the tests of the page need: playwright, and the system's Chromium (apt-get install chromium).
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PHOTOGRAPH = ROOT / "demo" / "photograph.png"
# The photograph is reduced first: what is lost shows what comes back.
REDUCED = (270, 213)


def main(url: str = "http://127.0.0.1:8080") -> None:
    """Write docs/web*.webp."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        if program is None:
            sys.exit("Chromium is not installed: apt-get install chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        _save("web", _result(_opened(browser, url, DESKTOP, "light", "en-US")))
        _save("web-start", _opened(browser, url, DESKTOP, "dark", "zh-CN"))
        _save("web-pixels", _pixels(_result(_opened(browser, url, DESKTOP, "dark", "en-US"))))
        _save("web-phone", _result(_opened(browser, url, PHONE, "light", "zh-CN")))
        browser.close()


def _opened(browser: Browser, url: str, viewport: dict[str, int], scheme: str, locale: str) -> Page:
    is_phone = viewport is PHONE
    context = browser.new_context(
        viewport={"width": viewport["width"], "height": viewport["height"]},
        color_scheme="dark" if scheme == "dark" else "light",
        locale=locale,
        is_mobile=is_phone,
        has_touch=is_phone,
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("html.is-ready")
    return page


def _result(page: Page) -> Page:
    small = io.BytesIO()
    Image.open(PHOTOGRAPH).convert("RGB").resize(REDUCED, Image.Resampling.BICUBIC).save(small, "PNG")
    file = {"name": "bee.png", "mimeType": "image/png", "buffer": small.getvalue()}
    page.set_input_files("#files", [file])  # type: ignore[arg-type]
    page.wait_for_selector("#viewport .before canvas")
    return page


def _pixels(page: Page) -> Page:
    page.check("[value=pixels]", force=True)
    page.click("[data-zoom=one]")
    for _ in range(3):
        page.click("[data-zoom=in]")
    return page


def _save(name: str, page: Page) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(400)  # until nothing fades any more
    image = Image.open(io.BytesIO(page.screenshot()))
    image.convert("RGB").save(ROOT / "docs" / f"{name}.webp", quality=82, method=6)
    page.context.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
