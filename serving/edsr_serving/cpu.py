"""What this machine's processor offers: usable cores and the fastest native precision."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

PRECISIONS = ("auto", "bf16", "f32")
CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


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


def inference_precision(requested: str, capabilities: Iterable[str]) -> str:
    """OpenVINO's INFERENCE_PRECISION_HINT: "bf16" or "f32".

    Args:
        requested: "auto", "bf16" or "f32".
        capabilities: OpenVINO's OPTIMIZATION_CAPABILITIES of the CPU, which name BF16 only where it is native.

    Raises:
        ValueError: another precision was requested.
    """
    if requested not in PRECISIONS:
        raise ValueError(f"precision {requested!r} is none of {', '.join(PRECISIONS)}")
    if requested != "auto":
        return requested
    return "bf16" if "BF16" in capabilities else "f32"
