"""A picture file to arrays."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadImageError, EdsrError, ImageTooLargeError
from .alpha import Array
from .budget import DEFAULT_MAX_PIXELS as DEFAULT_MAX_PIXELS
from .budget import Budget
from .jpeg_end import with_end
from .kinds import unreadable
from .metadata import Metadata, read_metadata
from .plugins import register_plugins
from .structure import check_opened, check_structure
from .tiff_kinds import (
    BITS_PER_SAMPLE,
    PHOTOMETRIC,
    RGB,
    is_negative,
    is_premultiplied,
    main_pages,
    unknown_channels,
)

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
DEEP_WHITE = np.uint16(65_535)
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
    """

    frames: Sequence[Array]
    durations_ms: tuple[float, ...] = ()
    loop: int = 0
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

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
        data, notes = with_end(data)
        with _open(data, budget) as image:
            return _decode(image, data, budget, frame, notes)


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
        with _open(data, budget) as image:
            count = int(getattr(image, "n_frames", 1)) if frame != 0 else 1
            if frame is None and image.format in ANIMATED:
                budget.check_frames(count, image.size)
                return count * int(image.width) * int(image.height)
            if frame and frame < count and image.format not in ANIMATED:
                image.seek(frame)
                budget.check_size(image.size)
            return int(image.width) * int(image.height)


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


def _check(data: bytes, budget: Budget, frame: int | None) -> None:
    if not data:
        raise BadImageError(f"{budget.name} is empty.")
    register_plugins()
    check_structure(data, budget, frame)


def _open(data: bytes, budget: Budget) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=[one for one in READ if one in Image.OPEN])
    except UnidentifiedImageError:
        raise BadImageError(unreadable(data, budget.name, [one for one in READ if one != "MPO"])) from None
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{budget.name}: {error} Raise PIL.Image.MAX_IMAGE_PIXELS if you trust it.") from None
    budget.check_size(image.size)
    check_opened(image.info, budget)
    return image


def _decode(image: Image.Image, data: bytes, budget: Budget, frame: int | None, found: list[str]) -> Picture:
    name = budget.name
    count = int(getattr(image, "n_frames", 1))
    if image.format == "TIFF" and frame is not None and 0 <= frame < count:  # pages have metadata of their own
        image.seek(frame)
    metadata, orientation, notes = read_metadata(image)
    chosen = _choose_frames(image, count, frame, name, notes)
    notes[:0] = found
    budget.check_frames(len(chosen), image.size)
    frames, durations = [], []
    for index in chosen:
        if count > 1:
            image.seek(index)
            budget.check_size(image.size)  # pages and parts have sizes of their own
        pixels, metadata = _pixels(image, data, metadata, name, notes)
        durations.append(float(image.info.get("duration") or 0))  # WebP knows it only now
        if 0 in pixels.shape or pixels.shape[0] * pixels.shape[1] > budget.max_pixels:
            raise ImageTooLargeError(f"{name}: frame {index} has another size than the file claims.")
        frames.append(np.ascontiguousarray(_turned(pixels, orientation)))
    animated = len(frames) > 1
    if orientation >= 5 and metadata.dpi:
        metadata = replace(metadata, dpi=(metadata.dpi[1], metadata.dpi[0]))
    loop = int(image.info.get("loop", 1 if image.format == "GIF" else 0))
    return Picture(frames, tuple(durations) if animated else (), loop, metadata, tuple(dict.fromkeys(notes)))


def _choose_frames(image: Image.Image, count: int, frame: int | None, name: str, notes: list[str]) -> Sequence[int]:
    if frame is not None:
        if not 0 <= frame < count:
            raise BadImageError(f"{name} has no frame {frame}; it has {count}, counted from 0.")
        return [frame]
    if count == 1 or image.format in ANIMATED:
        return range(count)
    if image.format == "TIFF":
        pages = main_pages(image)
        if len(pages) > 1:
            raise BadImageError(
                f"{name} has {len(pages)} pages. Take one at a time: frame=0 ... {count - 1} (`--frame`)."
            )
    notes.append(f"the file holds {count} pictures; the main one was taken")
    return [0]


def _pixels(image: Image.Image, data: bytes, metadata: Metadata, name: str, notes: list[str]) -> tuple[Array, Metadata]:
    """The current frame as an array, and the metadata that goes with it: a converted picture has no profile."""
    unknown = unknown_channels(image.tag_v2) if image.format == "TIFF" else 0  # type: ignore[attr-defined]
    if unknown:
        notes.append(UNKNOWN_CHANNELS.format(unknown))
    if _is_deep(image, data):
        return _deep_pixels(image, data, name), metadata
    if image.mode in ("I", "F"):
        raise BadImageError(f"{name} has 32 bits per channel; convert it to 16 or 8 bits first.")
    if image.mode in ("CMYK", "LAB"):
        notes.append(f"{image.mode} was converted to sRGB")
        return np.asarray(_to_srgb(image, metadata, notes)), replace(metadata, icc=None)
    image.load()
    clear = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(clear, int) and data[24] in (2, 4):
        image.info["transparency"] = clear * 255 // (2 ** data[24] - 1)  # Pillow stretches the pixels, and not this
    table = WITH_TRANSPARENCY if "transparency" in image.info else CONVERSIONS
    mode = table.get(image.mode, image.mode)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        raise BadImageError(f"{name} has pixels of a kind that cannot be kept ({image.mode}); convert it to RGB first.")
    return np.asarray(image if mode == image.mode else image.convert(mode)), metadata


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether it has 16 bits a channel; Pillow reads those with three channels as 8 bits."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return data[24] == 16  # bit depth in IHDR
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return set(bits if isinstance(bits, tuple) else (bits,)) == {16}
    return image.format == "PPM" and image.mode == "I"


def _deep_pixels(image: Image.Image, data: bytes, name: str) -> Array:
    """uint16, by OpenCV where there are several channels."""
    tags: Any = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.uint16)
        return DEEP_WHITE - grey if is_negative(tags) else grey
    import cv2

    refuse = BadImageError(f"{name} has 16 bits per channel in a form that cannot be read; convert it to 8 bits first.")
    if image.format == "TIFF" and (image.tell() or tags.get(PHOTOMETRIC) != RGB):
        raise refuse
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] != image.size[::-1]:
        raise refuse
    if pixels.ndim == 2:
        return np.asarray(pixels)
    if image.format == "PNG" and data[25] == 4:  # grey with alpha
        return np.ascontiguousarray(pixels[..., [0, -1]])
    order = [2, 1, 0, 3][: pixels.shape[2] - unknown_channels(tags)]
    ordered = np.ascontiguousarray(pixels[..., order])
    return _divided_by_alpha(ordered) if is_premultiplied(tags) else ordered


def _divided_by_alpha(pixels: Array) -> Array:
    """Straight colour of premultiplied; uint16 [H, W, 4]."""
    colour, alpha = pixels[..., :3].astype(np.uint32), pixels[..., 3:].astype(np.uint32)  # 65,535 squared fits
    straight = (colour * np.uint32(DEEP_WHITE) + alpha // 2) // np.maximum(alpha, 1)
    return np.concatenate([np.minimum(straight, DEEP_WHITE), alpha], axis=2).astype(np.uint16)


def _to_srgb(image: Image.Image, metadata: Metadata, notes: list[str]) -> Image.Image:
    from PIL import ImageCms

    lab = image.mode == "LAB"
    srgb = ImageCms.createProfile("sRGB")
    try:
        if lab:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif metadata.icc and metadata.icc_space == "CMYK":
            source = ImageCms.ImageCmsProfile(io.BytesIO(metadata.icc))
        else:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(
            image,
            source,
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if converted is not None:
            return converted
    except (ImageCms.PyCMSError, OSError):
        if lab:
            raise
    notes.append("the CMYK profile cannot be used; colours are approximate")
    return image.convert("RGB")


def _turned(pixels: Array, orientation: int) -> Array:
    """The pixels as they are to be seen (EXIF 2.32, 4.6.4, Orientation)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
