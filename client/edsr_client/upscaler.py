"""Upscaler: one server, one model, pictures in and pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images
from .errors import (
    BadImageError,
    ImageTooLargeError,
    ModelNotFoundError,
    OutputError,
    RequestRefusedError,
    ServerNotReadyError,
)
from .model_info import ModelInfo
from .transport import DEFAULT_TIMEOUT_S, Transport, connect

# Asked for in this order when the caller names no model.
PREFERRED_MODELS = ("edsr_x3", "edsr_baseline_x3")


class Upscaler:
    """Upscales pictures on a Triton server. For use by one thread; cheap to make.

    Args:
        url: "host:port" of the server, with or without "http://" or "grpc://"; localhost by default.
        protocol: "http" or "grpc".
        model: name of the model; by default edsr_x3 if it is ready, else edsr_baseline_x3.
        timeout_s: longest wait for one answer, in seconds.

    Raises:
        ValueError: an argument is malformed. Nothing is sent before the first use.

    Example:
        with Upscaler("localhost:8000") as upscaler:
            large = upscaler.upscale(small)
    """

    def __init__(
        self,
        url: str | None = None,
        protocol: str = "http",
        model: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._transport: Transport = connect(url, protocol, timeout_s)
        self._wanted = model
        self._model: ModelInfo | None = None

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def url(self) -> str:
        """host:port of the server."""
        return self._transport.url

    @property
    def model(self) -> ModelInfo:
        """The model in use, asked of the server once.

        Raises:
            ServerError: unreachable, not ready, or without the model.
        """
        if self._model is None:
            name = self._wanted or self._preferred()
            self._model = ModelInfo.from_config(self._transport.model_config(name))
        return self._model

    def server(self) -> dict[str, Any]:
        """Name, version and address of the server, whether it is ready, and which models are.

        Raises:
            ServerError: it cannot be asked.
        """
        metadata = self._transport.server_metadata()
        return {
            "url": self.url,
            "name": metadata.get("name", ""),
            "version": metadata.get("version", ""),
            "ready": self._transport.server_ready(),
            "models": self._transport.model_names(),
        }

    def upscale(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Upscale uint8 [H, W, 3] RGB to uint8 [scale H, scale W, 3] RGB.

        Raises:
            BadImageError: another type or shape, no pixels, or more than the server takes at once.
            ServerError: the server cannot be reached, is not ready, or refuses.
        """
        check_image(image)
        model = self.model
        height, width = image.shape[:2]
        if model.max_lr_pixels is not None and height * width > model.max_lr_pixels:
            raise ImageTooLargeError(
                f"A picture of {width}x{height} has {height * width:,} pixels; {model.name} on {self.url} takes "
                f"{model.max_lr_pixels:,} in one request. Reduce or cut it."
            )
        upscaled = self._transport.infer(model.name, np.ascontiguousarray(image[None]))
        expected = (1, model.scale * height, model.scale * width, 3)
        if upscaled.shape != expected or upscaled.dtype != np.uint8:
            raise RequestRefusedError(f"{self.url} answered {upscaled.dtype} {upscaled.shape}, expected {expected}.")
        return np.asarray(upscaled[0])

    def upscale_file(self, src: str | Path, dst: str | Path) -> None:
        """Upscale a picture file into another; the format follows the extension of `dst`.

        Raises:
            BadImageError: `src` cannot be read, or would lose transparency or depth.
            OutputError: `dst` cannot be written. It is then left as it was.
            ServerError: the server cannot be reached, is not ready, or refuses.
        """
        source, target = Path(src), Path(dst)
        images.check_extension(target)
        if target.exists() and source.exists() and target.samefile(source):
            raise OutputError(f"{dst} is the input itself. Name another output; nothing was changed.")
        images.write_image(target, self.upscale(images.read_image(source)))

    def _preferred(self) -> str:
        for name in PREFERRED_MODELS:
            if self._transport.model_ready(name):
                return name
        if not self._transport.server_ready():
            raise ServerNotReadyError(f"{self.url} is not ready: its models are still loading. Try again in a moment.")
        served = ", ".join(self._transport.model_names()) or "none"
        raise ModelNotFoundError(
            f"{self.url} serves neither of {', '.join(PREFERRED_MODELS)}; it serves: {served}. "
            "Name one with model=... (`--model`)."
        )


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise BadImageError unless `image` is uint8 [H, W, 3] with H and W of at least 1."""
    if not isinstance(image, np.ndarray):
        raise BadImageError(f"An image is a numpy array, uint8 [H, W, 3] RGB, not {type(image).__name__}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise BadImageError(
            f"An image is uint8 [H, W, 3] RGB with at least one pixel, not {image.dtype} {image.shape}."
        )
