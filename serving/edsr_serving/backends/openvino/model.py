"""Triton backend `openvino`: runs model.onnx with OpenVINO on the CPU.

Triton starts one process of this per model instance. It takes the name of Triton's official C++ backend, so that the
same config.pbtxt works with either.
"""

import ctypes
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

INPUT, OUTPUT = "image", "upscaled"
# OpenVINO keeps compiled kernels for every shape it has seen, 5,000 by default: a gigabyte after 1,000 picture sizes.
# A shape takes about one kernel per convolution; this holds a handful of shapes.
CACHED_KERNELS = 400

_set_capsule_name = ctypes.pythonapi.PyCapsule_SetName
_set_capsule_name.argtypes = [ctypes.py_object, ctypes.c_char_p]
_CONSUMED = b"used_dltensor"  # kept alive here: a capsule does not copy its name


class TritonPythonModel:
    """One instance: a compiled model and one inference request per concurrently answered Triton request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the model.

        The entries `cpus` and `inference_precision` of the model's `parameters`, which the launcher writes, say what
        suits this machine. Without them OpenVINO takes all cores and the fastest native precision.
        """
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self._max_lr_pixels = int(parameters.get("max_lr_pixels", 0)) or None
        path = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        instances = sum(group["count"] for group in config["instance_group"])
        hints = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "CPU_RUNTIME_CACHE_CAPACITY": CACHED_KERNELS}
        if "cpus" in parameters:
            hints["INFERENCE_NUM_THREADS"] = max(1, int(parameters["cpus"]) // instances)
        if "inference_precision" in parameters:
            hints["INFERENCE_PRECISION_HINT"] = parameters["inference_precision"]
        core = ov.Core()
        self._compiled = core.compile_model(core.read_model(path), "CPU", hints)
        self._requests = [self._compiled.create_infer_request()]
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        threads = self._compiled.get_property("INFERENCE_NUM_THREADS")
        # Not by pb_utils.Logger, which ends the process if the path of this file is not ASCII.
        instance, version = args["model_instance_name"], ov.__version__.split("-")[0]
        print(f"{instance}: OpenVINO {version}, {precision}, {threads} thread(s)", flush=True)  # noqa: T201

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request; one that fails does not fail the others."""
        while len(self._requests) < len(requests):  # outputs are views of these until Triton has copied them
            self._requests.append(self._compiled.create_infer_request())
        return [self._answer(request, infer) for request, infer in zip(requests, self._requests, strict=False)]

    def finalize(self) -> None:
        """Release OpenVINO's memory before the process ends."""
        self._requests.clear()
        del self._compiled

    def _answer(self, request: Any, infer: ov.InferRequest) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, INPUT)
        if refusal := self._refusal(tuple(tensor.shape())):  # before the data is touched
            return _error(refusal, pb_utils.TritonError.INVALID_ARG)
        try:
            infer.infer({INPUT: _array_of(tensor)}, share_inputs=True, share_outputs=True)
            upscaled = infer.get_output_tensor(0).data
        except (RuntimeError, MemoryError) as error:
            return _error(f"inference failed: {error}", pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse([_tensor_of(upscaled)])

    def _refusal(self, shape: tuple[int, ...]) -> str:
        pixels = math.prod(shape[:3])
        if pixels == 0:
            return f"image has no pixels: {list(shape)}; height and width must be at least 1"
        if self._max_lr_pixels and pixels > self._max_lr_pixels:
            return (
                f"image of {list(shape)} has {pixels} pixels, more than the {self._max_lr_pixels} this server takes "
                "in one request; send smaller pictures or tiles"
            )
        return ""


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _array_of(tensor: Any) -> NDArray[np.uint8]:
    """The input without a copy, uint8 [N, H, W, 3]; valid while `tensor` is.

    By DLPack, because the stub's own as_numpy() fills arrays with one value under numpy 2. numpy marks the view
    read-only, which OpenVINO refuses; the memory is Triton's shared memory and ours to write.
    """
    view = np.from_dlpack(tensor)
    memory = (ctypes.c_uint8 * view.size).from_address(view.ctypes.data)
    return np.ctypeslib.as_array(memory).reshape(view.shape)


def _tensor_of(array: NDArray[np.uint8]) -> Any:
    """The output as Triton's tensor, by DLPack for the same reason.

    The stub names the capsule it has consumed "used_dlpack"; DLPack, and so numpy when it frees the capsule, expects
    "used_dltensor" and would log an error for every answer.
    """
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(OUTPUT, capsule)
    _set_capsule_name(capsule, _CONSUMED)
    return tensor
