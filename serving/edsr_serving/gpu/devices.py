"""The GPUs of this machine, as the driver tells (NVML): none where there is no driver."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import InstallationError

# Drivers differ by a few hundred MiB in what they report of one card; another card of the same name lacks more.
LEAST_MEMORY = 0.9


@dataclass(frozen=True)
class Device:
    """One GPU of this machine, or one MIG slice. Clocks in MHz, bus width in bits, memory in MiB.

    `index` is its place in the list of `devices`, and neither CUDA's nor, with MIG, NVML's; `uuid` is the same for all.
    """

    index: int
    name: str
    compute_capability: str
    vram_mib: int
    cores: int = 1
    max_sm_mhz: int = 1000
    max_memory_mhz: int = 1000
    bus_bits: int = 128
    pcie_generation: int = 3
    pcie_lanes: int = 16
    driver: str = ""
    uuid: str = ""

    def has_memory_of(self, vram_mib: int) -> bool:
        """Whether what is planned for a card of `vram_mib` has its memory here: some names stand for several cards."""
        return self.vram_mib >= LEAST_MEMORY * vram_mib


def devices() -> tuple[Device, ...]:
    """The GPUs of this machine; where one is cut into MIG slices, its slices.

    Raises:
        InstallationError: nvidia-ml-py is not installed.
    """
    nvml = _nvml()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        found: list[Device] = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            parts = _slices(nvml, handle)
            for part in parts or [handle]:
                found.append(_device(nvml, len(found), handle, part))
        return tuple(found)
    finally:
        nvml.nvmlShutdown()


def used_bytes(uuid: str) -> int:
    """Memory in use on a GPU, or on a MIG slice, by everybody.

    Raises:
        InstallationError: nvidia-ml-py is not installed.
    """
    nvml = _nvml()
    nvml.nvmlInit()
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid)).used)
    finally:
        nvml.nvmlShutdown()


def _nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        raise InstallationError("nvidia-ml-py is not installed in this environment. Run `make setup`.") from None
    return pynvml


def _slices(nvml: Any, handle: Any) -> list[Any]:
    """Handles of a GPU's MIG slices; none if it is whole."""
    try:
        enabled, _ = nvml.nvmlDeviceGetMigMode(handle)
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if enabled else 0
    except nvml.NVMLError:  # a card without MIG
        return []
    found = []
    for index in range(count):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except nvml.NVMLError:  # fewer slices than there could be
            break
    return found


def _device(nvml: Any, index: int, whole: Any, part: Any) -> Device:
    """A device: name and memory of `part`, the rest of the `whole` card it belongs to."""

    def ask(question: Callable[[], int], default: int) -> int:
        try:
            return int(question())
        except nvml.NVMLError:  # not every card answers every question
            return default

    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(whole)
    return Device(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(part)),
        compute_capability=f"{major}.{minor}",
        vram_mib=ask(lambda: nvml.nvmlDeviceGetMemoryInfo(part).total, unified_bytes()) // 2**20,
        cores=ask(lambda: nvml.nvmlDeviceGetNumGpuCores(whole), 1),
        max_sm_mhz=ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(whole, nvml.NVML_CLOCK_SM), 1000),
        max_memory_mhz=ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(whole, nvml.NVML_CLOCK_MEM), 1000),
        bus_bits=ask(lambda: nvml.nvmlDeviceGetMemoryBusWidth(whole), 128),
        pcie_generation=ask(lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(whole), 3),
        pcie_lanes=ask(lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(whole), 16),
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        uuid=_text(nvml.nvmlDeviceGetUUID(part)),
    )


def unified_bytes() -> int:
    """What a GPU has whose memory is the machine's own, of which NVML reports none (GB10)."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
