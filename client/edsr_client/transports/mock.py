"""A server in memory, for the tests of programs that use this package."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelNotFoundError

Handler = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


class MockTransport:
    """Answers requests in this process: `Upscaler(transport=MockTransport())`.

    Args:
        handler: from uint8 [N, H, W, 3] RGB to uint8 [N, scale H, scale W, 3]; it may raise an error of this package to
            play a failing server. By default every pixel is repeated.
        scale: of the model that is played.
        model: its name.
        parameters: further entries of the model's `parameters`, as text: {"tile": "64x64", "halo_px": "4"}.
        instances: of the model.
        delay_s: how long every answer takes, in seconds.

    Attributes:
        requests: (request id, shape) of every request so far.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        scale: int = 3,
        model: str = "edsr_baseline_x3",
        parameters: dict[str, str] | None = None,
        instances: int = 1,
        delay_s: float = 0.0,
        url: str = "mock",
    ) -> None:
        self.url = url
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        self.in_flight = self.most_in_flight = 0
        self._handler = handler or (lambda images: images.repeat(scale, axis=1).repeat(scale, axis=2))
        self._model, self._delay_s = model, delay_s
        values = {"scale": str(scale), "source": "mock", "halo_px": "0", **(parameters or {})}
        tensor = {"data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}
        self.config: dict[str, Any] = {
            "name": model,
            "backend": "mock",
            "max_batch_size": 1,
            "input": [{"name": "image", **tensor}],
            "output": [{"name": "upscaled", **tensor}],
            "instance_group": [{"count": instances}],
            "parameters": {key: {"string_value": value} for key, value in values.items()},
        }

    async def server_live(self) -> bool:
        return True

    async def server_ready(self) -> bool:
        return True

    async def model_ready(self, model: str) -> bool:
        return model == self._model

    async def server_metadata(self) -> dict[str, Any]:
        return {"name": "mock", "version": "0"}

    async def model_names(self) -> list[str]:
        return [self._model]

    async def model_config(self, model: str) -> dict[str, Any]:
        if model != self._model:
            raise ModelNotFoundError(f"{self.url} does not serve {model!r}; it serves: {self._model}.")
        return self.config

    async def model_statistics(self, model: str) -> dict[str, Any]:
        return {"name": model, "inference_count": len(self.requests)}

    async def infer(
        self, model: str, images: NDArray[np.uint8], *, scale: int, request_id: str, timeout_s: float
    ) -> NDArray[np.uint8]:
        self.requests.append((request_id, images.shape))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self._delay_s)
            return self._handler(images)
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        pass
