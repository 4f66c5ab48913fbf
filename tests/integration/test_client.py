"""The client against a real server, over both protocols, compared with TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from commands import Run, assert_one_line_error
from edsr_client import (
    BadImageError,
    ImageTooLargeError,
    ModelNotFoundError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from edsr_client.images import read_image, write_image
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
    upscaled = upscaler.upscale(image)
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
    assert upscaler.model.name == "edsr_baseline_x3"
    assert (upscaler.model.scale, upscaler.model.halo_px) == (3, 35)
    assert upscaler.model.source_sha256 == read_graph(root / "models" / "edsr_baseline_x3.pb").sha256
    assert upscaler.model.inference_precision == "f32"
    server = upscaler.server()
    assert (server["name"], server["ready"], server["models"]) == ("triton", True, ["edsr_baseline_x3"])


def test_a_bad_image_is_refused_before_anything_is_sent(upscaler: Upscaler) -> None:
    with pytest.raises(BadImageError, match="uint8"):
        upscaler.upscale(np.zeros((4, 4), np.uint8))


def test_a_picture_over_the_limit_is_refused_with_the_limit(upscaler: Upscaler) -> None:
    with pytest.raises(ImageTooLargeError, match="4,194,304"):
        upscaler.upscale(np.zeros((2049, 2048, 3), np.uint8))


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
        # The questions before the first picture are small; only the picture takes longer than this.
        with Upscaler(url_of(embedded_server, protocol), protocol) as patient:
            upscaler._model = patient.model
        with pytest.raises(ServerTimeoutError, match="--timeout"):
            upscaler.upscale(np.zeros((600, 600, 3), np.uint8))


def test_something_else_behind_the_port_is_unreachable_as_triton(embedded_server: RunningServer) -> None:
    """The gRPC port asked over HTTP."""
    with Upscaler(embedded_server.options.grpc_url) as upscaler, pytest.raises(ServerUnreachableError):
        upscaler.upscale(np.zeros((4, 4, 3), np.uint8))


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
                assert upscaler.model.name == expected
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


def test_the_command_upscales_a_file(run: Run, embedded_server: RunningServer, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((10, 12, 3), 99, np.uint8))
    done = run("edsr_client", "upscale", "a.png", "--url", embedded_server.options.http_url)
    assert done.returncode == 0, done.stderr
    assert "a_x3.png (edsr_baseline_x3 on" in done.stdout
    assert read_image(tmp_path / "a_x3.png").shape == (30, 36, 3)
    grpc = ("--url", embedded_server.options.grpc_url, "--protocol", "grpc")
    assert run("edsr_client", "upscale", "a.png", *grpc, "b.webp").returncode == 0
    assert read_image(tmp_path / "b.webp").shape == (30, 36, 3)


def test_the_command_says_what_is_served(run: Run, embedded_server: RunningServer) -> None:
    told = run("edsr_client", "info", "--json", "--url", embedded_server.options.http_url)
    facts = json.loads(told.stdout)
    assert facts["server"]["version"] == "2.51.0"
    assert facts["model"]["precision"] == "fp32"
    assert facts["model"]["max_lr_pixels"] == 4_194_304
    text = run("edsr_client", "info", "--url", embedded_server.options.http_url).stdout
    grpc = ("--protocol", "grpc", "--url", embedded_server.options.grpc_url)
    assert json.loads(run("edsr_client", "info", "--json", *grpc).stdout)["model"] == facts["model"]
    for word in ("edsr_baseline_x3.pb", facts["model"]["source_sha256"], "f32", "openvino", "4,194,304"):
        assert word in text


def test_the_commands_errors_are_one_line_and_leave_nothing(
    run: Run, embedded_server: RunningServer, tmp_path: Path
) -> None:
    here = ("--url", embedded_server.options.http_url)
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "text.png").write_text("no picture", "utf-8")
    before = sorted(tmp_path.iterdir())
    assert_one_line_error(run("edsr_client", "upscale", "none.png", "o.png", *here), 3, "No such file")
    assert_one_line_error(run("edsr_client", "upscale", "text.png", "o.png", *here), 3, "damaged")
    assert_one_line_error(run("edsr_client", "upscale", "a.png", "o.xyz", *here), 4, "unknown extension")
    assert_one_line_error(run("edsr_client", "upscale", "a.png", "./a.png", *here), 4, "the input itself")
    assert_one_line_error(run("edsr_client", "info", "--url", "localhost:99999"), 2, "host:port")
    assert_one_line_error(run("edsr_client", "upscale", "a.png", "o.png", *here, "--model", "m"), 7, "edsr info")
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    assert_one_line_error(run("edsr_client", "upscale", "a.png", "o.png", "--url", nowhere), 5, "No Triton server")
    assert_one_line_error(run("edsr_client", "info", "--url", "ftp://x"), 2, "ftp://x")
    assert sorted(tmp_path.iterdir()) == before
