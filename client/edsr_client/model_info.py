"""What a server says of a model: parsed from its Triton configuration, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ModelContractError
from .texts import LONGEST_NAME, quoted
from .tiling import Shape, TileLimits

INPUT, OUTPUT = "image", "upscaled"
# Asked for in this order when the caller names no model.
PREFERRED_MODELS = ("edsr_x3", "edsr_baseline_x3")
# Instead of a model's name: by the picture's file, see model_choice.py.
AUTO = "auto"
# What a model says of its `inputs` that was trained for compressed pictures, and the name of this project's.
COMPRESSED, PHOTO_MODEL = "compressed", "edsr_photo_x3"
# Triton's own limit on the body of an HTTP request is 64 MiB (--http-max-input-size); a little is for the header.
MAX_BODY_BYTES = 64 * 2**20 - 64 * 2**10
MAX_TILE_PX = MAX_BODY_BYTES // 3
# Slower than any machine this is meant for: one old core manages about this in float32.
SLOWEST_FLOP_PER_S = 10e9
PATIENCE_S, LONGEST_S = 60.0, 3600.0
# What is beyond these is no EDSR but a mistake, or meant to take all memory of whoever believes it.
MAX_SCALE, MAX_BLOCKS, MAX_FILTERS, MAX_HALO_PX, MAX_INSTANCES, MAX_SHAPES = 16, 1024, 8192, 4096, 1024, 64


@dataclass(frozen=True)
class ModelInfo:
    """A served model. None and () stand for what the server does not say.

    Attributes:
        name: as Triton knows it.
        scale: factor of the upscaling.
        blocks, filters: size of the network.
        halo_px: radius of the receptive field in LR pixels, the exact halo of a tile.
        default_halo_px: smallest halo that was measured to change no pixel by more than one level.
        max_lr_pixels: largest request, N x H x W in LR pixels.
        max_shapes: a request must fit one of these (height, width).
        tile: the (height, width) of tiles that suit the server.
        lr_pixels_per_second: of one instance, as the server has measured it at its start.
        instances: requests that it works on at a time; there may be one more process, that they take turns.
        source, source_sha256: the graph the weights come from.
        precision: of the model file.
        inference_precision: what the server computes in; that of the file if it does not say.
        backend: Triton backend.
        runtime: inference runtime and version.
        inputs: what it was trained for, "clean" or "compressed" pictures.
    """

    name: str
    scale: int
    blocks: int | None = None
    filters: int | None = None
    halo_px: int | None = None
    default_halo_px: int | None = None
    max_lr_pixels: int | None = None
    max_shapes: tuple[Shape, ...] = ()
    tile: Shape | None = None
    lr_pixels_per_second: int | None = None
    instances: int = 1
    source: str = ""
    source_sha256: str = ""
    precision: str = ""
    inference_precision: str = ""
    backend: str = ""
    runtime: str = ""
    inputs: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelInfo:
        """Read a model configuration as Triton's HTTP and gRPC endpoints return it in JSON.

        Raises:
            ModelContractError: the model is not one of this project's; the message says what differs.
        """
        name = quoted(str(config.get("name", "")), LONGEST_NAME)
        try:
            parameters = config.get("parameters") or {}
            values = {key: str(entry.get("string_value", "")) for key, entry in parameters.items()}
            differences = _differences(config, values)
            if differences:
                raise ModelContractError(
                    f"The model {name!r} is not an EDSR of this project: {quoted('; '.join(differences))}. "
                    "Name another with model=... (`--model`)."
                )
            return cls._of(name, config, values)
        except (KeyError, ValueError, AttributeError, TypeError, ArithmeticError) as error:
            raise ModelContractError(
                f"The configuration of the model {name!r} has parameters that make no sense ({quoted(str(error))}). "
                "Render it again (`make configs`), or name another model with model=... (`--model`)."
            ) from None

    @classmethod
    def _of(cls, name: str, config: Mapping[str, Any], values: Mapping[str, str]) -> ModelInfo:
        def words(key: str, default: str = "") -> str:
            return quoted(values.get(key, default), LONGEST_NAME)

        groups = config.get("instance_group") or []
        return cls(
            name=name,
            scale=_whole("scale", values["scale"], 1, MAX_SCALE),
            blocks=_number(values, "blocks", 0, MAX_BLOCKS),
            filters=_number(values, "filters", 0, MAX_FILTERS),
            halo_px=_number(values, "halo_px", 0, MAX_HALO_PX),
            default_halo_px=_number(values, "default_halo_px", 0, MAX_HALO_PX),
            max_lr_pixels=_number(values, "max_lr_pixels", 1),
            max_shapes=_shapes(values.get("max_shapes", "")),
            tile=_shape("tile", values["tile"]) if "tile" in values else None,
            lr_pixels_per_second=_number(values, "lr_pixels_per_second", 1),
            instances=_number(values, "concurrency", 1, MAX_INSTANCES)
            or min(MAX_INSTANCES, max(1, sum(int(group.get("count", 1)) for group in groups))),
            source=words("source"),
            source_sha256=words("source_sha256"),
            precision=words("precision"),
            inference_precision=words("inference_precision") or words("precision"),
            backend=quoted(str(config.get("backend", "")), LONGEST_NAME),
            runtime=words("runtime"),
            inputs=words("inputs"),
        )

    @property
    def limits(self) -> TileLimits:
        """What one request may hold: the server's limits and the size of a request's body."""
        return TileLimits(min(self.max_lr_pixels or MAX_TILE_PX, MAX_TILE_PX), self.max_shapes)

    @property
    def best_halo_px(self) -> int | None:
        """The halo to take where the caller names none: the smallest measured one, else the exact one."""
        return self.halo_px if self.default_halo_px is None else self.default_halo_px

    def flop(self, pixels: int) -> float:
        """Floating-point operations for that many LR pixels: 2 x 9 per weight of a 3x3 convolution; 0 if not known."""
        if not self.blocks or not self.filters:
            return 0.0
        f, out = self.filters, 3 * self.scale**2
        return 18.0 * pixels * (f * f * (2 * self.blocks + 1) + (3 + out) * f)

    def timeout_s(self, pixels: int) -> float:
        """How long to wait for a request of that many LR pixels: a minute, and the work at 10 GFLOP/s."""
        return min(LONGEST_S, PATIENCE_S + self.flop(pixels) / SLOWEST_FLOP_PER_S)


def _differences(config: Mapping[str, Any], values: Mapping[str, str]) -> list[str]:
    """What of the wire contract the configuration does not keep."""
    found = []
    for kind, wanted in (("input", INPUT), ("output", OUTPUT)):
        tensors = {str(tensor.get("name")): tensor for tensor in config.get(kind) or []}
        if list(tensors) != [wanted]:
            found.append(f"its {kind} is {', '.join(tensors) or 'not stated'}, not {wanted}")
            continue
        data_type = str(tensors[wanted].get("data_type", "")).removeprefix("TYPE_")
        dims = [int(dim) for dim in tensors[wanted].get("dims") or []]
        if data_type != "UINT8" or dims != [-1, -1, 3]:
            found.append(f"{wanted} is {data_type} {dims}, not UINT8 [-1, -1, 3]")
    if int(config.get("max_batch_size") or 0) < 1:
        found.append("it takes no batch dimension (max_batch_size 0)")
    scale = values.get("scale", "")
    if not (scale.isascii() and scale.isdigit() and len(scale) < 10 and 1 <= int(scale) <= MAX_SCALE):
        stated = f"is {quoted(scale, 20)}" if scale else "is missing"
        found.append(f"its parameter `scale` {stated}, not a number from 1 to {MAX_SCALE}")
    return found


def _number(values: Mapping[str, str], key: str, least: int, most: int = MAX_TILE_PX**2) -> int | None:
    return _whole(key, values[key], least, most) if key in values else None


def _whole(key: str, text: str, least: int, most: int = MAX_TILE_PX) -> int:
    number = int(text)
    if not least <= number <= most:
        raise ValueError(f"{key} is {text}, not {least} to {most}")
    return number


def _shapes(text: str) -> tuple[Shape, ...]:
    shapes = tuple(_shape("max_shapes", one) for one in text.split(",", MAX_SHAPES + 1) if one)
    if len(shapes) > MAX_SHAPES:
        raise ValueError(f"max_shapes has more than {MAX_SHAPES}")
    return shapes


def _shape(key: str, text: str) -> Shape:
    height, _, width = text.strip().partition("x")
    return _whole(key, height, 1), _whole(key, width, 1)
