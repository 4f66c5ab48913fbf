"""Precisions, and what is made for a card in one of them: the one place that knows, writes and reads their names."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
FP32, FP16, BF16, INT8 = "fp32", "fp16", "bf16", "int8"
# Every precision, and whether a processor and an engine compute in it. To add one, add it here.
ON_CPU, IN_ENGINES = "cpu", "engines"
PLACES = {INT8: (ON_CPU, IN_ENGINES), BF16: (ON_CPU,), FP16: (IN_ENGINES,), FP32: (ON_CPU, IN_ENGINES)}
PRECISIONS = tuple(PLACES)
ENGINE_PRECISIONS = tuple(name for name, places in PLACES.items() if IN_ENGINES in places)
DEFAULT_PRECISION = FP16
SPELLINGS = {"f32": FP32, "f16": FP16}
# What servers on a CPU call it in their parameters: OpenVINO's word, which clients compare with.
F32 = "f32"
CPU_PRECISIONS = tuple(F32 if name == FP32 else name for name, places in PLACES.items() if ON_CPU in places)

TENSORRT, RTX = "tensorrt", "tensorrt-rtx"
RTX_ENDING = "-rtx"


def spelled(precision: str) -> str:
    """A precision as it is written here, whichever way it was: "F32" is fp32. What is none comes back as it is."""
    name = precision.strip().lower()
    name = SPELLINGS.get(name, name)
    return name if name in (*PRECISIONS, AUTO) else precision


def engine_precision(precision: str) -> str:
    """The same for engines, whose "auto" is fp16."""
    name = spelled(precision)
    return DEFAULT_PRECISION if name == AUTO else name


def cpu_precision(precision: str) -> str:
    """The same in the words of a server on a CPU: "fp32" is f32."""
    name = spelled(precision)
    return F32 if name == FP32 else name


@dataclass(frozen=True)
class Variant:
    """An engine's kind, and that of its configuration: for which card, in which precision, for which TensorRT.

    Attributes:
        card: key of the card, "a10g"; never one that ends like a precision or a flavour.
        precision: one of ENGINE_PRECISIONS, in any spelling; "auto" is fp16.
        flavour: TENSORRT or RTX.

    Raises:
        ValueError: another precision or flavour.
    """

    card: str
    precision: str = DEFAULT_PRECISION
    flavour: str = TENSORRT

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", engine_precision(self.precision))
        if self.precision not in ENGINE_PRECISIONS:
            raise ValueError(f"an engine's precision is one of {', '.join(ENGINE_PRECISIONS)}, not {self.precision}")
        if self.flavour not in (TENSORRT, RTX):
            raise ValueError(f"a flavour is {TENSORRT} or {RTX}, not {self.flavour}")

    @property
    def name(self) -> str:
        """Of the plan, its sidecar and its configuration: "a10g", "a10g-rtx", "a10g-fp32-rtx"."""
        precision = "" if self.precision == DEFAULT_PRECISION else f"-{self.precision}"
        return self.card + precision + (RTX_ENDING if self.flavour == RTX else "")

    @property
    def make_options(self) -> str:
        """The card and the precision as `make` takes them: "GPU=a10g", "GPU=a10g PRECISION=fp32"."""
        return f"GPU={self.card}" + ("" if self.precision == DEFAULT_PRECISION else f" PRECISION={self.precision}")

    @classmethod
    def parse(cls, name: str) -> Variant:
        """The variant that `name` is the name of; every text is that of one."""
        flavour = RTX if name.endswith(RTX_ENDING) else TENSORRT
        rest = name.removesuffix(RTX_ENDING)
        for precision in ENGINE_PRECISIONS:
            if rest.endswith(f"-{precision}"):
                return cls(rest.removesuffix(f"-{precision}"), precision, flavour)
        return cls(rest, DEFAULT_PRECISION, flavour)
