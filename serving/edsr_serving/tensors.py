"""numpy arrays in and out of Triton's Python stub without copies, by DLPack.

Not by the stub's own as_numpy(), which fills arrays with one value under numpy 2.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT, OUTPUT = "image", "upscaled"

_set_capsule_name = ctypes.pythonapi.PyCapsule_SetName
_set_capsule_name.argtypes = [ctypes.py_object, ctypes.c_char_p]
_CONSUMED = b"used_dltensor"  # kept alive here: a capsule does not copy its name


def array_of(tensor: Any) -> NDArray[np.uint8]:
    """A Triton input tensor as uint8 [N, H, W, 3]; valid while `tensor` is.

    numpy marks the view read-only, which OpenVINO refuses; the memory is Triton's shared memory and ours to write.
    """
    view = np.from_dlpack(tensor)
    memory = (ctypes.c_uint8 * view.size).from_address(view.ctypes.data)
    return np.ctypeslib.as_array(memory).reshape(view.shape)


def tensor_of(array: NDArray[np.uint8], tensor_class: Any) -> Any:
    """An array as Triton's output tensor `upscaled`, made by `tensor_class` (pb_utils.Tensor).

    The stub names the capsule it has consumed "used_dlpack"; DLPack, and so numpy when it frees the capsule, expects
    "used_dltensor" and would log an error for every answer.
    """
    capsule = array.__dlpack__()
    tensor = tensor_class.from_dlpack(OUTPUT, capsule)
    _set_capsule_name(capsule, _CONSUMED)
    return tensor
