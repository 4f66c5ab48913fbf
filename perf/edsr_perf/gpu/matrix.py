"""The matrix-product peak of the GPU in this machine, by PyTorch or CuPy, whichever is there."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

SIDE, RUNS, WARM_UPS = 8192, 10, 3
NO_GPU = "not measured: no NVIDIA GPU"
NO_LIBRARY = "not measured: neither PyTorch nor CuPy is installed"


def peaks_here(side: int = SIDE) -> dict[str, Any]:
    """{"name", "by", "flop_s": {precision: FLOP/s}} of the first GPU, or {"reason"} why there is none.

    Random numbers, not zeros: a GPU that multiplies zeros draws less power and clocks higher.
    """
    if importlib.util.find_spec("torch"):
        return _by_torch(side)
    if importlib.util.find_spec("cupy"):
        return _by_cupy(side)
    return {"reason": NO_LIBRARY}


def product_flop(side: int) -> float:
    """Operations of a product of two square matrices."""
    return 2.0 * side**3


def _by_torch(side: int) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"reason": NO_GPU}
    torch.backends.cuda.matmul.allow_tf32 = True
    types = {"fp16": torch.float16, "tf32": torch.float32}
    if torch.cuda.is_bf16_supported():
        types["bf16"] = torch.bfloat16
    found = {}
    for name, kind in types.items():
        a, b = (torch.randn(side, side, device="cuda", dtype=kind) for _ in range(2))
        out = torch.empty_like(a)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        for _ in range(WARM_UPS):
            torch.mm(a, b, out=out)
        start.record()
        for _ in range(RUNS):
            torch.mm(a, b, out=out)
        end.record()
        torch.cuda.synchronize()
        found[name] = RUNS * product_flop(side) / (start.elapsed_time(end) / 1e3)
        del a, b, out
    torch.cuda.empty_cache()
    return {"name": torch.cuda.get_device_name(0), "by": f"PyTorch {torch.__version__}", "side": side, "flop_s": found}


def _by_cupy(side: int) -> dict[str, Any]:
    cupy: Any = importlib.import_module("cupy")
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return {"reason": NO_GPU}
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except cupy.cuda.runtime.CUDARuntimeError:
        return {"reason": NO_GPU}
    found = {}
    for precision in ("float16", "float32"):
        a, b = (cupy.random.standard_normal((side, side), dtype="float32").astype(precision) for _ in range(2))
        for _ in range(WARM_UPS):
            a @ b
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(RUNS):
            a @ b
        end.record()
        end.synchronize()
        key = precision.replace("float", "fp")
        found[key] = RUNS * product_flop(side) / (cupy.cuda.get_elapsed_time(start, end) / 1e3)
    return {"name": name, "by": f"CuPy {cupy.__version__}", "side": side, "flop_s": found}
