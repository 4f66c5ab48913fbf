"""What a worker is asked to do, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Progress = Callable[[int, "int | None"], None]
"""Called with what is done and what there is in all, if that is known: tiles of a picture, frames of a video."""


@dataclass(frozen=True)
class Work:
    """One picture or video to upscale.

    Attributes:
        source: its content, or the file that holds it.
        target: a path for the result that does not exist yet, in a folder that does. No name of a user's. Of a video it
            has the extension of `format`.
        kind: decides which engine works.
        name: what messages call it; never a path.
        format: of the result, as `Finishing.format` names it; for videos the container: mp4, mkv, mov, webm.
        quality, scale, max_side, strip_metadata, png_effort: as `edsr_client.Finishing` has them.
        model: a name, or "auto".
        self_ensemble: whether the mean of eight flips and quarter turns is taken.
        max_pixels: LR pixels of a picture, or of a video's frame.
        max_frames: of a video or an animation.
        in_memory_bytes: a result of a picture up to this size is answered as bytes; 0 always writes `target`.
    """

    source: bytes | Path
    target: Path
    kind: Literal["picture", "video"] = "picture"
    name: str = "the picture"
    format: str = "png"
    quality: int | None = None
    scale: float | None = None
    max_side: int | None = None
    strip_metadata: bool = False
    png_effort: str | None = None
    model: str = "auto"
    self_ensemble: bool = False
    max_pixels: int = 50_000_000
    max_frames: int = 20_000
    in_memory_bytes: int = 1 << 20


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before it is decoded.

    Attributes:
        format: a name of `edsr_client.FORMATS`, or another that is only read.
        width, height: in pixels, turned as EXIF says.
        frames: of an animation; else 1.
        jpeg_quality: of a JPEG, 1 to 100; else None.
    """

    format: str
    width: int
    height: int
    frames: int
    jpeg_quality: int | None

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.width * self.height * self.frames


@dataclass(frozen=True)
class Done:
    """A finished work.

    Attributes:
        content: of the result; None if it is in the work's target.
        format: of the result; `bytes` is its size.
        width, height: of the result in pixels; lr_width, lr_height those of the input.
        frames: 1 for pictures that do not move.
        tiles, retries: requests to Triton that were answered, and those sent again.
        model, model_reason: which one, and why if it was chosen.
        precision: of its weights and arithmetic, as the server says it.
        seconds: of the work, without waiting and sending.
        notes: what could not be kept, in words.
    """

    content: bytes | None
    format: str
    width: int
    height: int
    lr_width: int
    lr_height: int
    bytes: int
    frames: int
    tiles: int
    retries: int
    model: str
    model_reason: str
    precision: str
    seconds: float
    notes: list[str] = field(default_factory=list)
