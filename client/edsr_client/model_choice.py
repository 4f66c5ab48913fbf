"""`model="auto"`: by a picture's file, the usual model or the one for compressed photographs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .errors import ModelContractError, ModelNotFoundError, ServerError
from .model_info import AUTO, COMPRESSED, PHOTO_MODEL, ModelInfo
from .servers import Servers
from .transports import Transport

# JPEG quality from which on the model for clean pictures is the better one, measured on ten photographs:
# models/training/crossing.json.
CROSSING_QUALITY = 94
# A server of somebody else may have any number of models.
MOST_ASKED = 32
Offer = tuple[str, str]  # name and sha256 of the weights; ("", "") for none
NOTHING: Offer = ("", "")


class ModelChoice:
    """The two models of the servers, and which of them suits a picture.

    Args:
        usual: the servers with the model of callers that name none.
        of_model: makes the same servers with another model.
    """

    def __init__(self, usual: Servers, of_model: Callable[[str], Servers]) -> None:
        self._usual, self._of_model = usual, of_model
        self._asking = asyncio.Lock()
        self._is_known = False
        self.second: Servers | None = None

    async def suited(self, quality: int | None) -> tuple[Servers, str]:
        """The servers with the model for a picture, and why that one.

        Args:
            quality: of its JPEG file, 1 to 100; None for what is no JPEG file.

        Raises:
            ModelContractError: the servers differ in their model for compressed pictures.
            ServerError: none can be used.
        """
        second = await self.compressed()
        if quality is None:
            return self._usual, "the file is no JPEG"
        if quality >= CROSSING_QUALITY:
            return self._usual, f"JPEG of quality {quality}, at least {CROSSING_QUALITY}"
        if second is None:
            return self._usual, f"JPEG of quality {quality}, but no model for compressed pictures is served"
        return second, f"JPEG of quality {quality}, less than {CROSSING_QUALITY}"

    async def compressed(self) -> Servers | None:
        """The servers with the model for compressed pictures, None if they have none. Asked once.

        Raises:
            ModelContractError, ServerError: as `suited`.
        """
        async with self._asking:
            if not self._is_known:
                name = await find_compressed(self._usual)
                self.second = self._of_model(name) if name else None
                self._is_known = True
        return self.second


def model_notes(model: ModelInfo, reason: str) -> list[str]:
    """What a result notes on the choice of its model; nothing without a reason."""
    return [f"{model.name} was taken: {reason}"] if reason else []


async def find_compressed(servers: Servers) -> str:
    """Name of the model for compressed pictures, of the scale of the usual one; "" if there is none.

    Raises:
        ModelContractError: some servers have one that others have not.
        ServerError: none can be used.
    """
    model = await servers.model()
    transports = servers.in_use
    asked = await asyncio.gather(*(_offer(transport, model) for transport in transports))
    offers = {transport.url: offer for transport, offer in zip(transports, asked, strict=True) if offer is not None}
    if len(set(offers.values())) > 1:
        said = "; ".join(
            f"{url}: {f'{name}, weights {digest[:12]}' if name else 'none'}" for url, (name, digest) in offers.items()
        )
        raise ModelContractError(
            f"The servers differ in their model for compressed pictures ({said}). Name servers with the same models, "
            f"or a model instead of {AUTO!r} (`--model`)."
        )
    return next(iter(offers.values()), NOTHING)[0]


async def _offer(transport: Transport, usual: ModelInfo) -> Offer | None:
    """What one server has for compressed pictures; None if it cannot be asked now."""
    try:
        names = [name for name in await transport.model_names() if name != usual.name]
        names.sort(key=lambda name: (name != PHOTO_MODEL, name))
        for name in names[:MOST_ASKED]:
            info = await _info(transport, name)
            if info is not None and (info.inputs, info.scale) == (COMPRESSED, usual.scale):
                return info.name, info.source_sha256
    except ServerError:
        return None
    return NOTHING


async def _info(transport: Transport, name: str) -> ModelInfo | None:
    """None for a model that is none of this project's, or gone meanwhile."""
    try:
        return ModelInfo.from_config(await transport.model_config(name))
    except (ModelContractError, ModelNotFoundError):
        return None
