"""Arrays to the content of a picture file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError
from .alpha import Array, on_or_off
from .cms import to_srgb
from .decode import Picture
from .deep_png import encode_deep_png
from .depth import to_8_bits
from .formats import Format, check_available
from .metadata import Metadata
from .tiff import encode_tiff

if TYPE_CHECKING:
    from PIL import Image

BEST_QUALITY = 100
# From here on JPEG keeps colour at full resolution.
FULL_CHROMA_QUALITY = 90
# zlib's usual 6 takes 2.5 times as long, and saves 2.5% (a photograph of 1536x1536).
PNG_COMPRESSION = 4
XMP_KEYWORD = "XML:com.adobe.xmp"


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


def encode(picture: Picture, format_: Format, quality: int | None = None) -> tuple[bytes, list[str]]:
    """The content of a file, and notes on what the format cannot hold.

    Args:
        picture: frames are uint8 or uint16, [H, W] or [H, W, C], C of 1 to 4.
        format_: see `formats`.
        quality: 0 to 100 where the format has such a setting; 100 is lossless in WebP, nearly so in the others.

    Raises:
        OutputError: the format cannot hold it, or the encoder fails.
    """
    height, width = picture.frames[0].shape[:2]
    check_available(format_)
    check_fits(picture, (width, height), format_)
    frames, notes = _fitting_frames(picture, format_)
    if quality not in (None, BEST_QUALITY) and format_.quality is None:
        notes.append(f"{format_.name.upper()} has no quality setting: {quality} was not used")
    metadata = _fitting_metadata(picture.metadata, frames[0], format_, notes)
    try:
        if format_.name == "tiff":
            return encode_tiff(frames[0], metadata), notes
        if frames[0].dtype == np.uint16:
            return encode_deep_png(frames[0], metadata, format_), notes
        return _by_pillow(frames, picture, metadata, format_, quality), notes
    except (OSError, ValueError, RuntimeError, TypeError, OverflowError, MemoryError) as error:
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
    if metadata.comment:
        options["comment"] = metadata.comment
    if format_.name == "png":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        for keyword, text in metadata.text:
            options["pnginfo"].add_text(keyword, text)
        for name, content in metadata.colour.chunks if metadata.colour else ():
            options["pnginfo"].add(name, content)
        if metadata.xmp:
            options["pnginfo"].add_itxt(XMP_KEYWORD, metadata.xmp.decode("utf-8", "replace"))
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
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
    if not format_.grey:
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


def _fitting_metadata(metadata: Metadata, frame: Array, format_: Format, notes: list[str]) -> Metadata:
    """What of the metadata the format, and the kind of pixels, can hold."""
    colours = 1 if frame.ndim == 2 else frame.shape[2]
    space = "GRAY" if colours <= 2 else "RGB"
    name = format_.name.upper()
    icc = metadata.icc if format_.icc else None
    if icc and metadata.icc_space != space:
        notes.append(f"the ICC profile is for {metadata.icc_space}, the pixels in {name} are {space}: it was dropped")
        icc = None
    colour = metadata.colour
    if colour is not None and not (format_.name == "png" and colour.chunks):
        if not colour.is_clear:
            notes.append(f"{name} cannot hold {colour.words}: dropped")
        elif format_.icc and not metadata.icc:
            icc = colour.icc(grey=space == "GRAY")
        colour = None
    fits = len(metadata.comment or b"") <= format_.max_comment_bytes
    lost = [
        label
        for label, value, held in (
            ("EXIF", metadata.exif, format_.exif),
            ("XMP", metadata.xmp, format_.xmp),
            ("ICC profile", metadata.icc, format_.icc),
            ("text", metadata.text, format_.text),
            ("the comment", metadata.comment, fits),
        )
        if value and not held
    ]
    if lost:
        notes.append(f"{name} cannot hold {' and '.join(lost)}: dropped")
    return Metadata(
        metadata.exif if format_.exif else None,
        metadata.xmp if format_.xmp else None,
        icc,
        metadata.dpi,
        metadata.text if format_.text else (),
        metadata.comment if fits else None,
        colour,
    )


def _by_pillow(
    frames: Sequence[Array], picture: Picture, metadata: Metadata, format_: Format, quality: int | None
) -> bytes:
    images = [_to_pillow(frame) for frame in frames]
    options = save_options(metadata, format_) | _quality_options(format_, quality)
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": list(picture.durations_ms)}
        if not (format_.name == "gif" and picture.loop == 1):  # a GIF without a count plays once
            options["loop"] = picture.loop
        if format_.name == "gif" and any(image.mode == "RGBA" for image in images):
            options["disposal"] = 2
    content = io.BytesIO()
    images[0].save(content, format_.pillow, **options)
    return content.getvalue()


def _quality_options(format_: Format, quality: int | None) -> dict[str, Any]:
    if format_.name == "png":
        return {"compress_level": PNG_COMPRESSION}
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
