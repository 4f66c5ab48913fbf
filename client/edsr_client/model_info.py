"""What a server says of a model: parsed from its Triton configuration, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import RequestRefusedError


@dataclass(frozen=True)
class ModelInfo:
    """A served model.

    Attributes:
        name: as Triton knows it.
        scale: factor of the upscaling.
        halo_px: radius of the receptive field in LR pixels; None if the server does not say.
        max_lr_pixels: largest request, N x H x W in LR pixels; None if the server does not say.
        source, source_sha256: the graph the weights come from.
        precision: of the model file.
        inference_precision: what the server computes in; that of the file if it does not say.
        backend: Triton backend.
        runtime: inference runtime and version, empty if the server does not say.
    """

    name: str
    scale: int
    halo_px: int | None
    max_lr_pixels: int | None
    source: str
    source_sha256: str
    precision: str
    inference_precision: str
    backend: str
    runtime: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelInfo:
        """Read a model configuration as Triton's HTTP and gRPC endpoints return it in JSON.

        Raises:
            RequestRefusedError: the model is not one of ours: it names no scale.
        """
        name = str(config.get("name", ""))
        try:
            values = {key: entry.get("string_value", "") for key, entry in config.get("parameters", {}).items()}
            return cls(
                name=name,
                scale=int(values["scale"]),
                halo_px=_optional(values, "halo_px"),
                max_lr_pixels=_optional(values, "max_lr_pixels"),
                source=values.get("source", ""),
                source_sha256=values.get("source_sha256", ""),
                precision=values.get("precision", ""),
                inference_precision=values.get("inference_precision") or values.get("precision", ""),
                backend=str(config.get("backend", "")),
                runtime=values.get("runtime", ""),
            )
        except (KeyError, ValueError, AttributeError):
            raise RequestRefusedError(
                f"The model {name!r} is not an EDSR of this project: its configuration has no usable `scale` "
                "parameter. Name another with model=... (`--model`)."
            ) from None


def _optional(values: Mapping[str, str], key: str) -> int | None:
    return int(values[key]) if key in values else None
