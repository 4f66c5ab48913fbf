"""Arrays to the content of a picture file."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError
from .alpha import Array, on_or_off
from .cms import to_srgb
from .decode import Picture
from .depth import to_8_bits
from .fitting import IPTC_KEYWORD, fitting_metadata, iptc_text, jpeg_segments
from .formats import Format, check_available
from .metadata import Metadata
from .png import encode_png
from .png_effort import Effort, effort_named
from .tiff import encode_tiff

if TYPE_CHECKING:
    from PIL import Image

BEST_QUALITY = 100
# From here on JPEG keeps colour at full resolution.
FULL_CHROMA_QUALITY = 90
XMP_KEYWORD = "XML:com.adobe.xmp"
# Side of the picture with which it is tried whether an encoder takes the metadata.
PROOF_PX = 16
# Decoders refuse a longer text where it is packed.
MAX_PACKED_TEXT = 2**20
KINDS = {
    "exif": "EXIF",
    "xmp": "XMP",
    "icc": "the ICC profile",
    "photoshop": "IPTC",
    "text": "the text",
    "comment": "the comment",
    "dpi": "the resolution",
}
# What encoders raise.
FAILURES = (OSError, ValueError, RuntimeError, TypeError, OverflowError, MemoryError, SyntaxError, struct.error)


def check_fits(picture: Picture, size: tuple[int, int], format_: Format) -> None:
    """Raise OutputError if a format cannot hold a picture at `size` (width, height) without harm; before the work."""
    name = format_.name.upper()
    if max(size) > format_.max_side_px:
        raise OutputError(
            f"{size[0]}x{size[1]} is larger than {name} can hold ({format_.max_side_px:,} pixels a side). Take PNG or "
            "TIFF, or a smaller scale=... or max_side=... (`--scale`, `--max-side`)."
        )
    if picture.is_animation and not format_.animated:
        raise OutputError(
            f"The picture has {len(picture.frames)} frames, and {name} holds one. Take WebP, PNG or GIF, or one frame: "
            "frame=... (`--frame`)."
        )
    if not format_.alpha and any(_has_transparency(frame) for frame in picture.frames):
        raise OutputError(f"The picture has transparency, which {name} cannot hold. Take PNG, WebP or TIFF.")


def unused_settings(format_: Format, quality: int | None, png_effort: str | None) -> list[str]:
    """Notes on settings that were named, and that a format does not have."""
    notes, name = [], format_.name.upper()
    if quality not in (None, BEST_QUALITY) and format_.quality is None:
        notes.append(f"{name} has no quality setting: {quality} was not used")
    if png_effort is not None and format_.name != "png":
        notes.append(f"{name} is not PNG: its effort, {png_effort}, was not used")
    return notes


def encode(
    picture: Picture, format_: Format, quality: int | None = None, png_effort: str | None = None
) -> tuple[bytes, list[str]]:
    """The content of a file, and notes on what the format cannot hold.

    Args:
        picture: frames are uint8 or uint16, [H, W] or [H, W, C], C of 1 to 4.
        format_: see `formats`.
        quality: 0 to 100 where the format has such a setting; 100 is lossless in WebP, nearly so in the others.
        png_effort: a name of `png_effort.EFFORTS`; None is the default.

    Raises:
        OutputError: the format cannot hold it, or the encoder fails.
    """
    height, width = picture.frames[0].shape[:2]
    check_available(format_)
    check_fits(picture, (width, height), format_)
    frames, notes = _fitting_frames(picture, format_)
    notes += unused_settings(format_, quality, png_effort)
    metadata = _fitting_metadata(picture.metadata, frames[0], format_, notes)
    try:
        return _written(frames, picture, metadata, format_, quality, effort_named(png_effort)), notes
    except FAILURES as error:
        raise OutputError(f"{format_.name.upper()} cannot hold this picture of {width}x{height}: {error}.") from error


def save_options(metadata: Metadata, format_: Format) -> dict[str, Any]:
    """Pillow's keywords for the metadata of a file."""
    options: dict[str, Any] = {}
    if metadata.exif:
        options["exif"] = metadata.exif
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if metadata.dpi and format_.name in ("png", "jpeg", "bmp"):
        options["dpi"] = metadata.dpi
    if format_.name == "png":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        for keyword, text in metadata.text:
            options["pnginfo"].add_text(keyword, text)
        for name, content in metadata.colour.chunks if metadata.colour else ():
            options["pnginfo"].add(name, content)
        if metadata.xmp:
            options["pnginfo"].add_itxt(XMP_KEYWORD, metadata.xmp.decode("utf-8", "replace"))
        if metadata.photoshop:
            text = iptc_text(metadata.photoshop)
            options["pnginfo"].add_text(IPTC_KEYWORD, text, zip=len(text) < MAX_PACKED_TEXT)
    elif format_.name == "jpeg":
        options["extra"] = jpeg_segments(metadata)
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    if metadata.comment and format_.name != "jpeg":
        options["comment"] = metadata.comment
    return options


def _fitting_frames(picture: Picture, format_: Format) -> tuple[list[Array], list[str]]:
    frames, notes = list(picture.frames), []
    if frames[0].dtype == np.uint16 and (not format_.deep or len(frames) > 1):
        keepers = "single pictures in PNG and TIFF" if len(frames) > 1 else "PNG and TIFF"
        notes.append(f"16 bits per channel became 8 in {format_.name.upper()}; {keepers} keep them")
        frames = [to_8_bits(frame) for frame in frames]
    if not format_.half_alpha and any(_has_half_alpha(frame) for frame in frames):
        notes.append(f"{format_.name.upper()} knows opaque and empty only: what is half transparent became the nearer")
        frames = [on_or_off(frame) if _has_transparency(frame) else frame for frame in frames]
    if not format_.alpha:
        frames = [_without_alpha(frame) for frame in frames]
    if not format_.grey or (not format_.half_alpha and any(map(_has_transparency, frames))):
        frames = [_as_rgb(frame) for frame in frames]
    if not format_.icc:
        frames = _in_srgb(frames, picture.metadata, format_, notes)
    return frames, notes


def _in_srgb(frames: list[Array], metadata: Metadata, format_: Format, notes: list[str]) -> list[Array]:
    """Frames whose colours a file says otherwise than by a profile, for formats that can hold neither."""
    colour = None if metadata.icc else metadata.colour
    icc = colour.icc(grey=frames[0].ndim == 2 or frames[0].shape[2] < 3) if colour else None
    if colour is None or icc is None:
        return frames
    notes.append(f"{format_.name.upper()} cannot hold {colour.words}: the colours were converted to sRGB")
    return [to_srgb(frame, icc) for frame in frames]


def check_metadata(picture: Picture, format_: Format) -> list[str]:
    """Notes on what of a picture's metadata the format cannot hold; before the work.

    Raises:
        OutputError: the library that writes the format is not installed.
    """
    check_available(format_)  # `decode` may have run in another process
    notes: list[str] = []
    frames, _ = _fitting_frames(replace(picture, frames=[frame[:1, :1] for frame in picture.frames[:1]]), format_)
    _fitting_metadata(picture.metadata, frames[0], format_, notes)
    return notes


def _fitting_metadata(metadata: Metadata, frame: Array, format_: Format, notes: list[str]) -> Metadata:
    """What of the metadata the format, and the kind of pixels, can hold; tried with a small picture."""
    colours = 1 if frame.ndim == 2 else frame.shape[2]
    metadata = fitting_metadata(metadata, "GRAY" if colours <= 2 else "RGB", format_, notes)
    if metadata == Metadata() or _is_taken(metadata, frame, format_) or not _is_taken(Metadata(), frame, format_):
        return metadata
    for kind, label in KINDS.items():
        if getattr(metadata, kind) and not _is_taken(metadata.without(*(KINDS.keys() - {kind})), frame, format_):
            notes.append(f"{format_.name.upper()} cannot hold {label} as it is: dropped")
            metadata = metadata.without(kind)
    return metadata


def _is_taken(metadata: Metadata, frame: Array, format_: Format) -> bool:
    small = np.zeros((PROOF_PX, PROOF_PX, *frame.shape[2:]), frame.dtype)
    try:
        _written([small], Picture([small]), metadata, format_, None, effort_named("fast"))
    except FAILURES:
        return False
    return True


def _written(
    frames: Sequence[Array],
    picture: Picture,
    metadata: Metadata,
    format_: Format,
    quality: int | None,
    effort: Effort,
) -> bytes:
    if format_.name == "tiff":
        return encode_tiff(frames[0], metadata)
    if format_.name == "png" and len(frames) == 1:
        return encode_png(frames[0], metadata, format_, effort)
    return _by_pillow(frames, picture, metadata, format_, _quality_options(format_, quality, effort))


def _by_pillow(
    frames: Sequence[Array], picture: Picture, metadata: Metadata, format_: Format, how: dict[str, Any]
) -> bytes:
    images = [_to_pillow(frame) for frame in frames]
    options = save_options(metadata, format_) | how
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": list(picture.durations_ms)}
        if not (format_.name == "gif" and picture.loop == 1):  # a GIF without a count plays once
            options["loop"] = picture.loop
        if format_.name == "gif" and any(image.mode == "RGBA" for image in images):
            options["disposal"] = 2
    content = io.BytesIO()
    images[0].save(content, format_.pillow, **options)
    return content.getvalue()


def _quality_options(format_: Format, quality: int | None, effort: Effort) -> dict[str, Any]:
    if format_.name == "png":
        return {"compress_level": effort.animation_level}
    if format_.quality is None:
        return {}
    quality = format_.quality if quality is None else quality
    if format_.name == "jpeg":
        return {"quality": quality, "subsampling": 0 if quality >= FULL_CHROMA_QUALITY else 2}
    if format_.name == "webp" and quality == BEST_QUALITY:
        return {"lossless": True, "quality": 75}  # then the effort spent on compression
    if format_.name == "avif":
        return {"quality": quality, "subsampling": "4:4:4"}
    if format_.name == "heic" and quality == BEST_QUALITY:
        return {"quality": quality, "chroma": 444}  # below, what every decoder in a telephone knows
    return {"quality": quality}


def _to_pillow(frame: Array) -> Image.Image:
    from PIL import Image

    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[..., 0]
    return Image.fromarray(np.ascontiguousarray(frame))


def _has_transparency(frame: Array) -> bool:
    if frame.ndim == 2 or frame.shape[2] in (1, 3):
        return False
    return bool((frame[..., -1] != np.iinfo(frame.dtype).max).any())


def _has_half_alpha(frame: Array) -> bool:
    if frame.ndim == 2 or frame.shape[2] in (1, 3):
        return False
    return bool(((frame[..., -1] != 0) & (frame[..., -1] != np.iinfo(frame.dtype).max)).any())


def _without_alpha(frame: Array) -> Array:
    if frame.ndim == 2 or frame.shape[2] in (1, 3):
        return frame
    return frame[..., 0] if frame.shape[2] == 2 else frame[..., :3]


def _as_rgb(frame: Array) -> Array:
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.shape[2] >= 3:
        return frame
    return np.concatenate([frame[..., :1].repeat(3, axis=2), frame[..., 1:]], axis=2)
