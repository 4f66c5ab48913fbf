"""What upscaling a picture will take, from its header alone: tiles, memory, time; nothing is decoded, nothing sent."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bands.plan import BAND_BYTES
from .errors import BadImageError, EdsrError
from .pictures.decode import READ
from .pictures.formats import FORMATS
from .pictures.jpeg_quality import jpeg_quality
from .pictures.plugins import register_plugins
from .tiling import Grid, Shape

ORIENTATION, TURNED = 0x0112, range(5, 9)
# Rows that are read, an upscaled band, the one that is kept meanwhile, and the compressor's own.
BANDS_IN_MEMORY = 5


@dataclass(frozen=True)
class Outline:
    """What the header of a picture file says.

    Attributes:
        size: (width, height), turned as EXIF says.
        frames: of an animation, else 1.
        channels: as they are decoded, 1 to 4.
        sample_bytes: 2 for 16 bits, else 1.
        jpeg_quality: of a JPEG file, 1 to 100; None for other formats.
        format: a name of `edsr_client.FORMATS`, or how Pillow calls a format that is only read, in small letters.
    """

    size: tuple[int, int]
    frames: int
    channels: int
    sample_bytes: int
    jpeg_quality: int | None = None
    format: str = ""


@dataclass(frozen=True)
class Forecast:
    """What upscaling one picture will take.

    Attributes:
        output: where the result will be; "-" for standard output, "" if nothing was said of it.
        width, height: of the result in pixels.
        frames: that are upscaled; equal ones are sent only once.
        tiles: requests, at most.
        tile: (height, width) of each in LR pixels.
        bands: whether it is read, sent and written in bands.
        memory_bytes: of this process, about.
        seconds: of the servers, if they do nothing else; None if they do not say how fast they are.
        model: that will be used.
        model_reason: why model="auto" takes it; "" if the caller has named one, or none.
    """

    output: str
    width: int
    height: int
    frames: int
    tiles: int
    tile: Shape
    bands: bool
    memory_bytes: int
    seconds: float | None
    model: str
    model_reason: str = ""


def outline(source: bytes | Path, name: str, frame: int | None) -> Outline:
    """Read a header.

    Args:
        source: content of a picture file, or where it is.
        name: of the picture, for messages.
        frame: the one that is wanted, None for all.

    Raises:
        BadImageError: it is no picture, or cannot be read.
    """
    from PIL import Image

    register_plugins()
    with _opened(source, name) as image:
        count = 1 if frame is not None or image.format in ("MPO", "TIFF") else int(getattr(image, "n_frames", 1))
        # Not image.getexif(): that of PNG decodes all pixels to find what stands behind them.
        is_turned = Image.Image.getexif(image).get(ORIENTATION) in TURNED
        size = (image.height, image.width) if is_turned else (image.width, image.height)
        bands = image.getbands()
        has_alpha = "A" in bands or "a" in bands or "transparency" in image.info
        is_grey = len(bands) - ("A" in bands) == 1 and image.mode not in ("P", "PA")
        is_deep = "16" in image.mode or image.mode in ("I", "F")
        channels, sample_bytes = (1 if is_grey else 3) + has_alpha, 2 if is_deep else 1
        return Outline(size, count, channels, sample_bytes, jpeg_quality(image), _format_name(image.format or ""))


def _format_name(pillow: str) -> str:
    known = {one.pillow: one.name for one in FORMATS.values()} | {"MPO": "jpeg"}
    return known.get(pillow, pillow.lower())


@contextlib.contextmanager
def _opened(source: bytes | Path, name: str) -> Iterator[Any]:
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own limit is checked by who reads it
    try:
        known = [one for one in READ if one in Image.OPEN]
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=known) as image:
            yield image
    except EdsrError:
        raise
    except Exception as error:  # Pillow raises whatever its parser stumbled over
        reason = getattr(error, "strerror", None) or "it is not a picture of a known format, or is damaged"
        raise BadImageError(f"Cannot read {name}: {reason}.") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def forecast(
    header: Outline,
    grid: Grid,
    *,
    output: str,
    size: tuple[int, int],
    scale: int,
    is_banded: bool,
    pixels_per_s: float | None,
    model: str,
    model_reason: str = "",
    turns: int = 1,
) -> Forecast:
    """What a picture takes.

    Args:
        header: of the picture.
        grid: how one frame of it is cut.
        output: where it goes.
        size: (width, height) of the result.
        scale: of the model.
        is_banded: whether it goes in bands.
        pixels_per_s: what all servers together compute.
        model: its name.
        model_reason: why it was chosen.
        turns: of every tile that are sent; 8 with self-ensemble.
    """
    planes = 2 if header.channels in (2, 4) else 1
    requests = header.frames * planes * turns
    sent_px = grid.sent_px * requests
    low_bytes = header.size[0] * header.size[1] * header.frames * header.channels * header.sample_bytes
    # The picture, its result, and the result once more while it is resized, put together or compressed.
    memory = BANDS_IN_MEMORY * BAND_BYTES if is_banded else low_bytes * (1 + 2 * scale * scale)
    return Forecast(
        output=output,
        width=size[0],
        height=size[1],
        frames=header.frames,
        tiles=len(grid) * requests,
        tile=grid.shape,
        bands=is_banded,
        memory_bytes=memory,
        seconds=round(sent_px / pixels_per_s, 3) if pixels_per_s else None,
        model=model,
        model_reason=model_reason,
    )
