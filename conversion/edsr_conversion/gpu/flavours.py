"""The two TensorRTs: which builds for which card, which of them is here, and the command line for elsewhere."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from edsr_serving.gpu.devices import Device
from edsr_serving.variants import INT8, RTX, TENSORRT, Variant

from ..errors import CannotBuildHereError, CardError
from ..precisions import FP16
from .cards import Card

__all__ = [
    "AUTO",
    "FLAVOURS",
    "MODULES",
    "RTX",
    "RTX_COMPUTE_CAPABILITIES",
    "RTX_WITHOUT_INT8",
    "TENSORRT",
    "TENSORRT_OF_RELEASE",
    "Toolbox",
    "check_release",
    "check_rtx",
    "choose",
    "elsewhere",
    "is_card",
    "load",
    "rtx_warning",
    "supports_rtx",
    "version",
]

AUTO = "auto"
FLAVOURS = (AUTO, TENSORRT, RTX)
MODULES = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx"}
# Members of tensorrt_rtx.ComputeCapability (1.7); a test compares. 8.0 is there, but not in its support matrix.
RTX_COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
# Where its int8 is only simulated: every convolution stays float16 with more kernels around it (layer log of 1.7.1).
RTX_WITHOUT_INT8 = ("7.5",)
# TensorRT in the containers of nvcr.io/nvidia: an engine loads only in the version that built it.
# Source: triton-inference-server/server issue 8969 for 26.07.
TENSORRT_OF_RELEASE = {"26.07": "11.1.0.106"}


@dataclass(frozen=True)
class Toolbox:
    """What this machine has for building engines: versions of the two TensorRTs, and its GPUs."""

    tensorrt: str | None
    rtx: str | None
    devices: tuple[Device, ...]


def is_card(device: Device, card: Card) -> bool:
    """Whether a GPU is the card named: by the driver's name, compute capability, and no clearly smaller memory."""
    same = device.name in card.nvml_names and device.compute_capability == card.compute_capability
    return same and device.has_memory_of(card.vram_mib)


def load(flavour: str) -> ModuleType | None:
    """The Python module of a flavour, or None if it is not installed (a package of type stubs does not count)."""
    try:
        module = importlib.import_module(MODULES[flavour])
    except (ImportError, OSError, RuntimeError):  # the package can be there without its libraries
        return None
    return module if hasattr(module, "Builder") else None


def version(flavour: str) -> str | None:
    """Version of an installed flavour, "11.1.0.106"."""
    module = load(flavour)
    return None if module is None else str(module.__version__)


def supports_rtx(card: Card, precision: str = FP16) -> bool:
    """Whether TensorRT for RTX can build for the card in a precision, and computes in it."""
    simulated = precision == INT8 and card.compute_capability in RTX_WITHOUT_INT8
    return card.compute_capability in RTX_COMPUTE_CAPABILITIES and not simulated


def rtx_warning(card: Card, precision: str) -> str:
    """What somebody who builds for TensorRT for RTX should know first; "" if nothing."""
    if precision != INT8 or not supports_rtx(card, precision):
        return ""
    return (
        f"8 bits are no gain with TensorRT for RTX on {card.name}: NVIDIA lists int8 there for weights only, and its "
        "builder has every convolution write float32, which another kernel reads and rounds. fp16 moves half as many "
        "bytes. Nobody has measured it on a card: build both, and compare them with `make verify`."
    )


def choose(requested: str, card: Card, toolbox: Toolbox, precision: str = FP16) -> str:
    """The flavour to build with.

    Raises:
        CannotBuildHereError: not here; the message has the command and where to run it.
        CardError: TensorRT was asked for, but the card in this machine is not the one named.
    """
    if requested == RTX:
        _check_rtx(card, toolbox, precision)
        return RTX
    if requested == TENSORRT:
        _check_tensorrt(card, toolbox, precision)
        return TENSORRT
    if toolbox.tensorrt and any(is_card(device, card) for device in toolbox.devices):
        return TENSORRT
    if supports_rtx(card, precision) and toolbox.rtx:
        return RTX
    if card.compute_capability in RTX_COMPUTE_CAPABILITIES:
        _check_rtx(card, toolbox, precision)
    raise CannotBuildHereError(
        f"An engine for {card.name} (compute capability {card.compute_capability}) cannot be built here: "
        f"TensorRT for RTX knows only {', '.join(RTX_COMPUTE_CAPABILITIES)}, and TensorRT builds on the card itself.\n"
        + elsewhere(card, precision),
        f"TensorRT for RTX does not know {card.compute_capability}",
    )


def elsewhere(card: Card, precision: str = FP16) -> str:
    """Where and how TensorRT builds the engine for a card: indented lines."""
    options = Variant(card.key, precision).make_options
    return (
        f"  On a machine with that card, Docker and NVIDIA's container toolkit: make engines-container {options}\n"
        f"  or, where TensorRT for Python is installed beside the card:        "
        f"make engines {options} FLAVOUR={TENSORRT}"
    )


def check_rtx(card: Card, precision: str = FP16) -> None:
    """Raise CannotBuildHereError unless TensorRT for RTX can build for the card in a precision; with what does."""
    if not supports_rtx(card):
        raise CannotBuildHereError(
            f"TensorRT for RTX cannot build for {card.name}: it knows compute capability "
            f"{', '.join(RTX_COMPUTE_CAPABILITIES)}, not {card.compute_capability}.\n" + elsewhere(card, precision),
            f"TensorRT for RTX does not know {card.compute_capability}",
        )
    if not supports_rtx(card, precision):
        raise CannotBuildHereError(
            f"TensorRT for RTX does not compute in 8 bits on {card.name} (compute capability "
            f"{card.compute_capability}): its builder keeps every convolution in float16, and adds kernels that only "
            "simulate the rounding, which is slower than fp16. Leave PRECISION=int8 out, or build with TensorRT.\n"
            + elsewhere(card, precision),
            f"no 8 bits with TensorRT for RTX on {card.compute_capability}",
        )


def _check_rtx(card: Card, toolbox: Toolbox, precision: str) -> None:
    check_rtx(card, precision)
    if not toolbox.rtx:
        raise CannotBuildHereError(
            "TensorRT for RTX is not installed in this environment. Run `make setup`.",
            "TensorRT for RTX is not installed",
        )


def _check_tensorrt(card: Card, toolbox: Toolbox, precision: str) -> None:
    if not toolbox.devices:
        raise CannotBuildHereError(
            "TensorRT builds an engine on the card itself, and this machine has no NVIDIA GPU.\n"
            + elsewhere(card, precision),
            "TensorRT needs the card itself",
        )
    if not any(is_card(device, card) for device in toolbox.devices):
        here = ", ".join(f"{d.name} ({d.compute_capability}, {d.vram_mib:,} MiB)" for d in toolbox.devices)
        raise CardError(
            f"This machine has {here}, not {card.name} ({card.compute_capability}, {card.vram_mib:,} MiB): an engine "
            f"is built on the card it is for. Run `make engines GPU=auto FLAVOUR={TENSORRT}` for the card that is here."
        )
    if not toolbox.tensorrt:
        raise CannotBuildHereError(
            "TensorRT for Python is not installed in this environment; NVIDIA's container has it.\n"
            + elsewhere(card, precision),
            "TensorRT is not installed",
        )


def check_release(engine_version: str, release: str) -> str:
    """Why an engine of this TensorRT version will not load in the container of a release, "26.07"; "" if it will."""
    expected = TENSORRT_OF_RELEASE.get(release)
    if expected is None or expected == engine_version:
        return ""
    return f"built with TensorRT {engine_version}, but the container {release} has {expected}"
