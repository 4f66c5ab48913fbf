"""The client against a real server, over both protocols, compared with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from commands import Run
from edsr_client import (
    BadImageError,
    ModelNotFoundError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from edsr_client.tiling import NO_MARGINS
from edsr_conversion import random_network, read_graph
from edsr_conversion.network import MEAN_BGR
from edsr_conversion.parity import to_uint8
from edsr_conversion.runtimes import Runner, tensorflow_runner
from edsr_serving import RunningServer, ServerOptions, free_ports, start
from tritonclient.utils import InferenceServerException

PROTOCOLS = ("http", "grpc")


def url_of(server: RunningServer, protocol: str) -> str:
    return server.options.http_url if protocol == "http" else server.options.grpc_url


@pytest.fixture(scope="module", params=PROTOCOLS)
def upscaler(request: pytest.FixtureRequest, embedded_server: RunningServer) -> Iterator[Upscaler]:
    with Upscaler(url_of(embedded_server, request.param), request.param) as upscaler:
        yield upscaler


@pytest.fixture(scope="module")
def tensorflow(root: Path) -> Runner:
    graph = read_graph(root / "models" / "edsr_baseline_x3.pb")
    body = tensorflow_runner(graph.definition, "IteratorGetNext", "NHWC_output")
    mean = np.array(MEAN_BGR, np.float32)
    return lambda rgb: to_uint8(body(rgb[..., ::-1].astype(np.float32) - mean) + mean)[..., ::-1]


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 1), (2, 3), (33, 47), (64, 64), (101, 29)])
def test_a_picture_of_any_size_comes_back_as_tensorflow_computes_it(
    upscaler: Upscaler, tensorflow: Runner, size: tuple[int, int]
) -> None:
    image = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    upscaled = upscaler.upscale(image, border=NO_MARGINS)  # small pictures are continued otherwise
    assert upscaled.shape == (3 * size[0], 3 * size[1], 3)
    difference = np.abs(tensorflow(image[None])[0].astype(int) - upscaled)
    assert difference.max() <= 1
    assert difference.mean() < 1e-2


def test_http_and_grpc_answer_the_same(embedded_server: RunningServer) -> None:
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    answers = []
    for protocol in PROTOCOLS:
        with Upscaler(url_of(embedded_server, protocol), protocol) as upscaler:
            answers.append(upscaler.upscale(image))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_strided_and_read_only_arrays_are_taken(upscaler: Upscaler) -> None:
    image = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mirrored = image[:, ::-1]
    mirrored.flags.writeable = False
    np.testing.assert_array_equal(upscaler.upscale(mirrored), upscaler.upscale(mirrored.copy()))


def test_colours_are_not_exchanged(upscaler: Upscaler) -> None:
    red = np.zeros((24, 24, 3), np.uint8)
    red[...] = (200, 40, 30)
    middle = upscaler.upscale(red)[30:42, 30:42].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(middle, (200, 40, 30), atol=12)


def test_the_server_is_asked_for_model_scale_and_limits(upscaler: Upscaler, root: Path) -> None:
    model = upscaler.model_info()
    assert (model.name, model.scale, model.halo_px, model.instances) == ("edsr_baseline_x3", 3, 35, 1)
    assert model.source_sha256 == read_graph(root / "models" / "edsr_baseline_x3.pb").sha256
    assert model.inference_precision == "f32"
    server = upscaler.server_info()[0]
    assert (server["name"], server["ready"], server["models"]) == ("triton", True, ["edsr_baseline_x3"])


def test_a_bad_image_is_refused_before_anything_is_sent(upscaler: Upscaler) -> None:
    with pytest.raises(BadImageError, match="uint8"):
        upscaler.upscale(np.zeros((4, 4), np.float32))


def test_a_model_the_server_does_not_have_is_named(embedded_server: RunningServer) -> None:
    for protocol in PROTOCOLS:
        with (
            Upscaler(url_of(embedded_server, protocol), protocol, model="edsr_x9") as upscaler,
            pytest.raises(ModelNotFoundError, match="edsr_x9"),
        ):
            upscaler.upscale(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_not_there_is_unreachable(protocol: str) -> None:
    for url in (f"127.0.0.1:{free_ports(1)[0]}", "no-such-host.invalid:8000"):
        with (
            Upscaler(url, protocol, timeout_s=5) as upscaler,
            pytest.raises(ServerUnreachableError, match="make serve"),
        ):
            upscaler.upscale(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_that_takes_too_long_is_a_timeout(embedded_server: RunningServer, protocol: str) -> None:
    with Upscaler(url_of(embedded_server, protocol), protocol, timeout_s=0.05) as upscaler:
        with pytest.raises(ServerTimeoutError, match="--timeout"):
            upscaler.upscale(np.zeros((600, 600, 3), np.uint8))


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_a_raw_triton_client_sends_batches_and_is_told_the_limits(embedded_server: RunningServer, module) -> None:  # type: ignore[no-untyped-def]
    url = embedded_server.options.http_url if module is triton_http else embedded_server.options.grpc_url
    client = module.InferenceServerClient(url)

    def infer(shape: tuple[int, ...]) -> np.ndarray:
        images = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
        tensor = module.InferInput("image", list(shape), "UINT8")
        tensor.set_data_from_numpy(images)
        answer: np.ndarray = client.infer("edsr_baseline_x3", [tensor]).as_numpy("upscaled")
        return answer

    assert infer((5, 8, 9, 3)).shape == (5, 24, 27, 3)
    np.testing.assert_array_equal(infer((3, 8, 9, 3))[:1], infer((1, 8, 9, 3)))
    refused = (
        ((9, 8, 9, 3), "batch-size"),
        ((2, 2048, 1025, 3), "4194304"),
        ((1, 8, 9, 4), "shape"),
        ((1, 0, 9, 3), "image"),
    )
    for shape, words in refused:
        with pytest.raises(InferenceServerException, match=words):
            infer(shape)
    assert infer((1, 2, 2, 3)).shape == (1, 6, 6, 3)  # it is still well


def test_requests_of_many_clients_at_once_are_each_answered_right(embedded_server: RunningServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(seed: int) -> bool:
        image = np.random.default_rng(seed).integers(0, 256, (16 + seed, 24, 3), dtype=np.uint8)
        with Upscaler(embedded_server.options.grpc_url, "grpc") as upscaler:
            first = upscaler.upscale(image)
            return all(np.array_equal(first, upscaler.upscale(image)) for _ in range(3))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(12)))


def test_the_preferred_model_is_taken_and_another_can_be_named(
    run: Run, tmp_path: Path, build_repository: Callable[..., Path]
) -> None:
    for name, filters in (("edsr_x3", 8), ("edsr_baseline_x3", 12), ("other", 4)):
        repository = build_repository(random_network(1, filters), name)
    options = ServerOptions(repository=repository, run_dir=tmp_path / "run").with_ports(*free_ports(3))
    with start(options):
        for model, expected in ((None, "edsr_x3"), ("other", "other")):
            with Upscaler(options.http_url, model=model) as upscaler:
                assert upscaler.model_info().name == expected
        told = run("edsr_client", "info", "--url", options.http_url)
        assert "edsr_baseline_x3, edsr_x3, other" in told.stdout
    with (
        start(replace(options, models=("other",))),
        Upscaler(options.http_url) as upscaler,
        pytest.raises(ModelNotFoundError, match="it serves: other"),
    ):
        upscaler.upscale(np.zeros((4, 4, 3), np.uint8))
    with start(replace(options, models=("other",))):
        told = run("edsr_client", "info", "--url", options.http_url)
        assert told.returncode == 0
        assert "name one of them with --model" in told.stdout
