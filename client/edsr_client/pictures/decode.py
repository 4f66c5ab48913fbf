"""A picture file to arrays."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import BadImageError, EdsrError, ImageTooLargeError
from .alpha import Array
from .boxes import bit_depth
from .budget import DEFAULT_MAX_PIXELS as DEFAULT_MAX_PIXELS
from .budget import Budget
from .cms import cmyk_or_lab_to_srgb
from .colour_read import described
from .deep_png_read import deep_frames, is_deep_png, still
from .deep_ppm import deep_ppm
from .depth import full_range
from .jpeg_end import with_end
from .jpeg_quality import jpeg_quality
from .kinds import unreadable
from .metadata import Metadata, read_metadata
from .plugins import register_plugins
from .structure import check_opened, check_structure
from .tiff_kinds import CMYK
from .tiff_read import Chosen, check_page, choose_page, pixels_of, retold

if TYPE_CHECKING:
    from PIL import Image

# Formats that are read. Pillow knows more, some of which start other programs.
READ = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF", "PPM")
# Of these every frame is taken; of others that hold several pictures one.
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
# What a picture is converted to, by Pillow's mode.
CONVERSIONS = {
    "1": "L",
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
WITH_TRANSPARENCY = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}
# What Pillow says of texts and profiles in PNG files that unpack to more than it allows.
UNPACKED = ("Decompressed data too large", "Too much memory used in text chunks")
TEXTS = (
    "its texts or profile unpack to more than 16 MB each, or 64 MB in all. Remove them (`exiftool -all= FILE`), or "
    "convert the picture."
)
UNKNOWN_CHANNELS = "channels that the file does not name were dropped: {}"


@dataclass(frozen=True)
class Picture:
    """A decoded picture, turned as its EXIF orientation says.

    Attributes:
        frames: one array for each frame of an animation, else one; uint8 or uint16, [H, W] or [H, W, C], C of 2 to 4.
        durations_ms: how long each frame is shown; () if it is no animation.
        loop: how often an animation is played, 0 for ever.
        metadata: EXIF, XMP, ICC profile, resolution, as in the file.
        notes: what was dropped or converted, in words.
        jpeg_quality: of the file, 1 to 100, estimated from its tables; None if it is no JPEG file.
    """

    frames: Sequence[Array]
    durations_ms: tuple[float, ...] = ()
    loop: int = 0
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    jpeg_quality: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.frames[0].shape[1], self.frames[0].shape[0]

    @property
    def is_animation(self) -> bool:
        return len(self.frames) > 1

    def with_frames(self, frames: Sequence[Array]) -> Picture:
        """The same picture with other pixels."""
        return replace(self, frames=frames)


def decode(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS, frame: int | None = None) -> Picture:
    """Decode a picture file.

    Args:
        data: the file's content.
        name: of the file, for messages.
        max_pixels: a picture of more is refused before it is decoded; all frames of an animation may take what one
            picture of that size takes with 16 bits and transparency.
        frame: take this one of an animation or of several pages, counted from 0.

    Raises:
        BadImageError: not a picture, damaged, truncated, or of a kind that cannot be kept (32 bits a channel).
        ImageTooLargeError: more than `max_pixels`, or it would take more memory or time than a picture of that size.
    """
    with _damage_is_bad_image(name):
        budget = Budget(name, max_pixels)
        _check(data, budget, frame)
        data, found = with_end(data)
        page = choose_page(io.BytesIO(data), frame)
        if page is not None:
            check_page(page, name, frame)
            if not page.is_for_pillow:
                return _decode_page(page, data, name, max_pixels)
        with _open(data, name, max_pixels) as image:
            return _decode(image, data, budget, frame, page, found)


def size_of(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS, frame: int | None = 0) -> int:
    """The pixels of a picture file's frame, as it claims; without decoding it.

    Args:
        data, name, max_pixels: as for `decode`.
        frame: of this one; None for all that `decode` would decode.

    Raises:
        BadImageError, ImageTooLargeError: as `decode`, as far as its header tells.
    """
    with _damage_is_bad_image(name):
        budget = Budget(name, max_pixels)
        _check(data, budget, frame)
        page = choose_page(io.BytesIO(data), frame or None)
        file = None if page is None else retold(io.BytesIO(data), page.page)
        with _open(data, name, max_pixels, file) as image:
            count = int(getattr(image, "n_frames", 1)) if frame != 0 else 1
            if frame is None and image.format in ANIMATED:
                budget.check_frames(count, image.size)
                return count * int(image.width) * int(image.height)
            if frame and frame < count and image.format not in (*ANIMATED, "TIFF"):
                image.seek(frame)
                budget.check_size(image.size)
            return int(image.width) * int(image.height)


def _check(data: bytes, budget: Budget, frame: int | None) -> None:
    if not data:
        raise BadImageError(f"{budget.name} is empty.")
    register_plugins()
    check_structure(data, budget, frame)


@contextlib.contextmanager
def _damage_is_bad_image(name: str) -> Iterator[None]:
    """Decoders of broken files raise anything, from SyntaxError to struct.error."""
    try:
        yield
    except EdsrError:
        raise
    except MemoryError:
        raise ImageTooLargeError(f"{name} needs more memory than there is.") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if reason.startswith(UNPACKED):
            raise ImageTooLargeError(f"{name}: {TEXTS}") from None
        raise BadImageError(f"{name} is damaged or truncated: {reason}.") from error


def _open(data: bytes, name: str, max_pixels: int, file: BinaryIO | None = None) -> Image.Image:
    """The picture as Pillow opens it, or `file` in its place."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file or io.BytesIO(data), formats=[one for one in READ if one in Image.OPEN])
    except UnidentifiedImageError:
        raise BadImageError(unreadable(data, name, [one for one in READ if one != "MPO"])) from None
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{name}: {error} Raise PIL.Image.MAX_IMAGE_PIXELS if you trust it.") from None
    budget = Budget(name, max_pixels)
    budget.check_size(image.size)
    check_opened(image.info, budget)
    return image


def _decode_page(page: Chosen, data: bytes, name: str, max_pixels: int) -> Picture:
    """A page of a TIFF file that Pillow would misread."""
    with _open(data, name, max_pixels, retold(io.BytesIO(data), page.page)) as image:
        metadata, _, notes = read_metadata(image)
    metadata = described(io.BytesIO(data), "TIFF", metadata, name, notes, page.page.tags)
    notes += _notes_on(page)
    pixels = pixels_of(data, page, max_pixels)
    if page.kind.photometric == CMYK:
        pixels, metadata = _from_cmyk(pixels, metadata, notes), replace(metadata, icc=None, colour=None)
        notes += ["16 bits per channel became 8"] if page.kind.depth > 8 else []
    if page.orientation >= 5 and metadata.dpi:
        metadata = replace(metadata, dpi=(metadata.dpi[1], metadata.dpi[0]))
    pixels = np.ascontiguousarray(_turned(pixels, page.orientation))
    return Picture([pixels], metadata=metadata, notes=tuple(dict.fromkeys(notes)))


def _notes_on(page: Chosen) -> list[str]:
    unknown = page.kind.unknown_channels
    return [*page.notes, *([UNKNOWN_CHANNELS.format(unknown)] if unknown else [])]


def _decode(
    image: Image.Image, data: bytes, budget: Budget, frame: int | None, page: Chosen | None, found: list[str]
) -> Picture:
    name, max_pixels = budget.name, budget.max_pixels
    count = int(getattr(image, "n_frames", 1))
    if page is not None:  # pages have metadata of their own
        frame = page.index
        image.seek(frame)
    if image.format == "PNG" and count > 1:  # Pillow goes through all frames for the texts, and loses the palette
        with _open(still(data), name, max_pixels) as first:
            metadata, orientation, notes = read_metadata(first, file=io.BytesIO(data))
    else:
        metadata, orientation, notes = read_metadata(image, file=io.BytesIO(data))
    if page is not None:
        notes += _notes_on(page)
    tags = page.page.tags if page is not None else None
    metadata = described(io.BytesIO(data), image.format or "", metadata, name, notes, tags)
    hidden = int(getattr(image, "default_image", False))  # what viewers show that know no animations
    chosen = _choose_frames(image, count - hidden, frame, name, notes)
    notes[:0] = found
    budget.check_frames(len(chosen), image.size)
    frames, durations = [], []
    deep = enumerate(deep_frames(data)) if is_deep_png(data) else None
    for index in (number + hidden for number in chosen):
        if deep is not None:
            pixels, duration = _numbered(deep, index)
        else:
            if count > 1:
                _go_to(image, index)
                budget.check_size(image.size)  # pages and parts have sizes of their own
            pixels, metadata = _pixels(image, data, metadata, name, notes)
            duration = float(image.info.get("duration") or 0)  # WebP knows it only now
        durations.append(duration)
        if 0 in pixels.shape or pixels.shape[0] * pixels.shape[1] > max_pixels:
            raise ImageTooLargeError(f"{name}: frame {index} has another size than the file claims.")
        frames.append(np.ascontiguousarray(_turned(pixels, orientation)))
    animated = len(frames) > 1
    if orientation >= 5 and metadata.dpi:
        metadata = replace(metadata, dpi=(metadata.dpi[1], metadata.dpi[0]))
    loop = int(image.info.get("loop", 1 if image.format == "GIF" else 0))
    times = tuple(durations) if animated else ()
    return Picture(frames, times, loop, metadata, tuple(dict.fromkeys(notes)), jpeg_quality(image))


def _choose_frames(image: Image.Image, count: int, frame: int | None, name: str, notes: list[str]) -> Sequence[int]:
    if frame is not None:
        if not 0 <= frame < count:
            raise BadImageError(f"{name} has no frame {frame}; it has {count}, counted from 0.")
        return [frame]
    if count == 1 or image.format in ANIMATED:
        return range(count)
    notes.append(f"the file holds {count} pictures; the main one was taken")
    return [image.tell()]  # in HEIC any of them may be it


def _pixels(image: Image.Image, data: bytes, metadata: Metadata, name: str, notes: list[str]) -> tuple[Array, Metadata]:
    """The current frame as an array, and the metadata that goes with it: a converted picture has no profile."""
    if image.format == "HEIF" and (bits := int(image.info.get("bit_depth") or 8)) > 8:
        return _deep_heif(data, image.tell(), bits), metadata
    if image.format == "AVIF" and (bits := bit_depth(data)) > 8:
        notes.append(f"{bits} bits per channel were read as 8")
    if image.format == "PPM" and image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16), metadata
    if image.format == "PPM" and (deep := deep_ppm(data)) is not None:
        return deep, metadata
    if image.mode in ("I", "F"):
        raise BadImageError(f"{name} has 32 bits per channel; convert it to 16 or 8 bits first.")
    if image.mode in ("CMYK", "LAB"):
        notes.append(f"{image.mode} was converted to sRGB")
        return np.asarray(cmyk_or_lab_to_srgb(image, metadata, notes)), replace(metadata, icc=None, colour=None)
    image.load()
    if image.format == "PNG":
        _scale_transparent_grey(image, data[24])
    table = WITH_TRANSPARENCY if "transparency" in image.info else CONVERSIONS
    mode = table.get(image.mode, image.mode)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        raise BadImageError(f"{name} has pixels of a kind that cannot be kept ({image.mode}); convert it to RGB first.")
    return np.asarray(image if mode == image.mode else image.convert(mode)), metadata


def _scale_transparent_grey(image: Image.Image, depth: int) -> None:
    """A transparent grey of 2 or 4 bits, as the pixels are: Pillow spreads those over 8 bits, and not this."""
    grey, top = image.info.get("transparency"), 2**depth - 1
    if image.mode == "L" and depth in (2, 4) and isinstance(grey, int) and grey <= top:
        image.info["transparency"] = grey * 255 // top


def _deep_heif(data: bytes, index: int, bits: int) -> Array:
    """A picture of a HEIC file as uint16; its Pillow plugin would give 8 bits."""
    import pillow_heif

    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)[index]
    pixels: Array = np.asarray(image)
    if pixels.dtype != np.uint16:
        return pixels
    return full_range(pixels >> (16 - bits), bits)  # they stand in the highest bits: white is below 65,535


def _go_to(image: Image.Image, index: int) -> None:
    """Make a frame the current one, as if all before it had been looked at: Pillow's canvas depends on that."""
    if image.format == "PNG":
        for before in range(image.tell(), index):
            image.seek(before)
            image.load()
    image.seek(index)


def _numbered(pictures: Iterator[tuple[int, tuple[Array, float]]], index: int) -> tuple[Array, float]:
    for number, picture in pictures:
        if number == index:
            return picture
    raise ValueError(f"there is no frame {index}")


def _from_cmyk(pixels: Array, metadata: Metadata, notes: list[str]) -> Array:
    """RGB or RGBA of four inks, uint8 [H, W, 4 or 5]."""
    from PIL import Image

    notes.append("CMYK was converted to sRGB")
    inks = Image.fromarray(np.ascontiguousarray(pixels[..., :4]), "CMYK")
    return np.concatenate([np.asarray(cmyk_or_lab_to_srgb(inks, metadata, notes)), pixels[..., 4:]], axis=2)


def _turned(pixels: Array, orientation: int) -> Array:
    """The pixels as they are to be seen (EXIF 2.32, 4.6.4, Orientation)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
