"""What this machine's processor offers: usable cores and the fastest native precision."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .variants import AUTO, CPU_PRECISIONS, cpu_precision

PRECISIONS = (AUTO, *CPU_PRECISIONS)
# Processors with dot products of bytes: without them 8 bits are no faster than float32.
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
# What an 8-bit model may lose to be chosen unasked: dB of PSNR-Y on photographs against their originals, and, against
# float32, what is at least left of text and flat colours. See docs/performance.md.
MAX_DROP_DB, MIN_GRAPHICS_PSNR_DB = 0.05, 40.0
CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CPUINFO = Path("/proc/cpuinfo")


def usable_cpus() -> int:
    """Cores this process may use: its affinity, and no more than its control group's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        return max(1, min(cores, quota_cpus(CGROUP_CPU_MAX.read_text(encoding="ascii"))))
    except (OSError, ValueError):
        return cores


def quota_cpus(cpu_max: str) -> int:
    """Whole cores in the text of cgroup v2's cpu.max, "quota period" in microseconds or "max period".

    Raises:
        ValueError: "max", that is no quota, or another text.
    """
    quota, period = cpu_max.split()
    return math.ceil(int(quota) / int(period))


def processor_has_int8() -> bool:
    """Whether this machine's processor is faster in 8 bits; False where that cannot be read."""
    try:
        return has_int8(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False


def has_int8(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo names instructions that make 8 bits faster."""
    lines = (line for line in cpuinfo.splitlines() if line.startswith("flags"))
    return not INT8_FLAGS.isdisjoint(next(lines, "").split())


def inference_precision(
    requested: str, capabilities: Iterable[str], int8: bool = False, quality: Mapping[str, float] | None = None
) -> str:
    """What a model is served in: "int8", "bf16" or "f32".

    Args:
        requested: one of PRECISIONS, or fp32 for f32; "auto" is the fastest that is good enough for every picture.
        capabilities: OpenVINO's OPTIMIZATION_CAPABILITIES of the CPU, which name BF16 only where it is native.
        int8: whether the processor is faster in 8 bits.
        quality: what the sidecar of the model's 8-bit file says of it; None if there is no such file.

    Raises:
        ValueError: another precision was requested.
    """
    requested = cpu_precision(requested)
    if requested not in PRECISIONS:
        raise ValueError(f"precision {requested!r} is none of {', '.join(PRECISIONS)}")
    if requested != "auto":
        return requested
    if int8 and quality is not None and good_enough(quality):
        return "int8"
    return "bf16" if "BF16" in capabilities else "f32"


def good_enough(quality: Mapping[str, float]) -> bool:
    """Whether 8 bits may be chosen unasked: for photographs and for graphics."""
    return (
        quality.get("drop_db", math.inf) <= MAX_DROP_DB
        and quality.get("graphics_psnr_db", -math.inf) >= MIN_GRAPHICS_PSNR_DB
    )
