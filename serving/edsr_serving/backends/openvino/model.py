"""Triton backend `openvino`: runs an ONNX file with OpenVINO on the CPU.

Triton starts one process of this per model instance. It takes the name of Triton's official C++ backend, so that the
same config.pbtxt works with either.
"""

import json
import time
from pathlib import Path
from typing import Any

import openvino as ov
import triton_python_backend_utils as pb_utils
from edsr_serving.keys import keep_own_region_private
from edsr_serving.limits import Limits
from edsr_serving.openvino_model import compile_for_cpu
from edsr_serving.queue_metrics import QueueMetrics
from edsr_serving.request_queue import DEFAULT_SIZE, RequestQueue
from edsr_serving.requests_log import log_request
from edsr_serving.tensors import INPUT, array_of, tensor_of


class TritonPythonModel:
    """One instance: a compiled model, and a queue of requests that it answers one after the other.

    An answer is a view of OpenVINO's output; Triton has copied it when the next inference overwrites it.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the model.

        The entries `cpus` and `inference_precision` of the model's `parameters`, which the launcher writes, say what
        suits this machine. Without them OpenVINO takes all cores and the fastest native precision, and so do those
        parts of an int8 file that are not in 8 bits.
        """
        keep_own_region_private()
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self._limits = Limits.of(parameters)
        path = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        instances = sum(group["count"] for group in config["instance_group"])
        threads = max(1, int(parameters["cpus"]) // instances) if "cpus" in parameters else None
        wanted = parameters.get("inference_precision", "")
        self._compiled = compile_for_cpu(path, wanted, threads)
        self._infer = self._compiled.create_infer_request()
        precision = wanted or self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        threads = self._compiled.get_property("INFERENCE_NUM_THREADS")
        # Not by pb_utils.Logger, which ends the process if the path of this file is not ASCII.
        self._size = int(parameters.get("max_queue_size", DEFAULT_SIZE))
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        self._metrics = QueueMetrics(pb_utils, {"model": config["name"], "version": args["model_version"]})
        self._queue = RequestQueue(
            self._size, self._answer, self._refuse, self._cancelled, final, self._metrics.answered
        )
        instance, version = args["model_instance_name"], ov.__version__.split("-")[0]
        print(f"{instance}: OpenVINO {version}, {precision}, {threads} thread(s)", flush=True)  # noqa: T201

    def execute(self, requests: list[Any]) -> None:
        """Take requests over; they are answered from a queue, one after the other."""
        for request in requests:
            self._queue.put(request)

    def finalize(self) -> None:
        """Answer what waits, and release OpenVINO's memory before the process ends."""
        self._queue.close()
        self._metrics.close()
        del self._infer, self._compiled

    def _answer(self, request: Any) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, INPUT)
        started = time.monotonic()
        if refusal := self._limits.refusal(tuple(tensor.shape())):  # before the data is touched
            log_request(request.request_id(), tensor.shape(), started, refusal)
            return _error(refusal, pb_utils.TritonError.INVALID_ARG)
        try:
            self._infer.infer({INPUT: array_of(tensor)}, share_inputs=True, share_outputs=True)
            upscaled = self._infer.get_output_tensor(0).data
        except (RuntimeError, MemoryError) as error:
            log_request(request.request_id(), tensor.shape(), started, f"inference failed: {error}")
            return _error(f"inference failed: {error}", pb_utils.TritonError.INTERNAL)
        log_request(request.request_id(), tensor.shape(), started)
        return pb_utils.InferenceResponse([tensor_of(upscaled, pb_utils.Tensor)])

    def _refuse(self, request: Any) -> Any:
        # In Triton's own words for the same, which clients know.
        message = f"Exceeds maximum queue size: {self._size} requests wait already; try again in a moment"
        log_request(request.request_id(), (), time.monotonic(), "refused, the queue is full")
        self._metrics.refused()
        return _error(message, pb_utils.TritonError.UNAVAILABLE)

    def _cancelled(self, request: Any) -> Any:
        log_request(request.request_id(), (), time.monotonic(), "not computed, the client has gone")
        return _error("the client has gone", pb_utils.TritonError.CANCELLED)


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
