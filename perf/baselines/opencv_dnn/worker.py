"""OpenCV 4's dnn_superres on the frozen graph itself: what the replaced service runs."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..protocol import Method, Pixels, serve

PACKAGES = ("opencv-contrib-python-headless", "opencv-contrib-python", "numpy")


def load(command: dict[str, Any]) -> Method:
    """The network in float32; pictures are BGR in OpenCV, whose conversion is not timed."""
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(command["threads"])
    network = cv2.dnn_superres.DnnSuperResImpl_create()
    network.readModel(command["graph"])
    network.setModel("edsr", command["scale"])
    return Method(network.upsample, _swapped, _swapped, precision="f32", threads=cv2.getNumThreads())


def _swapped(picture: Pixels) -> Pixels:
    return np.ascontiguousarray(picture[..., ::-1])


if __name__ == "__main__":
    serve(load, PACKAGES)
