"""Which of a machine's GPUs are used: chosen by UUID and told to CUDA before it starts.

NVML lists GPUs by their place on the PCI bus, CUDA the fastest first, and an index means another card in each. So an
index is only ever one of our list (`make gpus`), and CUDA gets UUIDs, of MIG slices too.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence

from ..errors import InstallationError
from .devices import Device, devices

VISIBLE, ORDER, BY_PCI = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "PCI_BUS_ID"


def here(wanted: str = "") -> tuple[Device, ...]:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES leaves, and of these the `wanted`.

    Raises:
        InstallationError: nvidia-ml-py is missing, or there is no such GPU; the message lists those that there are.
    """
    return choose(visible(devices(), os.environ), wanted)


def choose(found: Sequence[Device], wanted: str) -> tuple[Device, ...]:
    """The GPUs that `wanted` names: indices of this list, UUIDs or their beginnings, with commas; all if it is empty.

    Raises:
        InstallationError: there is no such GPU, or a name is the beginning of several UUIDs.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        return tuple(found)
    return tuple(dict.fromkeys(_one(found, name) for name in names))


def _one(found: Sequence[Device], name: str) -> Device:
    fitting = [device for device in found if name == str(device.index)] or _by_uuid(found, name)
    if len(fitting) == 1:
        return fitting[0]
    there = "\n".join(f"  {device_line(device)}" for device in found) or "  none"
    problem = f"several GPUs of this machine begin with {name!r}" if fitting else f"this machine has no GPU {name!r}"
    raise InstallationError(f"DEVICE={name}: {problem}. DEVICE= takes an index or a UUID of these:\n{there}")


def _by_uuid(found: Sequence[Device], name: str) -> list[Device]:
    """CUDA takes the beginning of a UUID, too; of "GPU-" alone all would begin so."""
    return [device for device in found if device.uuid.lower().startswith(name.lower()) and len(name) > len("GPU-")]


def device_line(device: Device) -> str:
    """ "0: NVIDIA L4, 23,034 MiB, GPU-5c8f..."."""
    return f"{device.index}: {device.name}, {device.vram_mib:,} MiB, {device.uuid or 'no UUID'}"


def visible(found: Sequence[Device], environment: Mapping[str, str]) -> tuple[Device, ...]:
    """Those that CUDA_VISIBLE_DEVICES leaves, in its order. CUDA ends the list at the first entry it does not know.

    Raises:
        InstallationError: it has indices, and the GPUs differ, so that only CUDA knows which they are.
    """
    if VISIBLE not in environment:
        return tuple(found)
    names = environment[VISIBLE]
    differ = len({(device.name, device.vram_mib) for device in found}) > 1
    if differ and environment.get(ORDER) != BY_PCI and any(part.strip().isdecimal() for part in names.split(",")):
        raise InstallationError(
            f"{VISIBLE}={names} counts in CUDA's own order, the fastest GPU first, and this machine's GPUs differ. "
            "Unset it and take DEVICE= (`make gpus` lists them), or name UUIDs in it."
        )
    left: list[Device] = []
    for name in map(str.strip, names.split(",")):
        fitting = [device for device in found if name == str(device.index)] or _by_uuid(found, name)
        if len(fitting) != 1:
            break
        left.append(fitting[0])
    return tuple(left)


def only(chosen: Sequence[Device]) -> dict[str, str]:
    """The environment in which CUDA finds these GPUs and no others, in this order."""
    if not chosen or not all(device.uuid for device in chosen):
        return {}
    return {ORDER: BY_PCI, VISIBLE: ",".join(device.uuid for device in chosen)}


def use(chosen: Sequence[Device]) -> None:
    """Let this process find these GPUs and no others: CUDA's device 0 is the first. To be called before CUDA starts."""
    os.environ.update(only(chosen))


def docker_gpus(chosen: Sequence[Device]) -> str:
    """What `docker run --gpus` takes for these: its own quotes are part of it where there are several."""
    if not chosen or not all(device.uuid for device in chosen):
        return "all"
    names = f"device={','.join(device.uuid for device in chosen)}"
    return f'"{names}"' if len(chosen) > 1 else names


def compute_capability_of_first() -> str:
    """Of what CUDA calls device 0 in this process, "8.6"; "" where there is no driver or no GPU. It starts CUDA."""
    major, minor = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    device, value, found = ctypes.c_int(), ctypes.c_int(), []
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return ""
    for attribute in (major, minor):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return ""
        found.append(str(value.value))
    return ".".join(found)
