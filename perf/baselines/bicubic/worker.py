"""Bicubic interpolation by OpenCV: no network at all, so nothing that upscales well is faster."""

from __future__ import annotations

from typing import Any

from ..protocol import Method, serve

PACKAGES = ("opencv-contrib-python-headless", "numpy")


def load(command: dict[str, Any]) -> Method:
    """cv2.resize, INTER_CUBIC."""
    import cv2

    cv2.setNumThreads(command["threads"])
    scale = command["scale"]

    def upscale(picture: Any) -> Any:
        size = (picture.shape[1] * scale, picture.shape[0] * scale)
        return cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)

    return Method(upscale, precision="uint8", threads=cv2.getNumThreads())


if __name__ == "__main__":
    serve(load, PACKAGES)
