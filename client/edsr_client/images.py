"""Picture files to arrays and back. Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import BadImageError, OutputError

Image = NDArray[np.uint8]
JPEG_QUALITY = 95
OPAQUE = 255


def read_image(path: Path) -> Image:
    """Decode a picture file, uint8 [H, W, 3] RGB, turned as its EXIF orientation says.

    Raises:
        BadImageError: missing, not a picture, truncated, or with more than 8 bits or transparency, which would be lost.
    """
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise BadImageError(f"Cannot read {path}: {error.strerror}.") from None
    stored = _decode(raw, cv2.IMREAD_UNCHANGED)
    image = _decode(raw, cv2.IMREAD_COLOR_RGB if hasattr(cv2, "IMREAD_COLOR_RGB") else cv2.IMREAD_COLOR)
    if stored is None or image is None:
        raise BadImageError(f"{path} is not a picture this build of OpenCV can read, or is damaged.")
    if stored.dtype != np.uint8:
        raise BadImageError(f"{path} has {stored.dtype.itemsize * 8} bits per channel; convert it to 8 bits first.")
    if stored.ndim == 3 and stored.shape[2] == 4 and (stored[..., 3] != OPAQUE).any():
        raise BadImageError(f"{path} has transparency, which would be lost; flatten it first.")
    return image if hasattr(cv2, "IMREAD_COLOR_RGB") else np.ascontiguousarray(image[..., ::-1])


def write_image(path: Path, image: Image) -> None:
    """Encode uint8 [H, W, 3] RGB by the extension of `path` and put it there in one step.

    Raises:
        OutputError: unknown extension, or the file cannot be written; an existing file is left as it was.
    """
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if is_jpeg else []
    try:
        done, encoded = cv2.imencode(path.suffix, image[..., ::-1], quality)
    except cv2.error:
        done, encoded = False, np.zeros(0, np.uint8)
    if not done:
        raise OutputError(
            f"Cannot write {path} ({image.shape[1]}x{image.shape[0]} as {path.suffix or 'a file without extension'}). "
            "Known: .png .jpg .webp .tif .bmp; JPEG and WebP have a largest size."
        )
    try:
        _write_atomically(path, encoded.tobytes())
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from None


def check_extension(path: Path) -> None:
    """Raise OutputError now rather than after the work, if `path` names no format that can be written."""
    if not (path.suffix and cv2.haveImageWriter(f"x{path.suffix}")):
        raise OutputError(f"Cannot write {path}: unknown extension {path.suffix!r}. Known: .png .jpg .webp .tif .bmp.")
    if not path.parent.is_dir():
        raise OutputError(f"Cannot write {path}: there is no folder {path.parent}.")


def _decode(raw: NDArray[np.uint8], flags: int) -> Image | None:
    try:
        return cv2.imdecode(raw, flags) if raw.size else None
    except cv2.error:  # larger than OpenCV's limit on pixels
        return None


def _write_atomically(path: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o666 & ~_umask())
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
