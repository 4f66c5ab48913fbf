"""Triton backend `tensorrt_rtx`: runs <gpu>-rtx.plan with TensorRT for RTX on a GPU, without NVIDIA's container.

The configuration is that of Triton's own `tensorrt` backend with another backend name. Triton starts one process of
this per model instance; each holds the engine, a context per profile, pinned buffers and a stream.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from edsr_serving.gpu.host import failure_of
from edsr_serving.gpu.runner import EngineRunner
from edsr_serving.heartbeat import Heartbeat
from edsr_serving.keys import keep_own_region_private
from edsr_serving.limits import Limits
from edsr_serving.log import say
from edsr_serving.requests_log import log_request
from edsr_serving.tensors import INPUT, array_of, tensor_of


class TritonPythonModel:
    """One instance. Requests are answered one after the other: a picture fills the card."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine on the instance's GPU."""
        keep_own_region_private()
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self._limits = Limits.of(parameters)
        self._heartbeat = Heartbeat(config["name"])
        plan = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        graphs = bool(config.get("optimization", {}).get("cuda", {}).get("graphs", False))
        try:
            self._runner = EngineRunner(
                plan,
                "tensorrt_rtx",
                device=int(args["model_instance_device_id"]),
                runtime_cache=plan.with_suffix(".runtime-cache"),
                cuda_graphs=graphs,
            )
        except (ImportError, OSError, RuntimeError) as error:
            raise pb_utils.TritonModelException(f"{plan.name} cannot be served here: {error}") from None
        self._warm_up_answers = len(self._runner.profiles)  # the configuration warms every profile up
        say(f"{args['model_instance_name']}: TensorRT for RTX {self._runner.version}, {plan.name}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request; one that fails does not fail the others.

        The output is a view of a buffer that the next picture overwrites, so only the last may stay one.
        """
        with self._heartbeat.working(0):
            return [self._answer(request, copy=index + 1 < len(requests)) for index, request in enumerate(requests)]

    def finalize(self) -> None:
        """Free the GPU, and keep the compiled kernels for the next start."""
        self._heartbeat.close()
        self._runner.close()

    def _answer(self, request: Any, copy: bool) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, INPUT)
        started = time.monotonic()
        if refusal := self._limits.refusal(tuple(tensor.shape())):  # before the data is touched
            log_request(request.request_id(), tensor.shape(), started, refusal)
            return _error(refusal, "INVALID_ARG")
        try:
            upscaled = self._runner.run(array_of(tensor))
        except (RuntimeError, ValueError, MemoryError) as error:
            failure = failure_of(error)
            say(f"{'fatal' if failure.is_fatal else 'failed'}: {failure.message}", "E")
            log_request(request.request_id(), tensor.shape(), started, failure.message)
            if failure.is_fatal:
                # CUDA cannot recover in this process; the launcher notices that it is gone and says so.
                os._exit(1)
            return _error(failure.message, failure.code)
        log_request(request.request_id(), tensor.shape(), started)
        if self._warm_up_answers:
            self._warm_up_answers -= 1
            if not self._warm_up_answers:
                self._runner.save_runtime_cache()
        return pb_utils.InferenceResponse([tensor_of(upscaled.copy() if copy else upscaled, pb_utils.Tensor)])


def _error(message: str, code: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
