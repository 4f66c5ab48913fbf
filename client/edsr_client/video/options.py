"""What can be asked of a video, which container takes what, and what is told of the result; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..border import Border
from ..errors import OutputError

# Called with the frames that are done and those there are in all, as far as the file says: None where it does not.
VideoProgress = Callable[[int, "int | None"], None]

X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
AV1_PRESETS = tuple(str(number) for number in range(14))


@dataclass(frozen=True)
class Codec:
    """A way to encode.

    Attributes:
        name: as users say it.
        encoder: as FFmpeg calls it.
        crf: the constant quality taken when none is named; less is better and larger.
        max_crf: the worst there is.
        presets: from fast to slow, or slow to fast where they are numbers.
        preset: the one taken when none is named.
        quiet: options that keep the encoder from writing to standard error.
    """

    name: str
    encoder: str
    crf: int
    max_crf: int
    presets: tuple[str, ...]
    preset: str
    quiet: tuple[tuple[str, str], ...] = ()


CODECS = {
    codec.name: codec
    for codec in (
        Codec("h264", "libx264", 17, 51, X26X_PRESETS, "medium"),
        Codec("h265", "libx265", 19, 51, X26X_PRESETS, "medium", (("x265-params", "log-level=none"),)),
        Codec("av1", "libsvtav1", 24, 63, AV1_PRESETS, "6"),
    )
}
# By extension: FFmpeg's name of the container, and what of ours it holds.
CONTAINERS = {
    ".mp4": ("mp4", ("h264", "h265", "av1")),
    ".mkv": ("matroska", ("h264", "h265", "av1")),
    ".mov": ("mov", ("h264", "h265")),
    ".webm": ("webm", ("av1",)),
}
PIXEL_FORMATS = ("yuv420p", "yuv444p")
# Frames of 8K have 33 million pixels; about six are under way at a time, upscaled ones of nine times as many.
DEFAULT_MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class VideoOptions:
    """How a video is encoded and worked on.

    Attributes:
        codec: "h264", "h265", "av1"; by default h264, in .webm av1.
        crf: constant quality, less is better; by default 17 for h264, 19 for h265, 24 for av1.
        preset: speed of the encoder, as x264 and x265 name it ("medium"), or 0 to 13 for av1 ("6").
        pixel_format: "yuv420p", which everything plays, or "yuv444p", with colour in full resolution.
        sound: whether sound is copied; False leaves it out.
        segment_s: work is kept in pieces of this many seconds of video, from which a killed run goes on.
        tile, halo, border: as for `AsyncUpscaler.upscale`.
        max_pixels: a video with larger frames is refused before they are decoded.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str = "yuv420p"
    sound: bool = True
    segment_s: float = 10.0
    tile: int | tuple[int, int] | None = None
    halo: int | str | None = None
    border: Border | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in CODECS:
            raise ValueError(f"codec must be one of {', '.join(CODECS)}, not {self.codec!r}")
        if self.pixel_format not in PIXEL_FORMATS:
            raise ValueError(f"pixel_format must be one of {', '.join(PIXEL_FORMATS)}, not {self.pixel_format!r}")
        if not 0.1 <= self.segment_s <= 3600:
            raise ValueError(f"segment_s must be 0.1 to 3600 seconds, not {self.segment_s!r}")


@dataclass(frozen=True)
class Encoding:
    """What VideoOptions come to for one output: nothing is open any more."""

    codec: Codec
    container: str
    crf: int
    preset: str
    pixel_format: str


@dataclass(frozen=True)
class VideoResult:
    """What was done with one video.

    Attributes:
        path: of the output.
        codec: "h264", "h265" or "av1".
        width, height: of the output, in pixels.
        frames: in the output.
        reused: frames equal to the one before them, which were not sent again.
        resumed: frames that an earlier run had done.
        complete: False if the input was damaged or cut off: the output holds what could be decoded.
        streams: what was copied, in words: "sound aac (eng)".
        retries: requests that had to be sent again.
        model: name of the model.
        servers: the addresses that answered.
        seconds: from opening the input to the finished output.
        notes: what could not be kept, in words.
        self_ensemble: whether every frame is the mean of eight flips and quarter turns.
    """

    path: str
    codec: str
    width: int
    height: int
    frames: int
    reused: int
    resumed: int
    complete: bool
    streams: list[str]
    retries: int
    model: str
    servers: list[str]
    seconds: float
    notes: list[str] = field(default_factory=list)
    self_ensemble: bool = False


def encoding_for(dst: Path, options: VideoOptions) -> Encoding:
    """The encoder's settings for an output of that name.

    Raises:
        OutputError: a container that is not known, or cannot hold the codec.
        ValueError: a quality or preset the codec does not have.
    """
    known = CONTAINERS.get(dst.suffix.lower())
    if known is None:
        raise OutputError(f"Cannot write {dst}: unknown extension. Videos are {', '.join(CONTAINERS)}.")
    container, names = known
    codec = CODECS[options.codec or names[0]]
    if codec.name not in names:
        others = ", ".join(extension for extension, (_, held) in CONTAINERS.items() if codec.name in held)
        raise OutputError(
            f"Cannot write {dst}: {dst.suffix} holds {' or '.join(names)}, not {codec.name}. "
            f"Take another codec (`--codec`), or for {codec.name} {others}."
        )
    crf = codec.crf if options.crf is None else options.crf
    if not 0 <= crf <= codec.max_crf:
        raise ValueError(f"crf must be 0 to {codec.max_crf} for {codec.name}, not {crf!r}")
    preset = codec.preset if options.preset is None else options.preset
    if preset not in codec.presets:
        raise ValueError(f"preset must be one of {', '.join(codec.presets)} for {codec.name}, not {preset!r}")
    return Encoding(codec, container, crf, preset, options.pixel_format)


def default_name(src: Path, scale: int, options: VideoOptions) -> str:
    """in.mp4 -> in_x3.mp4, likewise .mkv, .mov, .webm; .mp4 for all else, and where the codec does not fit."""
    extension = src.suffix.lower()
    held = CONTAINERS.get(extension, ("", ()))[1]
    fits = (options.codec or "h264") in held or (options.codec is None and extension == ".webm")
    return f"{src.stem}_x{scale}{extension if fits else '.mp4'}"


def even_size(width: int, height: int, pixel_format: str) -> tuple[int, int]:
    """The size to encode: colour in half resolution (4:2:0) wants even numbers, so the next larger ones."""
    return (width + width % 2, height + height % 2) if pixel_format == "yuv420p" else (width, height)
