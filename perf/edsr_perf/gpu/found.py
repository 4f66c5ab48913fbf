"""Which GPU is in this machine: as the driver tells, or, where its Python package is missing, PyTorch."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from ..errors import NoGpuError

if TYPE_CHECKING:
    from edsr_serving.gpu.devices import Device

NONE = (
    "This machine has no NVIDIA GPU, or no driver: there is nothing to measure. "
    "`python -m edsr_perf roofline --gpu t4` has the limits of a card's datasheet."
)


def gpus(wanted: str = "") -> tuple[Device, ...]:
    """The GPUs of this machine, or those `wanted` by index or UUID; one at least.

    Raises:
        NoGpuError: there is none, or not that one.
    """
    from edsr_serving.errors import InstallationError
    from edsr_serving.gpu.devices import devices
    from edsr_serving.gpu.selection import choose, visible

    try:
        found = visible(devices(), os.environ)
    except InstallationError:
        found = _by_torch()
    if not found:
        raise NoGpuError(NONE)
    try:
        return choose(found, wanted)
    except InstallationError as error:
        raise NoGpuError(str(error)) from None


def _by_torch() -> tuple[Device, ...]:
    if not importlib.util.find_spec("torch"):
        return ()
    import torch
    from edsr_serving.gpu.devices import Device

    if not torch.cuda.is_available():
        return ()
    facts = torch.cuda.get_device_properties(0)
    return (Device(0, facts.name, f"{facts.major}.{facts.minor}", facts.total_memory // 2**20),)
