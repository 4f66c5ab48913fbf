"""The pure parts of the client: pictures, addresses, model configurations, error mapping."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from edsr_client import (
    BadImageError,
    EdsrError,
    ModelInfo,
    ModelNotFoundError,
    OutputError,
    RequestRefusedError,
    ServerNotReadyError,
    ServerTimeoutError,
    ServerUnreachableError,
    Upscaler,
)
from edsr_client.images import check_extension, read_image, write_image
from edsr_client.transport import error_of, host_and_port
from edsr_client.upscaler import check_image

RED = np.zeros((4, 6, 3), np.uint8)
RED[..., 0] = 255


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "webp"])
def test_a_lossless_file_comes_back_the_same_in_rgb(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(path, picture)
    np.testing.assert_array_equal(read_image(path), picture)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_jpeg_is_close_and_red_stays_red(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", RED)
    assert read_image(tmp_path / "a.jpg")[0, 0, 0] > 240
    assert read_image(tmp_path / "a.jpg")[0, 0, 2] < 15


def test_grey_becomes_three_channels_and_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((3, 4), 9, np.uint8))
    assert read_image(tmp_path / "grey.png").shape == (3, 4, 3)
    cv2.imwrite(str(tmp_path / "rgba.png"), np.full((3, 4, 4), 255, np.uint8))
    assert read_image(tmp_path / "rgba.png").shape == (3, 4, 3)


def test_what_would_be_lost_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((3, 4, 3), np.uint16))
    with pytest.raises(BadImageError, match="16 bits"):
        read_image(tmp_path / "deep.png")
    cv2.imwrite(str(tmp_path / "rgba.png"), np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(BadImageError, match="transparency"):
        read_image(tmp_path / "rgba.png")


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    exif = pil.Exif()
    exif[0x0112] = 6  # a quarter turn
    pil.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (6, 4, 3)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_picture_is_a_bad_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadImageError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_bad_images(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(BadImageError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.", "no/such/folder/a.png"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="Cannot write"):
        check_extension(tmp_path / name)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", RED)
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(OutputError, match="largest size"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))  # JPEG ends at 65,500
    assert (tmp_path / "a.jpg").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        [[1, 2, 3]],
        None,
    ],
)
def test_only_uint8_rgb_with_pixels_is_an_image(image: object) -> None:
    with pytest.raises(BadImageError, match="uint8"):
        check_image(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "protocol", "address"),
    [
        (None, "http", "localhost:8000"),
        (None, "grpc", "localhost:8001"),
        ("box", "grpc", "box:8001"),
        ("http://box:9/", "http", "box:9"),
        ("grpc://box", "grpc", "box:8001"),
    ],
)
def test_an_address_is_completed(url: str | None, protocol: str, address: str) -> None:
    assert host_and_port(url, protocol) == address


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "https://box"},
        {"url": "http://box/path"},
        {"url": "http://box", "protocol": "grpc"},
        {"protocol": "ftp"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": 1e10},
        {"url": "localhost:"},
        {"url": "localhost:0"},
        {"url": "::1"},
        {"url": "a..b:80"},
    ],
)
def test_malformed_arguments_are_refused_at_once(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"http|grpc|protocol|timeout|host:port"):
        Upscaler(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", ServerTimeoutError),
        ("400", "Request for unknown model: 'm' is not found", ModelNotFoundError),
        ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", ServerUnreachableError),
        ("StatusCode.UNAVAILABLE", "Request for unknown model: 'm' has no available versions", ModelNotFoundError),
        ("503", "server not ready", ServerNotReadyError),
        ("400", "[request id: <id_unknown>] unexpected shape", RequestRefusedError),
        ("", "something new", RequestRefusedError),
    ],
)
def test_every_answer_of_triton_has_one_error(status: str, message: str, expected: type[EdsrError]) -> None:
    error = error_of(status, message, "box:1", "m")
    assert type(error) is expected
    assert "box:1" in str(error)


def test_a_configuration_without_a_scale_is_not_ours() -> None:
    with pytest.raises(RequestRefusedError, match="scale"):
        ModelInfo.from_config({"name": "resnet", "parameters": {}})


def test_a_configuration_is_read_with_what_it_leaves_out() -> None:
    info = ModelInfo.from_config(
        {
            "name": "m",
            "backend": "b",
            "parameters": {"scale": {"string_value": "2"}, "precision": {"string_value": "fp16"}},
        }
    )
    assert (info.scale, info.halo_px, info.inference_precision) == (2, None, "fp16")
