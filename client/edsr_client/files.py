"""From a picture file to a picture file: reading, naming, finishing, writing in one step."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from .errors import BadImageError, ImageTooLargeError, OutputError, OutputExistsError
from .pictures.budget import DEFAULT_MAX_PIXELS, max_file_bytes
from .pictures.decode import Picture
from .pictures.encode import check_fits, check_metadata, encode
from .pictures.formats import FORMATS, Format, check_available, format_named, format_of
from .pictures.metadata import Metadata, corrected
from .pictures.png_effort import effort_named
from .pictures.resample import final_size, resize
from .staged import Staged

MAX_SCALE = 16.0
# Python makes room for what is asked for, also where there is less.
READ_BYTES = 2**20


@dataclass(frozen=True)
class Finishing:
    """What becomes of the upscaled picture.

    Attributes:
        format: "png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "heic"; by default what the file's name says.
        quality: 0 to 100, for the formats that have it; 100 is lossless in WebP.
        scale: final size against the input's, by Lanczos resampling after the network; by default the model's scale.
        max_side: longest side of the result in pixels.
        strip_metadata: drop EXIF, XMP, ICC profile, resolution, texts and comments.
        png_effort: "fast", "normal" (the default) or "small": time spent on PNG's compression, which is lossless.
    """

    format: str | None = None
    quality: int | None = None
    scale: float | None = None
    max_side: int | None = None
    strip_metadata: bool = False
    png_effort: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None:
            format_named(self.format)
        if self.quality is not None and not 0 <= self.quality <= 100:
            raise ValueError(f"quality must be 0 to 100, not {self.quality!r}")
        if self.scale is not None and not 0 < self.scale <= MAX_SCALE:
            raise ValueError(f"scale must be more than 0 and at most {MAX_SCALE:g}, not {self.scale!r}")
        if self.max_side is not None and self.max_side < 1:
            raise ValueError(f"max_side must be at least 1 pixel, not {self.max_side!r}")
        effort_named(self.png_effort)


@dataclass(frozen=True)
class FileResult:
    """What was done with one picture.

    Attributes:
        path: of the output; "" if there is no file, "-" for standard output.
        format: of the output.
        width, height: of the output, in pixels.
        frames: of an animation; 1 otherwise.
        tiles: requests that were answered.
        retries: requests that had to be sent again.
        model: name of the model.
        servers: the addresses that answered.
        seconds: from the first byte read to the last written.
        notes: what could not be kept, in words.
        model_scale: factor of the network; 0 if it is not known.
        resampled: whether the network's result was resampled (Lanczos) to the size that was asked for.
        model_reason: why model="auto" took that model; "" if the caller has named one, or none.
        self_ensemble: whether it is the mean of eight flips and quarter turns.
    """

    path: str
    format: str
    width: int
    height: int
    frames: int
    tiles: int
    retries: int
    model: str
    servers: list[str]
    seconds: float
    notes: list[str] = field(default_factory=list)
    model_scale: int = 0
    resampled: bool = False
    model_reason: str = ""
    self_ensemble: bool = False


def read_file(src: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
    """The content of a picture file.

    Raises:
        BadImageError: it cannot be read.
        ImageTooLargeError: it is larger than a picture of `max_pixels` can be.
    """
    try:
        if Path(src).is_dir():
            raise BadImageError(f"{src} is a folder. For folders there is `edsr batch {src} OUT`.")
        with Path(src).open("rb") as file:
            return read_all(file, str(src), max_file_bytes(max_pixels))
    except OSError as error:
        advice = " That is an address; pictures are read from files: download it first." if _is_url(src) else ""
        raise BadImageError(f"Cannot read {src}: {error.strerror}.{advice}") from None
    except ValueError as error:  # a null character in the name
        raise BadImageError(f"Cannot read {str(src)!r}: {error}.") from None


def read_all(file: IO[bytes], name: str, most: int) -> bytes:
    """The content of an opened file.

    Raises:
        ImageTooLargeError: it has more than `most` bytes; a device may have no end.
    """
    parts, held = [], 0
    found = os.fstat(file.fileno())
    size = found.st_size if stat.S_ISREG(found.st_mode) else READ_BYTES
    if size > most:
        raise ImageTooLargeError(_too_large(name, most))
    while part := file.read(READ_BYTES if held else size + 1):
        parts.append(part)
        held += len(part)
        if held > most:
            raise ImageTooLargeError(_too_large(name, most))
    return b"".join(parts) if len(parts) != 1 else parts[0]


def _too_large(name: str, most: int) -> str:
    return (
        f"{name} has more than {most:,} bytes, more than a picture of that many pixels takes. If that is meant, raise "
        "max_pixels=... (`--max-pixels`)."
    )


def _is_url(src: str | Path) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]+:/", str(src), re.IGNORECASE) is not None


def is_folder(dst: str | Path) -> bool:
    """Whether a name is that of a folder; one that ends with a slash is meant to be."""
    try:
        return str(dst).endswith(("/", os.sep)) or Path(dst).is_dir()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def check_target(src: Path | None, dst: Path, finishing: Finishing) -> Format:
    """The format to write; everything that can be known to go wrong with `dst` is found before the work.

    Raises:
        OutputError: unknown format, no such folder, or the input itself.
    """
    check_place(src, dst)
    format_ = format_named(finishing.format) if finishing.format else format_of(dst)
    check_available(format_)
    return format_


def check_place(src: Path | None, dst: Path) -> None:
    """Raise OutputError if there can be no file of that name, or it is the input."""
    try:
        if not dst.parent.is_dir():
            raise OutputError(f"Cannot write {dst}: there is no folder {dst.parent}.")
        if dst.is_dir():
            raise OutputError(f"Cannot write {dst}: it is a folder. Name a file in it.")
        if src is not None and dst.exists() and src.exists() and dst.samefile(src):
            raise OutputError(f"{dst} is the input itself. Name another output; nothing was changed.")
        folder = Path(os.path.realpath(dst)).parent  # where a link leads to
        is_file = dst.is_file() or not dst.exists()
        if is_file and folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"Cannot write {dst}: Permission denied; {folder} takes no new files.")
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise OutputError(f"Cannot write {dst}: {error.strerror}.") from None
    except ValueError as error:  # a null character in the name
        raise OutputError(f"Cannot write {str(dst)!r}: {error}.") from None


def misnamed(dst: Path, format_: Format) -> list[str]:
    """A note if the name of the output promises another format than was asked for."""
    promised = [one.name for one in FORMATS.values() if dst.suffix.lower() in one.extensions]
    if not promised or format_.name in promised:
        return []
    return [f"{dst} is {format_.name.upper()}, as was asked for, though its name says {promised[0].upper()}"]


def default_target(
    src: Path, folder: Path, picture: Picture, finishing: Finishing, model_scale: int, overwrite: bool
) -> Path:
    """photo.jpg -> photo_x3.png in a folder; an animation becomes .webp; a format that was named has its extension.

    With a longest side it is photo_4096px.png: the factor differs from picture to picture.

    Raises:
        OutputExistsError: there is such a file, and it is not to be overwritten: nobody named it.
    """
    if finishing.format:
        extension = format_named(finishing.format).extensions[0]
    else:
        extension = ".webp" if picture.is_animation else ".png"
    return made_up_name(src, folder, extension, finishing, model_scale, overwrite)


def made_up_name(
    src: Path, folder: Path, extension: str, finishing: Finishing, model_scale: int, overwrite: bool
) -> Path:
    """photo.jpg -> photo_x3 with an extension, in a folder.

    Raises:
        OutputExistsError: there is such a file, and it is not to be overwritten.
    """
    suffix = f"x{finishing.scale or model_scale:g}" if finishing.max_side is None else f"{finishing.max_side}px"
    target = folder / f"{src.stem}_{suffix}{extension}"
    if not overwrite and is_there(target):
        raise OutputExistsError(
            f"{target} exists; nothing was changed. Name the output, or take overwrite=True (`--overwrite`)."
        )
    return target


def is_there(target: Path) -> bool:
    """Whether there is a file of a name that was made up.

    Raises:
        OutputError: there can be none.
    """
    try:
        return target.exists()
    except OSError as error:  # a name that has grown too long
        raise OutputError(f"Cannot write {target}: {error.strerror}. Name the output.") from None
    except ValueError as error:  # a null character in the name
        raise OutputError(f"Cannot write {str(target)!r}: {error}.") from None


def check_result(picture: Picture, format_: Format, finishing: Finishing, model_scale: int) -> None:
    """Raise OutputError if the format cannot hold what the picture will become; before the work.

    What of the metadata it cannot hold is dropped, and that is tried now, too.
    """
    size = final_size(picture.size, model_scale, finishing.scale, finishing.max_side)
    check_fits(picture, size, format_)
    if not finishing.strip_metadata:
        check_metadata(replace(picture, metadata=corrected(picture.metadata, picture.size, size)), format_)


def finish(
    upscaled: Picture, low: Picture, format_: Format, finishing: Finishing, model_scale: int
) -> tuple[bytes, tuple[int, int], list[str]]:
    """The content of the output file, its (width, height), and notes on what could not be kept.

    Raises:
        OutputError: it cannot be encoded.
    """
    size = final_size(low.size, model_scale, finishing.scale, finishing.max_side)
    frames = [resize(frame, size) for frame in upscaled.frames]
    metadata = Metadata() if finishing.strip_metadata else corrected(low.metadata, low.size, size)
    made = replace(upscaled, frames=frames, metadata=metadata)
    content, notes = encode(made, format_, finishing.quality, finishing.png_effort)
    return content, size, notes


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; an existing one is then left as it was.

    A link stays one: what it leads to is written. An existing file keeps its permissions, a new one has those that the
    umask leaves. What is no file, a pipe or a device, is written to.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        _write(path, content)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from None


def _write(path: Path, content: bytes) -> None:
    if path.exists() and not path.is_file():  # asked before links are followed: /dev/stdout leads to no name
        with path.open("wb") as file:
            file.write(content)
        return
    Staged(path, content).commit()
