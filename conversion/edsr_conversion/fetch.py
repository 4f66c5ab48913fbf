"""Brings a published graph from its URL or from a local file, and refuses anything that is not it."""

from __future__ import annotations

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path

from .catalogue import Model
from .convert import write_atomically
from .errors import CatalogueError, ChecksumError, ConversionError, DownloadError
from .graph_reader import read_bytes

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0
MAX_BYTES = 1 << 31  # where models.toml does not say the size


def fetch(model: Model, source: Path | None = None) -> Path:
    """Put the model's graph in its place, verified, and return the path. Does nothing if it is there already.

    Args:
        model: a table of models.toml with a URL, sha256, size and git blob id.
        source: a file to take instead of downloading.

    Raises:
        CatalogueError: the model is not a published one.
        GraphNotFoundError: `source` cannot be read.
        DownloadError: no connection, or the server refused.
        ChecksumError: other bytes than the published ones; nothing was written.
    """
    if not model.url:
        raise CatalogueError(f"{model.name} has no URL in {model.listed_in}: its graph is not one that can be fetched.")
    if source is None and model.graph.exists() and not difference(model, read_bytes(model.graph)):
        return model.graph
    raw = read_bytes(source) if source is not None else _download(model)
    if wrong := difference(model, raw):
        raise ChecksumError(
            f"{source or model.url} is not the published {model.graph.name}: {wrong}. Nothing was written. "
            "Get it again, or list your own graph in models/models.local.toml."
        )
    try:
        model.graph.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(model.graph, raw)
    except OSError as error:
        raise ConversionError(f"Cannot write {model.graph}: {error.strerror}.") from None
    return model.graph


def difference(model: Model, raw: bytes) -> str:
    """In which way `raw` is not the published file; empty if it is."""
    if model.size_bytes and len(raw) != model.size_bytes:
        return f"{len(raw):,} bytes, expected {model.size_bytes:,}"
    if (digest := hashlib.sha256(raw).hexdigest()) != model.sha256:
        return f"sha256 {digest}, expected {model.sha256}"
    if model.git_blob and git_blob(raw) != model.git_blob:
        return f"git blob {git_blob(raw)}, expected {model.git_blob}"
    return ""


def git_blob(raw: bytes) -> str:
    """The id git gives a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def _download(model: Model) -> bytes:
    from tqdm import tqdm

    try:
        with (
            urllib.request.urlopen(model.url, timeout=TIMEOUT_S) as response,
            # disable=None: no bar where standard error is not a terminal.
            tqdm(total=model.size_bytes, unit="B", unit_scale=True, desc=model.graph.name, disable=None) as bar,
        ):
            chunks = []
            received = 0
            # One byte more than promised is enough to know that it is not the file.
            while received <= (model.size_bytes or MAX_BYTES) and (chunk := response.read(CHUNK_BYTES)):
                chunks.append(chunk)
                received += len(chunk)
                bar.update(len(chunk))
            return b"".join(chunks)
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"Cannot download {model.url}: {reason}. Where there is no internet access, bring the file and name it: "
            f"`make fetch PB=/path/to/{model.graph.name}`."
        ) from None
