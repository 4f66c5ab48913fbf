"""What an engine's layers are, as TensorRT's builder lists them in its log: in which format every convolution computes.

The log says it of engines that are built with detailed profiling, which changes what is written down, not the speed.
TensorRT for RTX writes one line per layer and profile; of another form nothing is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

# As the log names them.
CONVOLUTION = "correlation"
KERNELS = (CONVOLUTION, "kgen")
BYTES = {"UInt8": 1, "Int8": 1, "FP8": 1, "Half": 2, "BFloat16": 2, "Float": 4}
WORDS = {"Half": "fp16", "Float": "fp32", "Int8": "int8", "BFloat16": "bf16", "FP8": "fp8"}
LAYER = re.compile(
    r"^Name: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: (?P<inputs>.*?)(?:, Constants: .*?)?"
    r", Outputs: (?P<outputs>.*?), TacticName:",
    re.MULTILINE,
)
# "add_resBias24 [profile 3]_myl3_27" is "add_resBias24_27".
OF_A_PROFILE = re.compile(r"(?: \[profile \d+\])?_myl\d+(?=_\d+$)")
TENSOR = re.compile(r"Dimensions: \[(?P<dimensions>[^\]]*)\].*?Datatype: (?P<format>\w+)")


@dataclass(frozen=True)
class Layer:
    """One kernel of an engine.

    Attributes:
        name: in the engine.
        kind: "correlation" for a convolution, "kgen" for what was generated for others.
        computes_in: the format of its first input, "Half".
        bytes_per_px: read and written per pixel of the input picture, weights aside.
    """

    name: str
    kind: str
    computes_in: str
    bytes_per_px: int


def layers(log: str) -> list[Layer]:
    """The layers of an engine in its builder's log, each once: every profile lists them again."""
    found: dict[str, Layer] = {}
    for match in LAYER.finditer(log):
        tensors = [*TENSOR.finditer(match["inputs"]), *TENSOR.finditer(match["outputs"])]
        if match["kind"] in KERNELS and tensors:
            moved = sum(_bytes_per_px(tensor) for tensor in tensors)
            name = OF_A_PROFILE.sub("", match["name"])
            found.setdefault(name, Layer(name, match["kind"], tensors[0]["format"], moved))
    return list(found.values())


def _bytes_per_px(tensor: re.Match[str]) -> int:
    """Of a feature map; a tensor without free dimensions is no part of the picture."""
    sizes = [int(size) for size in tensor["dimensions"].split(",") if size.strip()]
    if -1 not in sizes:
        return 0
    return prod(size for size in sizes if size != -1) * BYTES.get(tensor["format"], 0)


def convolutions(log: str) -> dict[str, int]:
    """How many convolutions compute in which format, {"Int8": 33, "Half": 2}; empty if the log does not say."""
    counted = Counter(layer.computes_in for layer in layers(log) if layer.kind == CONVOLUTION)
    return dict(counted.most_common())


def convolutions_text(counted: Mapping[str, int]) -> str:
    """ "35 of 35 convolutions in fp16", "33 of 35 convolutions in int8, 2 in fp16"; "" if nothing is known."""
    if not counted:
        return ""
    (first, most), *others = ((WORDS.get(name, name), number) for name, number in counted.items())
    rest = "".join(f", {number} in {name}" for name, number in others)
    return f"{most} of {sum(counted.values())} convolutions in {first}{rest}"


def log_text(messages: Iterable[tuple[str, str]]) -> str:
    """The builder's (severity, text) messages, one after the other."""
    return "\n".join(text for _, text in messages)
