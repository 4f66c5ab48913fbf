"""Decoding: a file as frames in RGB with their times, and what else is known of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadVideoError
from . import colour, library
from .colour import Colour
from .options import DEFAULT_MAX_PIXELS

# Demuxers of FFmpeg that make a video of what is none: pictures, and any text at all ("tty").
NO_VIDEOS = {"tty", "image2", "gif", "apng", "ico", "txd", "sup", "bmp", "webp_anim"}
# Only files: no list of addresses in a file makes this program ask a network.
OPTIONS = {"protocol_whitelist": "file"}
# These count time from whenever the sender was switched on.
ARBITRARY_START = {"mpegts", "mpeg"}
# An end that is missing shorter than this may as well be rounding.
TOLERANCE_S = 0.5


@dataclass(frozen=True)
class SourceFrame:
    """One decoded frame: uint8 [H, W, 3] RGB; `pts` and `duration` in the time base of the source."""

    rgb: NDArray[np.uint8]
    pts: int
    duration: int


@dataclass(frozen=True)
class Source:
    """What is known of a video from its header and first frame.

    Attributes:
        width, height: in pixels, as stored: before the rotation.
        time_base: unit of all times, seconds.
        rate: frames a second, on average.
        frames: how many there are, as far as the file says; None if it does not.
        aspect: width of a pixel against its height.
        display_matrix: 9 numbers that say how players turn the picture; () for as it is.
        notes: what cannot be kept, in words.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    frames: int | None
    aspect: Fraction
    display_matrix: tuple[int, ...]
    colour: Colour
    notes: tuple[str, ...]


def open_source(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Any:
    """An opened input container of PyAV, whose decoders take frames of up to so many pixels.

    Raises:
        BadVideoError: no such file, or nothing that can be a video.
    """
    av = library.load()
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise BadVideoError(f"{path} is empty.")
    except OSError as error:
        raise BadVideoError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:  # a null character in the name
        raise BadVideoError(f"Cannot read {str(path)!r}: {error}.") from None
    options = OPTIONS | {"max_pixels": str(max_pixels)}
    try:
        # The prefix keeps a name with a colon from being taken for an address.
        container = av.open(f"file:{path}", "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", "") or error
        raise BadVideoError(f"{path} is not a video, or one that is cut off at a vital place ({reason}).") from None
    names = set(container.format.name.split(","))
    if names & NO_VIDEOS or any(name.endswith("_pipe") for name in names):
        container.close()
        advice = "" if "tty" in names else " Pictures and animations are for `edsr upscale`."
        raise BadVideoError(f"{path} is not a video.{advice}")
    return container


def video_stream(container: Any, path: Path) -> Any:
    """The first stream of pictures that move.

    Raises:
        BadVideoError: there is none.
    """
    for stream in container.streams.video:
        if not is_cover(stream) and stream.codec_context is not None:
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise BadVideoError(f"{path} has no video that can be decoded; it has: {kinds}.")


def is_cover(stream: Any) -> bool:
    """Whether it is a still picture that belongs to the file, such as the cover of an album."""
    av = library.load()
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def start_offset(container: Any, time_base: Fraction) -> int:
    """What is taken off every time, in `time_base`."""
    if not container.start_time or not set(container.format.name.split(",")) & ARBITRARY_START:
        return 0
    return round(Fraction(container.start_time, 1_000_000) / time_base)


class Reader:
    """Decodes one video. For one thread at a time.

    Args:
        path: of the file.
        max_pixels: frames of more are refused before they are decoded.

    Attributes:
        source: what is known of it.
        damaged: packets that could not be decoded, so far.
        spoilt: frames that were decoded from damaged data, so far.
        retimed: frames whose time was missing or not later than the one before; they got one.

    Raises:
        BadVideoError: not a video, none that can be upscaled, or not a single frame can be decoded.
    """

    def __init__(self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self._av = library.load()
        self._path = path
        self._container = open_source(path, max_pixels)
        try:
            self._stream = video_stream(self._container, path)
            _limit_frames(self._stream.codec_context, path, max_pixels)
            self._stream.thread_type = "AUTO"
            self.damaged = self.spoilt = self.retimed = 0
            self._packets = 0
            self._end_s = 0.0
            self._broke_off = False
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise BadVideoError(f"{path}: not a single frame can be decoded; it is damaged or cut off.")
            self.source = self._describe(self._first)
        except BaseException:
            self.close()
            raise
        self._offset = start_offset(self._container, self.source.time_base)
        self._last: int | None = None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def frames(self, skip: int = 0) -> Iterator[SourceFrame]:
        """The frames in the order they are shown, without the first `skip`; those are decoded, but not converted."""
        source, size = self.source, (self.source.width, self.source.height)
        step = max(1, round(1 / (source.rate * source.time_base)))
        for number, frame in enumerate(self._all()):
            pts = self._time_of(frame, step)
            self.spoilt += bool(frame.is_corrupt)
            if number >= skip:
                rgb = colour.to_rgb(frame, source.colour, size)
                yield SourceFrame(rgb, pts, getattr(frame, "duration", 0) or step)

    @property
    def is_truncated(self) -> bool:
        """Whether there is less in the file than its header promises. To be asked at the end."""
        if self._broke_off:
            return True
        names = set(self._container.format.name.split(","))
        if "mov" in names and self._packets < self._stream.frames:
            return True
        if not names & {"mov", "matroska"} or not self._container.duration:
            return False
        promised = (self._container.duration + (self._container.start_time or 0)) / 1e6
        return bool(self._end_s < promised - TOLERANCE_S)

    def _all(self) -> Iterator[Any]:
        yield self._first
        self._first = None
        yield from self._decoded

    def _decode(self) -> Iterator[Any]:
        """Frames; packets that cannot be decoded are counted and left out."""
        for packet in self._demux():
            try:
                yield from packet.decode()
            except self._av.FFmpegError:
                self.damaged += 1

    def _demux(self) -> Iterator[Any]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.FFmpegError:
                self._broke_off = True
                yield self._flush()
                return
            if packet.pts is not None and packet.time_base:
                self._end_s = max(self._end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == self._stream.index:
                self._packets += packet.size > 0
                self.damaged += packet.is_corrupt
                yield packet

    def _flush(self) -> Any:
        """An empty packet: the decoder hands out what it still holds."""
        packet = self._av.Packet()
        packet.stream = self._stream
        return packet

    def _time_of(self, frame: Any, step: int) -> int:
        """A time later than the last one's: encoders and players want no other."""
        pts = frame.pts
        if pts is not None and frame.time_base and frame.time_base != self.source.time_base:
            pts = round(pts * frame.time_base / self.source.time_base)
        pts = None if pts is None else pts - self._offset
        if pts is None or (self._last is not None and pts <= self._last):
            pts = 0 if self._last is None else self._last + (step if pts is None else 1)
            self.retimed += 1
        self._last = int(pts)
        return self._last

    def _describe(self, frame: Any) -> Source:
        stream, context = self._stream, self._stream.codec_context
        rate = stream.average_rate or getattr(stream, "guessed_rate", None) or stream.base_rate or Fraction(25)
        time_base = stream.time_base or 1 / Fraction(rate)
        format_ = frame.format
        meaning = colour.resolve(
            _known(frame.colorspace, context.colorspace),
            _known(frame.color_range, context.color_range, unspecified=0),
            _known(getattr(frame, "color_primaries", 2), context.color_primaries),
            _known(getattr(frame, "color_trc", 2), context.color_trc),
            height=frame.height,
            pixel_format=format_.name,
            is_rgb=bool(format_.is_rgb or format_.has_palette),
        )
        notes = []
        if max(component.bits for component in format_.components) > 8:
            notes.append("the video has more than 8 bits a colour; the network works on 8, and the result has 8")
        if any(component.is_alpha for component in format_.components) or _has_alpha_beside(stream):
            notes.append("the video has transparency, which is dropped")
        if frame.interlaced_frame:
            notes.append("the video is interlaced and upscaled as it is, combs included; deinterlace it before")
        others = sum(one.index != stream.index and not is_cover(one) for one in self._container.streams.video)
        if others:
            notes.append(f"the file has {others} further video stream(s); only the first is upscaled and kept")
        return Source(
            width=frame.width,
            height=frame.height,
            time_base=Fraction(time_base),
            rate=Fraction(rate),
            frames=self._count(Fraction(rate)),
            aspect=Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1),
            display_matrix=_display_matrix(frame),
            colour=meaning,
            notes=tuple(notes),
        )

    def _count(self, rate: Fraction) -> int | None:
        if self._stream.frames:
            return int(self._stream.frames)
        if self._stream.duration and self._stream.time_base:
            return max(1, round(Fraction(self._stream.duration) * Fraction(self._stream.time_base) * rate))
        if self._container.duration:
            return max(1, round(Fraction(self._container.duration, 1_000_000) * rate))
        return None


def _limit_frames(context: Any, path: Path, max_pixels: int) -> None:
    """Refuse what the header says is too large, and have the decoder refuse what it does not say."""
    if context.width * context.height > max_pixels:
        raise BadVideoError(
            f"{path} has frames of {context.width}x{context.height} = {context.width * context.height:,} pixels, more "
            f"than {max_pixels:,}. If that is meant, raise max_pixels=... (`--max-pixels`)."
        )
    context.options = {**context.options, "max_pixels": str(max_pixels)}


def _known(value: int, other: int, unspecified: int = colour.UNSPECIFIED) -> int:
    return int(other) if value == unspecified else int(value)


def _has_alpha_beside(stream: Any) -> bool:
    """Whether WebM or Matroska has alpha as a stream of its own, which decoders of VP8 and VP9 leave alone."""
    return any(key.lower() == "alpha_mode" and value != "0" for key, value in stream.metadata.items())


def _display_matrix(frame: Any) -> tuple[int, ...]:
    data = frame.side_data.get("DISPLAYMATRIX")
    return struct.unpack("=9i", bytes(data)[:36]) if data is not None else ()
