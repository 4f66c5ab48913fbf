"""A result of the client, PNG, as it can be read back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .opinion import Opinion, seen, vips_metadata

# Of short animations all frames are kept: fewer may stand for more.
FRAMES_KEPT = 64


def result_of(path: Path) -> Opinion:
    """What is in a PNG file, animated or not.

    Raises:
        OSError: it cannot be read.
    """
    import cv2
    import pyvips
    from edsr_client.pictures.plugins import register_plugins
    from PIL import Image

    register_plugins()  # profiles of more than Pillow takes by itself

    metadata = vips_metadata(pyvips.Image.new_from_file(os.fspath(path)))
    with Image.open(path) as image:
        count = int(getattr(image, "n_frames", 1))
        size = image.size
        if count > 1:
            frames, durations = {}, []
            for at in range(count):
                image.seek(at)
                durations.append(float(image.info.get("duration") or 0))
                if at in seen(count) or count <= FRAMES_KEPT:
                    frames[at] = np.asarray(image.convert("RGBA"))
            return Opinion("Pillow", size, count, frames, tuple(durations), **metadata)
    pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError(f"{path} cannot be read")
    grey = pixels if pixels.ndim == 2 else None
    if grey is not None:
        return Opinion("OpenCV", size, 1, {0: np.asarray(grey)[..., None]}, **metadata)
    order = [2, 1, 0, 3][: pixels.shape[2]]
    turned = np.asarray(pixels)[..., order]
    with path.open("rb") as file:
        is_grey = file.read(26)[25] == 4
    return Opinion("OpenCV", size, 1, {0: turned[..., [0, 3]] if is_grey else turned}, **metadata)
