"""Whether a result shows what its source does: size, kind, frames, times, metadata, and pixels reduced again; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np

from .opinion import Array, Opinion, seen

# Pixels are compared as averages over a grid of so many cells a side: a network may sharpen, not move or colour.
CELLS = 24
# Sides below this are all border.
SMALL_PX = 9
DURATION_MS = 11.0
# What libvips says of frames whose file says nothing.
UNSAID_MS = 100.0


@dataclass(frozen=True)
class Tolerance:
    """How far averages may differ, in levels of 255: the worst cell of the grid, and all in the mean.

    `detail` allows more where neighbours differ much, as in dithered pictures, whose average no network keeps: so many
    levels of the worst cell, and an eighth of that in the mean, for each level by which they differ.
    """

    worst: float = 32.0
    mean: float = 6.0
    detail: float = 1.0


@dataclass(frozen=True)
class Difference:
    """One thing in which a result is not as its source: what, as the second decoder sees it, as it came out."""

    what: str
    expected: str
    found: str


def differences(source: Opinion, result: Opinion, scale: int, tolerance: Tolerance) -> list[Difference]:
    """All in which the result differs.

    Args:
        source: of the picture, by a second decoder.
        result: of what the client made of it.
        scale: between the two.
        tolerance: for the pixels.
    """
    expected = (source.size[0] * scale, source.size[1] * scale)
    if expected != result.size:
        return [Difference("size", f"{expected[0]}x{expected[1]}", f"{result.size[0]}x{result.size[1]}")]
    if source.count != result.count and not _is_joined(source, result):
        return [Difference("frames", str(source.count), str(result.count))]
    found = [*_kind(source, result), *_times(source, result), *_metadata(source, result)]
    for at in seen(source.count):
        then = at if source.count == result.count else _shown_with(at, source, result)
        if at in source.frames and then in result.frames:
            found += _pixels(at, source.frames[at], result.frames[then], scale, tolerance)
    return found


def _is_joined(source: Opinion, result: Opinion) -> bool:
    """Whether fewer frames take as long: encoders make one of neighbours that are equal."""
    if result.count > source.count or len(source.durations_ms) != source.count:
        return False
    shown = sum(result.durations_ms)
    return result.count == 1 or abs(sum(source.durations_ms) - shown) <= DURATION_MS * source.count


def _shown_with(at: int, source: Opinion, result: Opinion) -> int:
    """The frame of the result that is shown when that of the source begins."""
    begin = sum(source.durations_ms[:at]) + DURATION_MS / 2
    ends = list(accumulate(result.durations_ms))
    return next((index for index, end in enumerate(ends) if begin < end), max(0, result.count - 1))


def _kind(source: Opinion, result: Opinion) -> Iterator[Difference]:
    old, new = source.frames[0], result.frames[0]
    if source.count == 1 and old.dtype != new.dtype:
        yield Difference("depth", str(old.dtype), str(new.dtype))
    if source.count == 1 and old.shape[2] <= 2 < new.shape[2]:
        yield Difference("mode", "grey", "colour")
    if any(_is_transparent(frame) for frame in source.frames.values()) and new.shape[2] in (1, 3):
        yield Difference("alpha", "transparent", "opaque")


def _times(source: Opinion, result: Opinion) -> Iterator[Difference]:
    if not source.durations_ms or len(source.durations_ms) != len(result.durations_ms):
        return
    for at, (old, new) in enumerate(zip(source.durations_ms, result.durations_ms, strict=True)):
        is_unsaid = source.by == "libvips" and old == UNSAID_MS and new == 0
        if abs(old - new) > DURATION_MS and old > DURATION_MS and not is_unsaid:
            yield Difference(f"time of frame {at}", f"{old:g} ms", f"{new:g} ms")
            return


def _metadata(source: Opinion, result: Opinion) -> Iterator[Difference]:
    if source.icc and source.icc != result.icc:
        yield Difference("ICC profile", f"{len(source.icc)} bytes", f"{len(result.icc)} bytes")
    if source.xmp and not result.xmp:
        yield Difference("XMP", "some", "none")
    lost = sorted(name for name in source.exif if name not in result.exif)
    changed = sorted(
        name for name, value in source.exif.items() if name in result.exif and not _is_equal(value, result.exif[name])
    )
    if lost:
        yield Difference("EXIF", f"{len(source.exif)} fields", f"lost: {', '.join(lost[:5])}")
    for name in changed[:3]:
        yield Difference(name, source.exif[name][:60], result.exif[name][:60])


def _is_equal(old: str, new: str) -> bool:
    """Whether two values are the same; 10/1600 is 1/160, and a number that is none (0/0) may be any."""
    if old == new:
        return True
    one, other = _numbers(old), _numbers(new)
    return bool(one) and len(one) == len(other) and all(map(_is_near, one, other))


def _is_near(one: float, other: float) -> bool:
    return math.isnan(one) or math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-9)


def _numbers(text: str) -> list[float]:
    try:
        parts = [part.partition("/") for part in text.split()]
        return [float(above) / float(below or 1) if float(below or 1) else math.nan for above, _, below in parts]
    except ValueError:
        return []


def _pixels(at: int, old: Array, new: Array, scale: int, tolerance: Tolerance) -> list[Difference]:
    apart = np.abs(_cells(old, 1) - _cells(new, scale))
    worst, mean = float(apart.max()), float(apart.mean())
    more = tolerance.detail * _detail(old)
    most, average = tolerance.worst + more, tolerance.mean + more / 8
    is_small = min(old.shape[:2]) < SMALL_PX
    if mean <= average * (2 if is_small else 1) and (is_small or worst <= most):
        return []
    return [Difference(f"pixels of frame {at}", f"within {most:.0f}, {average:.0f}", f"{worst:.1f}, {mean:.1f}")]


def _detail(pixels: Array) -> float:
    """By how many levels pixels differ from the mean of their neighbours."""
    flat = _rgba(pixels)
    return float(np.abs(flat - cv2.blur(flat, (3, 3))).mean())


def _cells(pixels: Array, scale: int) -> Array:
    """Averages over a grid, colour as far as it is seen, and alpha; float, 0 to 255."""
    flat = _rgba(pixels)
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    cells = (min(CELLS, width), min(CELLS, height))
    return np.asarray(cv2.resize(flat, cells, interpolation=cv2.INTER_AREA)).reshape(cells[1], cells[0], 4)


def _rgba(pixels: Array) -> Array:
    """float32 [H, W, 4], colour multiplied by alpha."""
    levels = pixels.astype(np.float32) * np.float32(255 / np.iinfo(pixels.dtype).max)
    channels = levels.shape[2]
    colour = levels[..., :1].repeat(3, axis=2) if channels <= 2 else levels[..., :3]
    alpha = levels[..., -1:] if channels in (2, 4) else np.full_like(levels[..., :1], 255)
    return np.ascontiguousarray(np.concatenate([colour * alpha / 255, alpha], axis=2))


def _is_transparent(pixels: Array) -> bool:
    return pixels.shape[2] in (2, 4) and bool((pixels[..., -1] != np.iinfo(pixels.dtype).max).any())
