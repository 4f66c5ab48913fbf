"""The photographs that come with the package, each folder for one purpose; photographs.toml has their licences."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import numpy as np
from numpy.typing import NDArray

# parity: small cuttings, compared between formats. calibration: LR, from the training photographs, for ranges of
# activations. held_out: HR, in no training, for judging. graphics: LR, drawn by a program: text, flat colours.
PARITY, CALIBRATION, HELD_OUT, GRAPHICS = (
    f"{purpose}_pictures" for purpose in ("parity", "calibration", "held_out", "graphics")
)


def pictures(folder: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield (name, uint8 [H, W, 3] RGB) of one of the folders above, in order of name."""
    import cv2

    for file in sorted((resources.files(__package__) / folder).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".png"):
            bgr = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            yield file.name.removesuffix(".png"), np.ascontiguousarray(np.asarray(bgr, np.uint8)[:, :, ::-1])


def held_out_pairs(scale: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield (HR uint8 [scale h, scale w, 3], LR uint8 [h, w, 3]): reduced as in training, antialiased bicubic."""
    from PIL import Image

    for _, picture in pictures(HELD_OUT):
        height, width = (side // scale for side in picture.shape[:2])
        hr = np.ascontiguousarray(picture[: height * scale, : width * scale])
        yield hr, np.array(Image.fromarray(hr).resize((width, height), Image.Resampling.BICUBIC))
