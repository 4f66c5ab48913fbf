"""The same over gRPC: answers of any size, words of any kind, none at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import edsr_client.transports.triton as triton_transport
import grpc
import numpy as np
import pytest
from edsr_client import (
    BackendLostError,
    EdsrError,
    ModelContractError,
    NotTritonError,
    RequestRefusedError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from google.protobuf.json_format import ParseDict
from PIL import Image
from tritonclient.grpc import service_pb2 as messages

from tests.helpers.broken_servers import config
from tests.helpers.forked import assert_told, edsr

TILE = np.zeros((80, 90, 3), np.uint8)
SIZE = 240 * 270 * 3
MEGABYTES = 1 << 20
Answer = Callable[[grpc.ServicerContext], Any]


def infer_answer(shape: list[int], size: int, name: str = "upscaled", datatype: str = "UINT8") -> Answer:
    output = messages.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
    return lambda _: messages.ModelInferResponse(outputs=[output], raw_output_contents=[bytes(size)])


def config_answer(**parameters: object) -> Answer:
    return lambda _: ParseDict({"config": config(**parameters)}, messages.ModelConfigResponse())


def refusal(status: grpc.StatusCode, words: str) -> Answer:
    return lambda context: context.abort(status, words)


USUAL: dict[str, Answer] = {
    "ServerLive": lambda _: messages.ServerLiveResponse(live=True),
    "ServerReady": lambda _: messages.ServerReadyResponse(ready=True),
    "ModelReady": lambda _: messages.ModelReadyResponse(ready=True),
    "ServerMetadata": lambda _: messages.ServerMetadataResponse(name="triton", version="2.51.0"),
    "ModelConfig": config_answer(),
}


@contextmanager
def broken(**answers: Answer) -> Iterator[str]:
    """A gRPC server that answers as a Triton with our model would, but for the methods named; yields its address."""
    answers = {**USUAL, **answers}

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
            answer = answers.get(details.method.rpartition("/")[2])
            if answer is None:
                return None
            # Bytes pass as they are: no message of Triton's need be one.
            serialize = lambda found: found if isinstance(found, bytes) else found.SerializeToString()  # noqa: E731
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: answer(context), response_serializer=serialize
            )

    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()], options=options, compression=None)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def compressed(context: grpc.ServicerContext) -> Any:
    context.set_compression(grpc.Compression.Gzip)
    return infer_answer([1, 240, 270, 3], 100 * MEGABYTES)(context)


def hang(_context: grpc.ServicerContext) -> Any:
    time.sleep(3)
    return b""


CASES: dict[str, tuple[dict[str, Answer], type[EdsrError], str | None]] = {
    "a large answer": (
        {"ModelInfer": infer_answer([1, 3000, 3000, 3], 27_000_000)},
        NotTritonError,
        "longer than any that was asked for",
    ),
    "a bomb": ({"ModelInfer": compressed}, EdsrError, None),
    "a pixel less": ({"ModelInfer": infer_answer([1, 60, 89, 3], SIZE - 180)}, RequestRefusedError, "answered UINT8"),
    "fewer bytes": ({"ModelInfer": infer_answer([1, 240, 270, 3], 7)}, RequestRefusedError, "in 7 bytes"),
    "floats": ({"ModelInfer": infer_answer([1, 240, 270, 3], SIZE, datatype="FP32")}, RequestRefusedError, "FP32"),
    "a negative shape": ({"ModelInfer": infer_answer([-1, 2], SIZE)}, RequestRefusedError, r"answered UINT8 \[-1, 2\]"),
    "another output": (
        {"ModelInfer": infer_answer([1, 240, 270, 3], SIZE, "x")},
        RequestRefusedError,
        "without the output",
    ),
    "nothing": ({"ModelInfer": lambda _: b""}, RequestRefusedError, "without the output"),
    "noise": ({"ModelInfer": lambda _: b"\xff\x00" * 50}, EdsrError, None),
    "silence": ({"ModelInfer": hang}, ServerTimeoutError, "did not finish a tile of 80x90 pixels within 0.5 s"),
    "a silent question": ({"ServerMetadata": hang}, ServerTimeoutError, "No answer from .* within 1 s"),
    "long words": ({"ModelInfer": refusal(grpc.StatusCode.INTERNAL, "no " * 400_000)}, EdsrError, None),
    "colours": (
        {"ModelInfer": refusal(grpc.StatusCode.INTERNAL, "\x1b[31mred\x1b[0m\x07 and\nmore \u202eback")},
        RequestRefusedError,
        "refused the request: red and more back$",
    ),
    "a lost process": (
        {"ModelInfer": refusal(grpc.StatusCode.INTERNAL, "Stub process 'm_0_0' is not healthy.")},
        BackendLostError,
        "has ended",
    ),
    "a long configuration": (
        {"ModelConfig": config_answer(source="x" * 9 * MEGABYTES)},
        NotTritonError,
        "longer than any",
    ),
    "a scale of 1000000": ({"ModelConfig": config_answer(scale=1_000_000)}, ModelContractError, "scale"),
    "no scale": ({"ModelConfig": config_answer(scale="")}, ModelContractError, "scale"),
    "tiles of nothing": ({"ModelConfig": config_answer(tile="0x0")}, ModelContractError, "tile"),
    "a configuration of noise": ({"ModelConfig": lambda _: b"\xff" * 99}, EdsrError, None),
    "no method": ({}, NotTritonError, "status statuscode.unimplemented"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_whatever_answers_over_grpc_is_an_error_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "a silent question":
        monkeypatch.setattr(triton_transport, "QUESTION_TIMEOUT_S", 1.0)
    answers, kind, words = CASES[name]
    timeout_s = 0.5 if name == "silence" else 60
    with broken(**answers) as url, Upscaler(url, "grpc", retries=0, timeout_s=timeout_s) as upscaler:
        with pytest.raises(kind, match=words) as told:
            upscaler.upscale(TILE)
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 800


@pytest.mark.parametrize("answer", [infer_answer([1, 10_000, 10_000, 3], 300_000_000), compressed])
def test_the_command_takes_no_memory_for_an_answer_over_grpc(tmp_path: Path, answer: Answer) -> None:
    Image.fromarray(TILE).save(tmp_path / "in.png")
    with broken(ModelInfer=answer) as url:
        finished = edsr(tmp_path, "upscale", "in.png", "out.png", "--url", url, "--protocol", "grpc", "--retries", 0)
    assert_told(finished)
    assert finished.peak_bytes < 300 * MEGABYTES


def test_a_server_that_is_gone_is_unreachable() -> None:
    with broken() as url:
        pass
    with Upscaler(url, "grpc", retries=0) as upscaler, pytest.raises(ServerUnreachableError):
        upscaler.upscale(TILE)
