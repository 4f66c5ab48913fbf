"""A large picture file, row by row from the top, by libvips."""

from __future__ import annotations

import functools
import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadImageError, MissingExtraError
from ..pictures.alpha import Array
from ..pictures.budget import Budget
from ..pictures.colour_read import described
from ..pictures.decode import UNKNOWN_CHANNELS
from ..pictures.jpeg_quality import jpeg_quality
from ..pictures.metadata import Metadata, read_metadata
from ..pictures.plugins import register_plugins
from ..pictures.structure import check_structure
from ..pictures.tiff_kinds import GREYS, RGB, ZSTD, Kind
from ..pictures.tiff_pages import STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES
from ..pictures.tiff_read import choose_page, retold

KINDS = (
    "grey and RGB with 8 or 16 bits go in bands, with transparency or without. Convert it first (`vips icc_transform`, "
    '`magick`), or take it whole (bands="never", `--bands never`).'
)
# Compressions of TIFF that not every libvips knows: it would read nothing but zeros, and not say so.
OPTIONAL_CODECS = {ZSTD: "zstd"}
# No file that is read in bands has more.
MOST_PIXELS = 2**48
DTYPES = {"uchar": np.uint8, "ushort": np.uint16}


@dataclass(frozen=True)
class Header:
    """What a file says of itself, or of one of its pages, without its pixels.

    Attributes:
        kind: "TIFF", "PNG", "APNG", "JPEG", or what Pillow calls it; "" for what it cannot read.
        size: (width, height), before its orientation is applied.
        pages: how many are pictures of their own.
        count: pages in all, smaller copies included.
        metadata, orientation, notes: see read_metadata.
        is_cut_short: whether data that the header names lie behind the file's end.
        whole_bytes: that its decoder needs at once because rows come last; 0 for what is read row by row.
        tiff: how the pixels of a TIFF file are stored.
        page: of a TIFF file, from 0.
        jpeg_quality: of a JPEG file, 1 to 100; None for other formats.
    """

    kind: str
    size: tuple[int, int]
    pages: int = 1
    count: int = 1
    metadata: Metadata = field(default_factory=Metadata)
    orientation: int = 1
    notes: list[str] = field(default_factory=list)
    is_cut_short: bool = False
    whole_bytes: int = 0
    tiff: Kind | None = None
    page: int = 0
    jpeg_quality: int | None = None


def header_of(path: Path, page: int | None = None) -> Header | None:
    """The header; None if Pillow cannot read one, which whoever decodes the picture says better.

    Args:
        path: of the file.
        page: of a TIFF file, from 0; one that is not there is left to `check_header`.
    """
    from PIL import Image

    register_plugins()
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # nothing is decoded here
    try:
        if not _is_sound(path, page):
            return None
        if (header := _tiff_header(path, page)) is not None:
            return header
        with path.open("rb") as file, Image.open(path) as image:
            if image.format not in ("PNG", "JPEG", "MPO"):
                return Header(image.format or "", image.size)
            metadata, orientation, notes = read_metadata(image, True, file)
            metadata = described(file, image.format, metadata, str(path), notes)
            count = int(getattr(image, "n_frames", 1))
            if image.format == "MPO":
                notes.append(f"the file holds {count} pictures; the main one was taken")
            kind = ("PNG" if count == 1 else "APNG") if image.format == "PNG" else "JPEG"
            more: dict[str, Any] = {"whole_bytes": _whole_bytes(image), "jpeg_quality": jpeg_quality(image)}
            return Header(kind, image.size, 1, count, metadata, orientation, notes, **more)
    except Exception:  # Pillow raises whatever its parser stumbled over
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _is_sound(path: Path, page: int | None) -> bool:
    """Whether Pillow may look at it: whoever decodes the others says what is wrong.

    Raises:
        OSError, ValueError: it cannot be mapped.
        ImageTooLargeError: its tags, scans or tiles would take too much.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        check_structure(data, Budget(str(path), MOST_PIXELS), page)
    return True


def _tiff_header(path: Path, frame: int | None) -> Header | None:
    """None if it is no TIFF file."""
    from PIL import Image

    with path.open("rb") as file:
        chosen = choose_page(file, frame)
        if chosen is None:
            return None
        page, kind = chosen.page, chosen.kind
        with Image.open(retold(file, page)) as image:
            metadata, _, notes = read_metadata(image)
        metadata = described(file, "TIFF", metadata, str(path), notes, page.tags)
        offsets = page.numbers(TILE_OFFSETS) or page.numbers(STRIP_OFFSETS)
        sizes = page.numbers(TILE_SIZES) or page.numbers(STRIP_SIZES)
        ends = (offset + size for offset, size in zip(offsets, sizes, strict=False))
        is_cut_short = max(ends, default=0) > path.stat().st_size
    notes = [*notes, *chosen.notes]
    if kind.unknown_channels:
        notes.append(UNKNOWN_CHANNELS.format(kind.unknown_channels))
    return Header(
        "TIFF",
        page.size,
        chosen.main,
        chosen.count,
        metadata,
        chosen.orientation,
        notes,
        is_cut_short=is_cut_short,
        tiff=kind,
        page=chosen.index,
    )


def refusal(path: Path, header: Header) -> str:
    """Why a file does not go in bands, in a sentence; "" if it does.

    Raises:
        MissingExtraError: pyvips is not installed.
    """
    kind = header.tiff
    if kind is None:
        return ""
    if kind.compression not in OPTIONAL_CODECS:
        fits = kind.goes_in_bands()
    else:  # asked only where it decides
        fits = kind.goes_in_bands(tuple(OPTIONAL_CODECS)) and _knows(OPTIONAL_CODECS[kind.compression])
    return "" if fits else f"{path} is {kind.name}, which does not go in bands; {KINDS}"


@functools.cache
def _knows(codec: str) -> bool:
    """Whether libvips has a compression of TIFF."""
    vips = load_vips()
    try:
        vips.Image.black(16, 16).tiffsave_buffer(compression=codec)
    except vips.Error:
        return False
    return True


def _whole_bytes(image: Any) -> int:
    """Of an interlaced PNG all pixels; of a progressive JPEG also all coefficients, two bytes for each sample."""
    pixels = int(image.width * image.height)
    if image.format == "PNG" and image.info.get("interlace"):
        return pixels * len(image.getbands()) * (2 if ";16" in image.mode or image.mode == "I" else 1)
    if image.info.get("progressive"):
        shares = [across * down for _, across, down, _ in image.layer]
        return pixels * len(shares) + 2 * pixels * int(sum(shares)) // int(max(shares))
    return 0


class Rows:
    """The rows of a picture from the top, uint8 or uint16, [rows, W] or [rows, W, C]; C is 2 (grey, alpha), 3 or 4.

    Args:
        path: TIFF, PNG or JPEG.
        page: of a TIFF file, from 0.
        orientation: EXIF's, 1 to 8. Anything but 1 has libvips unpack the file to the disk first.
        tiff: how the pixels of a TIFF file are stored; channels that it does not name are left out.

    Raises:
        BadImageError: damaged, or of a kind that does not go in bands.
        MissingExtraError: pyvips is not installed.
    """

    def __init__(self, path: Path, page: int = 0, orientation: int = 1, tiff: Kind | None = None) -> None:
        vips = load_vips()
        self._path, self._error = path, vips.Error
        options: dict[str, Any] = {"access": "sequential" if orientation == 1 else "random", "fail_on": "error"}
        if page:
            options["page"] = page
        try:
            # As bytes: pyvips takes text for UTF-8 and a bracket at its end for options.
            image = vips.Image.new_from_source(vips.Source.new_from_file(os.fsencode(path)), "", **options)
            if tiff is not None and tiff.photometric in (*GREYS, RGB) and image.bands != tiff.samples:
                raise BadImageError(f"{path} is {tiff.name}, of which libvips sees {image.bands} channels; {KINDS}")
            if tiff is not None and tiff.unknown_channels:
                image = image.extract_band(0, n=image.bands - tiff.unknown_channels)
            if orientation != 1:
                image = image.copy()
                image.set_type(vips.GValue.gint_type, "orientation", orientation)
                image = image.autorot()
        except vips.Error as error:
            raise self._damaged(error) from None
        if image.format not in DTYPES or image.interpretation == "cmyk" or not 1 <= image.bands <= 4:
            raise BadImageError(f"{path} is {image.interpretation} of {image.bands} channels, {image.format}; {KINDS}")
        self.width, self.height, self.channels = int(image.width), int(image.height), int(image.bands)
        self.dtype: np.dtype[Any] = np.dtype(DTYPES[image.format])
        self._region = vips.Region.new(image)
        self._kept: Array = np.empty((0, self.width, self.channels), self.dtype)
        self._next = 0

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return self.width * self.channels * self.dtype.itemsize

    def read(self, top: int, bottom: int) -> Array:
        """Rows [top, bottom). Neither may be less than in the call before: rows that were passed are gone.

        Raises:
            BadImageError: the file is damaged or truncated there.
        """
        first = self._next - len(self._kept)
        old = self._kept[max(0, top - first) :]
        start = max(top, self._next)
        self._kept = old
        if bottom > start:  # else the halo of the band before has reached the end
            try:
                data = self._region.fetch(0, start, self.width, bottom - start)
            except self._error as error:
                raise self._damaged(error) from None
            new = np.frombuffer(data, self.dtype).reshape(bottom - start, self.width, self.channels)
            self._kept = np.concatenate([old, new]) if len(old) else new
            self._next = bottom
        return self._kept[..., 0] if self.channels == 1 else self._kept

    def _damaged(self, error: Exception) -> BadImageError:
        reason = " ".join(str(error).split())[:200]
        return BadImageError(f"{self._path} is damaged or truncated: {reason}.")


def load_vips() -> Any:
    """The module pyvips, silent and without a cache.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("VIPS_WARNING", "0")
    try:
        import pyvips
    except (ImportError, OSError):
        raise MissingExtraError(
            "Pictures this large need pyvips: pip install 'pyvips[binary]>=3' (edsr-client's extra [gigapixel])."
        ) from None
    pyvips.cache_set_max(0)
    return pyvips


def check_header(path: Path, header: Header, frame: int | None) -> None:
    """What can be known to go wrong before the work.

    Raises:
        BadImageError: truncated, several pages and none named, no such page, other colours.
    """
    if header.is_cut_short:
        raise BadImageError(f"{path} is damaged or truncated: its data end before they should.")
    if header.pages > 1 and frame is None:
        raise BadImageError(f"{path} has {header.pages} pages. Name one, counted from 0: frame=... (`--frame`).")
    if frame is not None and not 0 <= frame < header.count:
        raise BadImageError(f"{path} has no frame {frame}; it has {header.count}, counted from 0.")
    if reason := refusal(path, header):
        raise BadImageError(reason)
