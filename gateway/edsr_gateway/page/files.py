"""The page's files as they are answered: read once, named by their content, compressed where that helps."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"


@dataclass(frozen=True)
class PageFile:
    """One file: its content, the same for those who take gzip (None where it saves nothing), and what names it."""

    content: bytes
    compressed: bytes | None
    media_type: str
    etag: str


@dataclass(frozen=True)
class Page:
    """All of it. `version` is a hash over every file; it stands in their addresses, so that they never grow stale."""

    index: PageFile
    assets: Mapping[str, PageFile]
    version: str


def load() -> Page:
    """Read the page from the package. Modules are named in its head, so that they come at once, not one by one."""
    folder = resources.files(__package__) / "static"
    contents = {one.name: one.read_bytes() for one in sorted(folder.iterdir(), key=lambda one: one.name)}
    template = contents.pop(INDEX).decode()
    version = hashlib.sha256(b"\0".join(name.encode() + b"\0" + content for name, content in contents.items()))
    base = f"page/{version.hexdigest()[:16]}"
    modules = [name for name in contents if name.endswith(".js") and "worker" not in name and name != "bicubic.js"]
    preloads = "\n  ".join(f'<link rel="modulepreload" href="{base}/{name}">' for name in modules)
    index = template.replace("{preloads}", preloads).replace("{assets}", base).encode()
    return Page(
        _file(INDEX, index), {name: _file(name, content) for name, content in contents.items()}, base.split("/")[1]
    )


def _file(name: str, content: bytes) -> PageFile:
    small = gzip.compress(content, 9, mtime=0)
    return PageFile(
        content,
        small if len(small) < 0.9 * len(content) else None,
        MEDIA_TYPES[name[name.rindex(".") :]],
        f'"{hashlib.sha256(content).hexdigest()[:24]}"',
    )
