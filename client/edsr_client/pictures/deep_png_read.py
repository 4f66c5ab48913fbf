"""PNG files with 16 bits a channel, animations too: Pillow reads them as 8 bits, OpenCV the first picture only.

Every frame is made a file of its own for OpenCV, and put on the canvas as "Animated PNG" says (PNG 3rd edition, 13).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGBA: 4}
TO_BACKGROUND, TO_PREVIOUS = 1, 2
OVER = 1
TOP = 65_535
ANIMATION = (b"acTL", b"fcTL", b"fdAT")

Array = NDArray[Any]


@dataclass(frozen=True)
class _Frame:
    """Where a frame lies (left, top, width, height), for how long, what follows it, how it is put there, its pixels."""

    place: tuple[int, int, int, int]
    duration_ms: float
    disposal: int
    blend: int
    data: bytes = b""


def is_deep_png(data: bytes) -> bool:
    """Whether it is a PNG file of 16 bits a channel."""
    return data[:8] == SIGNATURE and data[24:25] == b"\x10"


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk, up to the end of the file or the first that is cut off.

    Raises:
        ValueError: a chunk is damaged.
    """
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        if len(content) < length or position + 12 + length > len(data):
            return
        if zlib.crc32(name + content) != struct.unpack_from(">I", data, position + 8 + length)[0]:
            raise ValueError(f"the checksum of {name.decode('latin-1')!r} is wrong")
        yield name, content
        position += length + 12
        if name == b"IEND":
            return


def still(data: bytes) -> bytes:
    """An animated PNG file without its animation."""
    parts, position = [data[: len(SIGNATURE)]], len(SIGNATURE)
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] not in ANIMATION:
            parts.append(data[position:end])
        position = end
    return b"".join(parts)


def deep_frames(data: bytes) -> Iterator[tuple[Array, float]]:
    """The pictures as they are to be seen, and for how many ms: the default image if it is no frame, then all frames.

    Args:
        data: of a file that is_deep_png.

    Yields:
        uint16 [H, W], or [H, W, C] with C of 2 (grey, alpha), 3 or 4; all frames of one kind.

    Raises:
        ValueError: it is damaged or truncated.
    """
    header, colour_type = data[16:29], data[25]
    if colour_type not in CHANNELS:
        raise ValueError(f"a colour type of {colour_type} with 16 bits")
    transparent, is_animated, default, frames = _parts(data)
    if default is not None:
        yield _picture(_decoded(header, default.data, default.place), transparent), 0.0
    if not is_animated:
        for frame in frames:
            yield _picture(_decoded(header, frame.data, frame.place), transparent), 0.0
        return
    if frames and frames[0].disposal == TO_PREVIOUS:  # there is nothing before it
        frames[0] = replace(frames[0], disposal=TO_BACKGROUND)
    has_alpha = colour_type in (GREY_ALPHA, RGBA) or transparent is not None
    width, height = struct.unpack(">II", header[:8])
    needs_alpha = has_alpha or any(frame.disposal == TO_BACKGROUND for frame in frames[:-1])
    needs_alpha = needs_alpha or any(frame.place != (0, 0, width, height) for frame in frames[:1])
    canvas = np.zeros((height, width, 4 if colour_type in (RGB, RGBA) else 2), np.uint16)
    for frame in frames:
        pixels = _with_alpha(_picture(_decoded(header, frame.data, frame.place), transparent))
        left, top, across, down = frame.place
        rows, columns = slice(top, top + down), slice(left, left + across)
        before = canvas.copy() if frame.disposal == TO_PREVIOUS else None
        canvas[rows, columns] = over(canvas[rows, columns], pixels) if frame.blend == OVER else pixels
        yield (canvas.copy() if needs_alpha else _without_alpha(canvas)), frame.duration_ms
        if before is not None:
            canvas = before
        elif frame.disposal == TO_BACKGROUND:
            canvas[rows, columns] = 0


def over(below: Array, above: Array) -> Array:
    """One picture upon another, both with straight alpha; uint16 [H, W, C]."""
    top, bottom = above[..., -1:].astype(np.float64) / TOP, below[..., -1:].astype(np.float64) / TOP
    share = bottom * (1 - top)
    alpha = top + share
    colour = (above[..., :-1] * top + below[..., :-1] * share) / np.maximum(alpha, 1 / TOP)
    both: Array = np.rint(np.concatenate([colour, alpha * TOP], axis=2)).astype(np.uint16)
    return both


def _parts(data: bytes) -> tuple[tuple[int, ...] | None, bool, _Frame | None, list[_Frame]]:
    """The transparent colour, whether it is an animation, the default image if it is no frame, and the frames."""
    width, height = struct.unpack(">II", data[16:24])
    whole = _Frame((0, 0, width, height), 0.0, 0, 0)
    transparent: tuple[int, ...] | None = None
    default: _Frame | None = None
    current: _Frame | None = None
    frames: list[_Frame] = []
    parts: list[bytes] = []
    is_animated = False

    def finish() -> None:
        nonlocal default
        if not parts:
            return
        frame = replace(current or whole, data=b"".join(parts))
        if current is None and is_animated:
            default = frame
        else:
            frames.append(frame)
        parts.clear()

    for name, content in chunks_of(data):
        if name == b"tRNS" and data[25] in (GREY, RGB):
            transparent = struct.unpack(f">{CHANNELS[data[25]]}H", content[: 2 * CHANNELS[data[25]]])
        elif name == b"acTL":
            is_animated = True
        elif name == b"fcTL" and is_animated:
            finish()
            across, down, left, top, delay, unit, disposal, blend = struct.unpack_from(">IIIIHHBB", content, 4)
            if not (across and down and left + across <= width and top + down <= height):
                raise ValueError("a frame lies outside of the picture")
            current = _Frame((left, top, across, down), 1000 * delay / (unit or 100), disposal, blend)
        elif name == b"IDAT":
            parts.append(content)
        elif name == b"fdAT" and current is not None:
            parts.append(content[4:])
    finish()
    return transparent, is_animated, default, frames


def _decoded(header: bytes, data: bytes, place: tuple[int, int, int, int]) -> Array:
    """uint16 [H, W, C] with C as the file has it."""
    import cv2

    header = struct.pack(">II", *place[2:]) + header[8:]
    file = SIGNATURE + b"".join(_chunk(*one) for one in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))
    try:
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(str(error)) from None
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] != (place[3], place[2]):
        raise ValueError("its pixels cannot be decoded")
    order = {GREY: [0], RGB: [2, 1, 0], GREY_ALPHA: [0, -1], RGBA: [2, 1, 0, 3]}[header[9]]
    ordered: Array = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1)[..., order])
    return ordered


def _picture(pixels: Array, transparent: tuple[int, ...] | None) -> Array:
    """With alpha where a colour is named transparent; [H, W] if it is only grey."""
    if transparent is not None:
        alpha = np.where((pixels == transparent).all(axis=2), 0, TOP).astype(np.uint16)
        return np.concatenate([pixels, alpha[..., None]], axis=2)
    grey_or_all: Array = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    return grey_or_all


def _with_alpha(pixels: Array) -> Array:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] in (2, 4):
        return pixels
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), TOP, np.uint16)], axis=2)


def _without_alpha(canvas: Array) -> Array:
    return np.array(canvas[..., 0] if canvas.shape[2] == 2 else canvas[..., :3])


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
