"""What an EDSR asks of a GPU, by precision and by the TensorRT that runs it: bytes held, bytes moved, FLOP, kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edsr_serving.variants import RTX, TENSORRT

from ..network import receptive_radius_px

MIB = 2**20
# Constant part of a context's activations in the log of TensorRT for RTX's builder.
ACTIVATIONS_CONSTANT = 8_000 * 1024
# The builder pads channels on some architectures (12.0).
CHANNEL_STEP = 8
INT8_BYTES, HALF_BYTES, FLOAT_BYTES = 1, 2, 4
# Kernels that turn uint8 pixels into what convolutions take, and back.
WRAPPING_KERNELS = 3


@dataclass(frozen=True)
class Format:
    """How a precision stores things, in bytes per value.

    Attributes:
        weight_bytes: of an engine's weights. 8-bit ones carry scales, and what stays float16: for 64 filters and more
            at most a tenth (read from the builder, as `NetworkSize.activations`).
        map_bytes: of the feature maps that a context holds.
        moved_bytes: of the feature maps that convolutions read and write; in 8 bits an assumption about TensorRT,
            which nobody measured, and not what TensorRT for RTX does (see `NetworkSize.traffic_per_px`).
        further_maps: feature maps that a context holds beside the four of every precision: in 8 bits some maps exist
            in both formats.
    """

    weight_bytes: float
    map_bytes: int
    moved_bytes: int
    further_maps: int = 0


FORMATS = {"fp32": Format(4, 4, 4), "fp16": Format(2, 2, 2), "int8": Format(1.1, 2, 1, further_maps=1)}


@dataclass(frozen=True)
class NetworkSize:
    """All that planning needs of an EDSR: no weights."""

    blocks: int
    filters: int
    scale: int

    @property
    def out_channels(self) -> int:
        """Channels of the last convolution: three colours of scale x scale pixels."""
        return 3 * self.scale**2

    @property
    def kernel_elements(self) -> int:
        """Weights of the convolutions, biases aside."""
        f = self.filters
        return 9 * (3 * f + (2 * self.blocks + 1) * f * f + f * self.out_channels)

    @property
    def parameters(self) -> int:
        return self.kernel_elements + (2 * self.blocks + 2) * self.filters + self.out_channels

    @property
    def flop_per_px(self) -> int:
        """Multiplications and additions per LR pixel."""
        return 2 * self.kernel_elements

    @property
    def convolutions(self) -> int:
        """Two in each block, one before them, and two after."""
        return 2 * self.blocks + 3

    def kernels(self, precision: str = "fp16", flavour: str = TENSORRT) -> int:
        """Kernels launched for a request: one per convolution, and the wrapping at either end.

        Counted in the layer log of TensorRT for RTX 1.7, which in 8 bits has another one after each convolution of the
        body, and one more for the last.
        """
        further = 2 * self.blocks + 2 if _rounds_apart(precision, flavour) else 0
        return self.convolutions + WRAPPING_KERNELS + further

    @property
    def halo_px(self) -> int:
        return receptive_radius_px(self.blocks)

    def weights_bytes(self, precision: str) -> int:
        """Bytes of an engine's weights."""
        return math.ceil(self.parameters * FORMATS[precision].weight_bytes)

    def traffic_per_px(self, precision: str, flavour: str = TENSORRT) -> int:
        """Bytes per LR pixel if every kernel reads its input from, and writes its output to, device memory.

        The layer log of TensorRT for RTX 1.7 lists them: for 64 filters within 2% of this, in fp32, fp16 and int8.
        Its 8 bits are no gain: a convolution writes float32, which a kernel of its own reads and rounds to 8 bits.
        """
        body, residuals = 2 * self.blocks + 1, self.blocks + 1
        if _rounds_apart(precision, flavour):
            in_body = body * (INT8_BYTES + FLOAT_BYTES + FLOAT_BYTES + INT8_BYTES) + residuals * INT8_BYTES
            at_its_ends = 3 * HALF_BYTES + 2 * INT8_BYTES  # the head writes, and is read; the tail reads
            return (in_body + at_its_ends) * self.filters + self.out_channels * (HALF_BYTES + 8)
        element = FORMATS[precision].moved_bytes
        maps = 2 * body + 2 + residuals  # in and out; head and tail; the residuals read again
        return maps * self.filters * element + self.out_channels * (element + 8)

    def io_per_px(self) -> int:
        """Bytes of the uint8 input and output per LR pixel."""
        return 3 + self.out_channels

    def activations(self, px: int, precision: str) -> int:
        """Bytes one execution context needs for activations: four live maps, the last two at least as wide as the tail.

        Read from the builder of TensorRT for RTX 1.7 for 7.5, 8.6 and 12.0, 16 to 256 filters, scale 2 to 4, fp32 and
        fp16 and 64x64 to 2880x2880: equal, or less where channels need no padding. int8 needs up to one map more.
        """
        element, further = FORMATS[precision].map_bytes, FORMATS[precision].further_maps
        wide = math.ceil(self.filters / CHANNEL_STEP) * CHANNEL_STEP * element
        tail = math.ceil(self.out_channels / CHANNEL_STEP) * CHANNEL_STEP
        return ACTIVATIONS_CONSTANT + px * ((2 + further) * wide + max(wide, tail * element) + max(wide, tail * 4))


def _rounds_apart(precision: str, flavour: str) -> bool:
    """Whether rounding to 8 bits is a kernel of its own after every convolution."""
    return precision == "int8" and flavour == RTX
