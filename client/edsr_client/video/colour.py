"""Colour of a video: which numbers mean which, from YUV to RGB and back. The numbers are those of ISO/IEC 23091-2,
which FFmpeg uses too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadVideoError

RGB, BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 4, 5, 6, 7, 9
PQ, HLG = 16, 18
LIMITED, FULL = 1, 2  # AVColorRange
# swscale counts matrices differently, and both 601s as one.
SWSCALE = {BT709: 1, FCC: 4, BT470BG: 5, SMPTE170M: 5, SMPTE240M: 7, BT2020: 9}
# Bicubic, chroma in full resolution on both sides, exact rounding: without them flat colours are off by up to 3 levels.
SWS_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000
HD_LINES = 720


@dataclass(frozen=True)
class Colour:
    """What the numbers of a video mean.

    Attributes:
        matrix: from YUV to RGB; never unspecified.
        is_full: Y from 0 to 255, not from 16 to 235.
        primaries, transfer: carried along, the pixels are not converted.
        is_rgb: the input is RGB; then `matrix` and `is_full` say what to encode.
    """

    matrix: int
    is_full: bool
    primaries: int
    transfer: int
    is_rgb: bool = False

    @property
    def range(self) -> int:
        """AVColorRange."""
        return FULL if self.is_full else LIMITED


def resolve(
    matrix: int, range_: int, primaries: int, transfer: int, *, height: int, pixel_format: str, is_rgb: bool = False
) -> Colour:
    """What a video means, as players read it: without a matrix it is that of SD below 720 lines, else that of HD.

    Raises:
        BadVideoError: HDR, or a matrix that cannot be converted.
    """
    if transfer in (PQ, HLG):
        kind = "PQ" if transfer == PQ else "HLG"
        raise BadVideoError(
            f"The video is HDR ({kind}), and the network works on 8 bits of SDR. Convert it to SDR first."
        )
    is_full = range_ == FULL or (range_ not in (LIMITED, FULL) and pixel_format.startswith("yuvj"))
    if is_rgb:
        matrix, is_full = UNSPECIFIED, False
    if matrix in (RGB, UNSPECIFIED):
        assumed = SMPTE170M if height < HD_LINES else BT709
        # The upscaled video has more lines: a player would guess anew, and differently. So all is said.
        primaries = assumed if primaries in (0, UNSPECIFIED) else primaries
        transfer = assumed if transfer in (0, UNSPECIFIED) else transfer
        matrix = assumed
    if matrix not in SWSCALE:
        raise BadVideoError(f"The colour matrix of the video (number {matrix} of ISO/IEC 23091-2) cannot be converted.")
    return Colour(matrix, is_full, primaries, transfer, is_rgb)


def to_rgb(frame: Any, colour: Colour, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A decoded frame as uint8 [H, W, 3] RGB of (width, height) `size`."""
    width, height = size
    matrix = SWSCALE[colour.matrix]
    converted = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=FULL if colour.is_rgb else colour.range,
        dst_color_range=FULL,
        interpolation=SWS_FLAGS,
    )
    array: NDArray[np.uint8] = converted.to_ndarray()
    return array


def from_rgb(av: Any, rgb: NDArray[np.uint8], colour: Colour, pixel_format: str) -> Any:
    """uint8 [H, W, 3] RGB as a frame to encode."""
    matrix = SWSCALE[colour.matrix]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    converted = frame.reformat(
        format=pixel_format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=FULL,
        dst_color_range=colour.range,
        interpolation=SWS_FLAGS,
    )
    tag(converted, colour)
    return converted


def tag(target: Any, colour: Colour) -> None:
    """Say it of a frame or an encoder; the frames of older PyAV know nothing of primaries and transfer."""
    target.colorspace = colour.matrix
    target.color_range = colour.range
    for name, value in (("color_primaries", colour.primaries), ("color_trc", colour.transfer)):
        if hasattr(target, name):
            setattr(target, name, value)


def pad(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Repeat the last row and column of [H, W, 3] until it has (width, height) `size`."""
    width, height = size
    down, right = height - rgb.shape[0], width - rgb.shape[1]
    return np.pad(rgb, ((0, down), (0, right), (0, 0)), mode="edge") if down or right else rgb
