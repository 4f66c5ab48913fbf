"""Triton backend `openvino`: runs an ONNX file with OpenVINO on the CPU.

Triton starts one process of this per model instance. It takes the name of Triton's official C++ backend, so that the
same config.pbtxt works with either.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import openvino as ov
import triton_python_backend_utils as pb_utils
from edsr_serving.answers import room_for
from edsr_serving.clients import Client
from edsr_serving.heartbeat import Heartbeat
from edsr_serving.keys import keep_own_region_private
from edsr_serving.limits import Limits
from edsr_serving.log import say
from edsr_serving.openvino_model import compile_for_cpu
from edsr_serving.requests_log import log_request
from edsr_serving.tensors import INPUT, array_of, tensor_of

LOOK_MS = 200  # how often it is asked, while the inference runs, whether the client still waits
# Feature maps of a request larger than any tile are given back after it: a gigabyte and more, in each instance.
KEPT_LR_PIXELS = 1_500_000


class TritonPythonModel:
    """One instance: a compiled model. Triton keeps the queue, and lets one instance compute at a time.

    `execute` returns when its request is answered, so that Triton's own durations are those of the work. An answer is a
    view of OpenVINO's output; Triton has copied it when the next inference overwrites it.
    """

    _infer: Any
    _compiled: Any

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the model.

        The entries `cpus` and `inference_precision` of the model's `parameters`, which the launcher writes, say what
        suits this machine, and `concurrency` how many instances compute at a time. Without them OpenVINO takes all
        cores and the fastest native precision, and so do those parts of an int8 file that are not in 8 bits.
        """
        keep_own_region_private()
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self._limits = Limits.of(parameters)
        path = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        instances = sum(group["count"] for group in config["instance_group"])
        concurrency = int(parameters.get("concurrency", instances))
        threads = max(1, int(parameters["cpus"]) // concurrency) if "cpus" in parameters else None
        wanted = parameters.get("inference_precision", "")
        self._heartbeat = Heartbeat(config["name"])
        self._how = path, wanted, threads
        self._compile_s = self._s_per_pixel = 0.0
        self._make_ready()
        precision = wanted or self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        threads = self._compiled.get_property("INFERENCE_NUM_THREADS")
        instance, version = args["model_instance_name"], ov.__version__.split("-")[0]
        say(f"{instance}: OpenVINO {version}, {precision}, {threads} thread(s)")

    def execute(self, requests: list[Any]) -> None:
        """Answer every request; one that fails does not fail the others."""
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, INPUT)
            shape = tuple(tensor.shape())
            pixels = math.prod(shape[:3])
            with self._heartbeat.working(pixels):
                self._send(request, self._answer(request, tensor, shape))
                if pixels > KEPT_LR_PIXELS:
                    self._compiled.release_memory()

    def finalize(self) -> None:
        """Release OpenVINO's memory before the process ends."""
        self._heartbeat.close()
        self._release()

    def _release(self) -> None:
        self._infer = self._compiled = None

    def _make_ready(self) -> None:
        self._release()  # the memory of what there is
        started = time.monotonic()
        self._compiled = compile_for_cpu(*self._how)
        self._infer = self._compiled.create_infer_request()
        self._compile_s = time.monotonic() - started

    def _answer(self, request: Any, tensor: Any, shape: tuple[int, ...]) -> Any:
        started = time.monotonic()
        name = request.request_id()
        if refusal := self._limits.refusal(shape):  # before the data is touched
            log_request(name, shape, started, f"refused, {refusal}")
            return _error(refusal, pb_utils.TritonError.INVALID_ARG)
        client = Client(request)
        if client.has_gone():
            log_request(name, shape, started, "not computed, the client has gone")
            return _error("the client has gone", pb_utils.TritonError.CANCELLED)
        try:
            upscaled = self._compute(array_of(tensor), client)
        except (RuntimeError, MemoryError) as error:
            log_request(name, shape, started, f"inference failed: {error}")
            return _error("the inference failed; the server's log says why", pb_utils.TritonError.INTERNAL)
        if upscaled is None:
            log_request(name, shape, started, "given up, the client has gone")
            return _error("the client has gone", pb_utils.TritonError.CANCELLED)
        if problem := room_for(upscaled.nbytes):
            log_request(name, shape, started, problem)
            return _error(problem, pb_utils.TritonError.INTERNAL)
        log_request(name, shape, started)
        return pb_utils.InferenceResponse([tensor_of(upscaled, pb_utils.Tensor)])

    def _compute(self, images: Any, client: Client) -> Any:
        """The answer to `images`; None if nobody waits for it any more."""
        started = time.monotonic()
        pixels = math.prod(images.shape[:3])
        self._infer.start_async({INPUT: images}, share_inputs=True)
        while not self._infer.wait_for(LOOK_MS):
            if self._is_worth_giving_up(pixels, time.monotonic() - started) and client.has_gone():
                self._infer.cancel()
                _wait_for_the_end(self._infer)
                # OpenVINO's graph is left with the shapes of two requests, and fails on the next ones.
                self._make_ready()
                return None
        self._infer.wait()  # raises what went wrong
        self._s_per_pixel = (time.monotonic() - started) / pixels
        return self._infer.get_output_tensor(0).data

    def _is_worth_giving_up(self, pixels: int, elapsed_s: float) -> bool:
        """Whether the rest of a request takes longer than getting ready for the next one after giving it up."""
        return not self._s_per_pixel or pixels * self._s_per_pixel - elapsed_s > 2 * self._compile_s

    def _send(self, request: Any, response: Any) -> None:
        try:
            request.get_response_sender().send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:
            # The request cannot be answered any more, and its client would wait for ever: the launcher starts us anew.
            say(f"an answer could not be sent: {error}", "E")
            os._exit(1)


def _wait_for_the_end(infer: Any) -> None:
    try:
        infer.wait()
    except RuntimeError:  # it was cancelled
        return


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
