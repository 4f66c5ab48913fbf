"""Which models the Tritons serve, and what of them a gateway must know; asked again from time to time."""

from __future__ import annotations

import time

from edsr_client import AsyncUpscaler, EdsrError, ModelInfo

from .errors import Problem, problem_of

AUTO = "auto"
KEPT_S = 10.0


class Models:
    """The models of the servers behind `upscaler`."""

    def __init__(self, upscaler: AsyncUpscaler) -> None:
        self._upscaler = upscaler
        self._names: list[str] = []
        self._infos: list[ModelInfo] = []
        self._asked = -KEPT_S

    async def names(self) -> list[str]:
        """Those that any server has ready.

        Raises:
            Problem: 503, no server answers.
        """
        if time.monotonic() - self._asked < KEPT_S and self._names:
            return self._names
        servers = await self._upscaler.server_info()
        names = sorted({name for server in servers if server["ready"] for name in server["models"]})
        if not names:
            raise Problem(503, "The server that upscales is not ready. Try again in a moment.")
        infos = []
        try:
            infos = [await self._upscaler.model_info()]
            compressed = await self._upscaler.compressed_model_info()
            infos += [compressed] if compressed is not None else []
        except EdsrError as error:
            raise problem_of(error) from error
        self._names, self._infos, self._asked = names, infos, time.monotonic()
        return names

    async def infos(self) -> list[ModelInfo]:
        """The default model and, where there is one, that for compressed pictures."""
        await self.names()
        return self._infos

    async def checked(self, name: str) -> str:
        """The name, if there is such a model.

        Raises:
            Problem: 404, there is none; 503, no server answers.
        """
        names = await self.names()
        if name != AUTO and name not in names:
            raise Problem(
                404, f"There is no model {name[:60]!r}. There are: {', '.join(names)}, and auto.", option="model"
            )
        return name

    def weights(self, name: str) -> str:
        """What tells one set of weights from another, for the models that `name` may choose."""
        infos = [info for info in self._infos if name in (AUTO, info.name)]
        return "; ".join(f"{info.name} {info.source_sha256 or info.source} {info.precision}" for info in infos) or name
