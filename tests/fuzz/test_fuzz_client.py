"""Searches for input that breaks the client: damaged picture files, odd configurations, addresses, answers, arrays.

Nothing but the errors of the package may come out. In `make test` a short search; `make fuzz` goes on for
EDSR_FUZZ_SECONDS, divided among the tests here.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from edsr_client import BadImageError, EdsrError, Finishing, MockTransport, ModelContractError, ModelInfo, Upscaler
from edsr_client.addresses import addresses
from edsr_client.pictures.decode import decode
from edsr_client.pictures.encode import encode
from edsr_client.pictures.formats import FORMATS
from edsr_client.pictures.metadata import corrected
from edsr_client.transports.error_mapping import error_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.metadata_files import camera_block, extended, iptc, jpeg_with, packet, png_with, raw_profile, resource
from tests.unit.picture_files import XMP, encoded, encoded_deep, exif, photo, profile

SECONDS = float(os.environ.get("EDSR_FUZZ_SECONDS", 0))
TESTS = 10
ROUND = settings(
    max_examples=150 if SECONDS else 60,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
MAX_PIXELS = 200_000


def until_the_time_is_over(search: Callable[[], None]) -> None:
    """Once, or with `make fuzz` again and again with other examples."""
    end = time.monotonic() + SECONDS / TESTS
    search()
    while time.monotonic() < end:
        search()


def seeds() -> list[bytes]:
    """One good file of every kind, with all that files may carry."""
    picture, everything = photo(), {"exif": exif(6), "icc_profile": profile()}
    frames = [Image.fromarray(np.full((6, 8, 3), level, np.uint8)) for level in (0, 80, 250)]
    animated = {"save_all": True, "append_images": frames[1:], "duration": 50}
    deep = picture.astype(np.uint16) * 257
    main, rest = extended('GCamera:MotionPhoto="1" tiff:Orientation="6"', "data" * 20)
    resources = resource(0x0404, iptc((5, b"Title"), (202, b"preview"))) + resource(0x03ED, bytes(16))
    return [
        jpeg_with(camera_block("<", 6), main, rest, resources),
        jpeg_with(camera_block(">", 8), packet("", "<tiff:Orientation>3</tiff:Orientation>")),
        png_with(raw_profile("exif", camera_block(">", 6)), raw_profile("iptc", resources, packed=False)),
        encoded(picture, "PNG", **everything),
        encoded(picture, "JPEG", xmp=XMP, **everything),
        encoded(picture, "JPEG", progressive=True),
        encoded(Image.fromarray(picture).convert("CMYK"), "JPEG"),
        encoded(picture, "WEBP", xmp=XMP, **everything),
        encoded(picture, "AVIF", **everything),
        encoded(picture, "TIFF", **everything),
        encoded(picture, "TIFF", compression="tiff_lzw"),
        encoded(picture, "BMP"),
        encoded(Image.fromarray(picture).convert("P"), "PNG", transparency=3),
        encoded(Image.fromarray(picture).convert("1"), "TIFF", compression="group4"),
        *(encoded(frames[0], kind, **animated) for kind in ("GIF", "WEBP", "PNG")),
        encoded_deep(deep, ".png"),
        encoded_deep(deep, ".tiff"),
        encoded_deep(deep[..., 0], ".png"),
    ]


SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with bytes changed, cut out, repeated, or swapped with those of another."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)) | st.integers(0, min(200, max(0, len(content) - 1))))
        kind = draw(st.sampled_from(["set", "set", "number", "cut", "repeat", "truncate", "splice"]))
        length = draw(st.integers(1, 40))
        if kind == "set":
            content[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "number":
            value = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            content[place : place + 4] = value.to_bytes(4, draw(st.sampled_from(["big", "little"])))
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "repeat":
            content[place:place] = content[place : place + length]
        elif kind == "truncate":
            del content[place:]
        else:
            other = draw(st.sampled_from(SEEDS))
            content[place : place + length] = other[place : place + length]
    return bytes(content)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_decoded_or_is_a_bad_image() -> None:
    @ROUND
    @given(damaged(), st.sampled_from(sorted(FORMATS)))
    def search(content: bytes, target: str) -> None:
        try:
            picture = decode(content, "x", MAX_PIXELS)
        except BadImageError:
            return
        metadata = corrected(picture.metadata, picture.size, picture.size)
        try:
            encode(picture.with_frames(picture.frames), FORMATS[target])
            encode(picture.__class__(picture.frames, picture.durations_ms, picture.loop, metadata), FORMATS[target])
        except EdsrError:
            pass

    until_the_time_is_over(search)


@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_decoded_or_are_a_bad_image() -> None:
    heads = st.sampled_from(
        [b"", *(seed[:16] for seed in SEEDS), b"\x00\x00\x00\x1cftypheic", b"II*\x00", b"P6\n9 9\n"]
    )

    @ROUND
    @given(heads, st.binary(max_size=400))
    def search(head: bytes, rest: bytes) -> None:
        with contextlib.suppress(BadImageError):
            decode(head + rest, "x", MAX_PIXELS)

    until_the_time_is_over(search)


def test_any_configuration_is_a_model_or_says_what_differs() -> None:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    values = st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
    )
    names = ["scale", "tile", "halo_px", "max_lr_pixels", "max_shapes", "default_halo_px", "blocks", "filters"]
    texts = st.sampled_from(["3", "0", "-1", "64x64", "x", "1e9", "9" * 30, "64x64,32x128", "a,b", "٣"]) | st.text(
        max_size=6
    )
    parameters = st.dictionaries(st.sampled_from(names), st.fixed_dictionaries({"string_value": texts}) | values)
    tensor = [{"name": "image", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}]
    answer = [{"name": "upscaled", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}]
    config = st.fixed_dictionaries(
        {},
        optional={
            "name": values,
            "input": st.just(tensor) | values,
            "output": st.just(answer) | values,
            "max_batch_size": st.just(1) | values,
            "instance_group": values,
            "parameters": parameters | values,
        },
    )

    @ROUND
    @given(config)
    def search(content: dict[str, Any]) -> None:
        try:
            info = ModelInfo.from_config(content)
            _ = info.limits, info.best_halo_px, info.timeout_s(100)
        except ModelContractError:
            pass

    until_the_time_is_over(search)


def test_any_address_is_one_or_a_value_error() -> None:
    text = st.text(max_size=30) | st.from_regex(r"(https?|grpcs?)://[\w.\[\]:,/%-]{0,20}", fullmatch=True)

    @ROUND
    @given(text, st.sampled_from(["http", "grpc"]))
    def search(url: str, protocol: str) -> None:
        with contextlib.suppress(ValueError):
            assert all(str(one) for one in addresses(url, protocol))

    until_the_time_is_over(search)


def test_any_answer_of_a_server_has_an_error() -> None:
    @ROUND
    @given(st.text(max_size=20) | st.integers(0, 999).map(str), st.text(max_size=2000), st.text(max_size=9))
    def search(status: str, message: str, model: str) -> None:
        error = error_of(status, message, "box:1", model)
        assert isinstance(error, EdsrError)
        assert len(str(error)) < 1000
        json.dumps(str(error))

    until_the_time_is_over(search)


def test_any_array_with_any_tiles_comes_back_whole() -> None:
    """Requests are built, cut, answered and put together; every pixel comes from its own place."""
    dtypes = st.sampled_from([np.uint8, np.uint16])

    @ROUND
    @given(
        dtypes,
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        st.integers(0, 4),
        st.none() | st.integers(-1, 120) | st.tuples(st.integers(0, 99), st.integers(0, 99)),
        st.none() | st.just("exact") | st.integers(-1, 30),
        st.integers(1, 4),
    )
    def search(dtype: Any, size: tuple[int, int], channels: int, tile: Any, halo: Any, scale: int) -> None:
        shape = size if channels == 0 else (*size, channels)
        image = np.random.default_rng(7).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        if channels in (2, 4):
            image[..., -1] = np.iinfo(dtype).max
        server = MockTransport(scale=scale, parameters={"tile": "40x30", "halo_px": "5", "max_lr_pixels": "5000"})
        with Upscaler(transport=server) as upscaler:
            try:
                large = upscaler.upscale(image, tile=tile, halo=halo)
            except ValueError:
                return
        assert all(count == 1 and height * width <= 5000 for _, (count, height, width, _) in server.requests)
        assert (large.shape[:2], large.dtype) == ((size[0] * scale, size[1] * scale), dtype)
        if dtype == np.uint8:
            np.testing.assert_array_equal(large, image.repeat(scale, axis=0).repeat(scale, axis=1))

    until_the_time_is_over(search)


@pytest.mark.parametrize("options", [{"scale": 1e-9}, {"max_side": 1}, {"scale": 16}])
def test_extreme_sizes_are_pictures(options: dict[str, Any]) -> None:
    with Upscaler(transport=MockTransport()) as upscaler:
        content, result = upscaler.upscale_bytes(SEEDS[0], finishing=Finishing(**options))
    assert decode(content, "x").size == (result.width, result.height)
