"""Encoding: frames in RGB to packets, with the times and colours of the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from . import colour, library
from .options import Encoding, even_size
from .reader import Source


@dataclass(frozen=True)
class CodedPacket:
    """One encoded frame: when it is shown and for how long, in the time base of the source."""

    pts: int
    duration: int
    is_key: bool
    data: bytes


@dataclass(frozen=True)
class Plan:
    """What comes out: the encoding of a source upscaled by `scale`."""

    source: Source
    encoding: Encoding
    scale: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the output."""
        width, height = self.source.width * self.scale, self.source.height * self.scale
        return even_size(width, height, self.encoding.pixel_format)

    @property
    def notes(self) -> list[str]:
        """What is not as in the source, in words."""
        width, height = self.source.width * self.scale, self.source.height * self.scale
        if self.size == (width, height):
            return []
        return [
            f"{width}x{height} became {self.size[0]}x{self.size[1]}: the last row or column is repeated, because "
            "colour in half resolution wants even sizes (--pixel-format yuv444p does not)"
        ]


def configure(context: Any, plan: Plan) -> None:
    """Set up an encoder; the same for every segment and for the header of the whole, so that they fit together."""
    encoding, source = plan.encoding, plan.source
    context.width, context.height = plan.size
    context.pix_fmt = encoding.pixel_format
    context.time_base = source.time_base
    context.framerate = source.rate
    context.sample_aspect_ratio = source.aspect
    context.flags |= library.load().codec.context.Flags.global_header
    context.thread_count = 0
    context.options = {"crf": str(encoding.crf), "preset": encoding.preset, **dict(encoding.codec.quiet)}
    colour.tag(context, source.colour)


def check(plan: Plan) -> None:
    """Raise OutputError if the encoder is not there, or does not take such a video; before the work."""
    av = library.load()
    try:
        context = av.CodecContext.create(plan.encoding.codec.encoder, "w")
        configure(context, plan)
        context.open()
    except (av.FFmpegError, ValueError) as error:
        width, height = plan.size
        raise OutputError(
            f"{plan.encoding.codec.encoder} cannot encode {width}x{height} {plan.encoding.pixel_format} ({error}). "
            "Take another codec (`--codec`)."
        ) from None


class Encoder:
    """Encodes the frames of one segment. For one thread at a time."""

    def __init__(self, plan: Plan) -> None:
        self._av = library.load()
        self._plan = plan
        self._context = self._av.CodecContext.create(plan.encoding.codec.encoder, "w")
        configure(self._context, plan)
        self._durations: dict[int, int] = {}

    def encode(self, rgb: NDArray[np.uint8], pts: int, duration: int) -> Iterator[CodedPacket]:
        """Hand in uint8 [H, W, 3] RGB; encoders look ahead, so packets come later."""
        plan = self._plan
        padded = colour.pad(rgb, plan.size)
        frame = colour.from_rgb(self._av, padded, plan.source.colour, plan.encoding.pixel_format)
        frame.pts, frame.time_base = pts, plan.source.time_base
        self._durations[pts] = duration
        yield from self._coded(self._context.encode(frame))

    def finish(self) -> Iterator[CodedPacket]:
        """The packets that are left."""
        yield from self._coded(self._context.encode(None))

    def _coded(self, packets: list[Any]) -> Iterator[CodedPacket]:
        for packet in packets:
            duration = self._durations.pop(packet.pts, 1)
            yield CodedPacket(packet.pts, duration, packet.is_keyframe, bytes(packet))
