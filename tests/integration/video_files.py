"""Small videos of every kind, made by PyAV, and what is in a video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = Callable[[int], NDArray[np.uint8]]
SOUND_RATE = 44_100


def moving(width: int = 32, height: int = 24) -> Picture:
    """Gradients that move: no frame is equal to another."""
    y, x = np.mgrid[:height, :width]
    return lambda i: np.stack([x * 5 + i * 7, y * 6 + i, (x + y) * 3 + i * 11], -1).astype(np.uint8)


def make_video(
    path: Path,
    frames: int = 20,
    picture: Picture | None = None,
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12_800),
    rate: int = 25,
    sound: str | None = None,
    subtitles: str | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int | None = None,
    aspect: Fraction | None = None,
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video; `sound` and `subtitles` are names of codecs."""
    picture = picture or moving()
    step = round(1 / (rate * time_base))
    with av.open(str(path), "w", container_options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as out:
        video: Any = out.add_stream(codec, rate=rate, options=options or {"crf": "12"})
        video.height, video.width = picture(0).shape[:2]
        video.pix_fmt, video.codec_context.time_base = pixel_format, time_base
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        audio: Any = out.add_stream(sound, rate=SOUND_RATE) if sound else None
        if audio:
            audio.layout = "mono"
            audio.metadata["language"] = "eng"
        text: Any = out.add_mux_stream(subtitles) if subtitles else None
        if text:
            text.time_base = Fraction(1, 1000)
        out.metadata["title"] = "A film"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture(index)), format="rgb24")
            frame.pts, frame.time_base = (pts[index] if pts else index * step), time_base
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio:
            _sing(out, audio, frames / rate)
        if text:
            _write(out, text, subtitles == "mov_text")
    return path


def _sing(out: Any, stream: Any, seconds: float) -> None:
    times = np.arange(int(SOUND_RATE * seconds)) / SOUND_RATE
    wave = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        out.mux(stream.encode(frame))
    out.mux(stream.encode())


def _write(out: Any, stream: Any, has_length: bool) -> None:
    for start, words in ((100, b"hello"), (500, b"world")):
        packet = av.Packet((len(words).to_bytes(2, "big") if has_length else b"") + words)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = start
        packet.duration, packet.is_keyframe = 200, True
        out.mux(packet)


def frames_of(path: Path) -> list[Any]:
    """All frames, decoded."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times_of(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds, exactly."""
    return [frame.pts * frame.time_base for frame in frames_of(path)]


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and content of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size
        ]


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """All frames as they are stored, uint8 [frames, ...]."""
    return np.stack([frame.to_ndarray() for frame in frames_of(path)])


def yuv_at(frame: Any, across: float, down: float) -> tuple[int, ...]:
    """Y, U and V of a frame at a place, 0 to 1."""
    values = []
    for plane in frame.planes:
        array = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        values.append(int(array[int(plane.height * down), int(plane.width * across)]))
    return tuple(values)
