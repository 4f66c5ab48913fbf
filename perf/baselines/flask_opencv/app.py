"""The service being replaced, rebuilt: Flask, OpenCV's dnn_superres, one POST that takes and gives a picture file.

    EDSR_GRAPH=models/edsr_baseline_x3.pb EDSR_SCALE=3 python -m gunicorn baselines.flask_opencv.app:app
    curl --form image=@in.png localhost:8000/enhance > out.png

The answer has the format of what was sent, JPEG in quality 95, or PNG.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import cv2
import numpy as np
from flask import Flask, Response, request

from ..protocol import versions

PACKAGES = ("flask", "gunicorn", "opencv-contrib-python-headless", "numpy")
JPEG_QUALITY = 95

app = Flask(__name__)
one_at_a_time = threading.Lock()


def _load() -> Any:
    cv2.setNumThreads(int(os.environ.get("EDSR_THREADS", "0")) or -1)
    network = cv2.dnn_superres.DnnSuperResImpl_create()  # type: ignore[attr-defined]  # of opencv-contrib
    network.readModel(os.environ["EDSR_GRAPH"])
    network.setModel("edsr", int(os.environ.get("EDSR_SCALE", "3")))
    return network


network = _load()


@app.get("/health")  # type: ignore[untyped-decorator]
def health() -> dict[str, Any]:
    """Versions of what serves."""
    return {"versions": versions(PACKAGES)}


@app.post("/enhance")  # type: ignore[untyped-decorator]
def enhance() -> Response:
    """Multipart field `image`: a picture file in, the picture upscaled out."""
    file = request.files.get("image")
    if file is None:
        return Response("the form has no file called image\n", 400)
    picture = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return Response("that is no picture\n", 400)
    with one_at_a_time:
        larger = network.upsample(picture)
    if file.mimetype == "image/jpeg":
        content = cv2.imencode(".jpg", larger, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return Response(content.tobytes(), mimetype="image/jpeg")
    return Response(cv2.imencode(".png", larger)[1].tobytes(), mimetype="image/png")
