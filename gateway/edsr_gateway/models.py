"""Which models the Tritons serve, and what of them a gateway must know; asked again from time to time."""

from __future__ import annotations

import asyncio
import time

from edsr_client import AsyncUpscaler, EdsrError, ModelContractError, ModelInfo

from .errors import Problem

AUTO = "auto"
KEPT_S = 10.0


class Models:
    """The models of the servers at `urls`; `token` opens those that ask for one."""

    def __init__(self, urls: tuple[str, ...], token: str | None) -> None:
        self._urls, self._token = list(urls), token
        self._infos: list[ModelInfo] = []
        self._chosen: list[str] = []
        self._asked = 0.0
        self._asking = asyncio.Lock()

    async def infos(self) -> list[ModelInfo]:
        """The models of EDSR that any server has ready.

        Raises:
            Problem: 503, no server answers.
        """
        async with self._asking:
            if not self._infos or time.monotonic() - self._asked >= KEPT_S:
                self._infos = []
                try:
                    self._infos = await self._found()
                except EdsrError:
                    raise Problem(503, "The server that upscales is not ready. Try again in a moment.") from None
                self._asked = time.monotonic()
        return self._infos

    async def _found(self) -> list[ModelInfo]:
        """Asked anew: a server that was started again may have other weights under the old names."""
        async with AsyncUpscaler(self._urls, model=AUTO, token=self._token) as upscaler:
            servers = await upscaler.server_info()
            names = sorted({name for server in servers if server["ready"] for name in server["models"]})
            chosen = [await upscaler.model_info(), await upscaler.compressed_model_info()]
        known = {info.name: info for info in chosen if info is not None}
        self._chosen = list(known)
        for name in names:
            if name not in known:
                async with AsyncUpscaler(self._urls, model=name, token=self._token) as upscaler:
                    try:
                        known[name] = await upscaler.model_info()
                    except ModelContractError:
                        continue  # not one of ours
        return list(known.values())

    async def checked(self, name: str) -> str:
        """The name, if there is such a model.

        Raises:
            Problem: 404, there is none; 503, no server answers.
        """
        names = [info.name for info in await self.infos()]
        if name != AUTO and name not in names:
            raise Problem(
                404, f"There is no model {name[:60]!r}. There are: {', '.join(names)}, and auto.", option="model"
            )
        return name

    def weights(self, name: str) -> str:
        """What tells one set of weights from another, for the models that `name` may choose."""
        names = self._chosen if name == AUTO else [name]
        infos = [info for info in self._infos if info.name in names]
        told = (f"{info.name} {info.source_sha256 or info.source} {info.inference_precision}" for info in infos)
        return "; ".join(told) or name

    def scale(self, name: str) -> int:
        """By how much a picture becomes larger, at most."""
        names = self._chosen if name == AUTO else [name]
        return max((info.scale for info in self._infos if info.name in names), default=3)
