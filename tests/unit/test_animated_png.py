"""Animated PNG of every mode: each frame as Pillow shows it; with 16 bits as the specification composes it."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_client import BadImageError, Finishing, MockTransport, Upscaler
from edsr_client.pictures.decode import decode
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.unit.picture_files import png_chunk

HEIGHT, WIDTH, COUNT = 18, 26, 4
DISPOSALS, BLENDS = (0, 1, 2), (0, 1)
DURATIONS = [100.0, 250.0, 40.0, 500.0]
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
TOP = 65_535


def frames_of(mode: str) -> list[Image.Image]:
    """A patch that moves over a gradient; transparent parts where the mode has them."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    frames = []
    for index in range(COUNT):
        rgb = np.stack([x * 9, y * 13, np.full_like(x, 60 * index)], 2).astype(np.uint8)
        rgb[4:9, 3 + 5 * index : 9 + 5 * index] = (250, 20 * index, 90)
        alpha = np.where((x + 7 * index) % 23 < 6, 0, 255).astype(np.uint8)
        alpha[10:14, 5:20] = 90
        image = Image.fromarray(np.dstack([rgb, alpha]), "RGBA")
        frames.append(image.convert("LA") if mode == "LA" else image if mode == "RGBA" else image.convert("RGB"))
    if mode.startswith("P"):
        palette = frames[0].quantize(32)
        frames = [frame.quantize(palette=palette) for frame in frames]
    elif mode in ("1", "L"):
        frames = [frame.convert(mode) for frame in frames]
    return frames


def file_of(mode: str, disposal: int, blend: int, hidden: bool) -> bytes:
    if mode in ("1", "L", "P", "P+tRNS"):
        return file_of_one_channel(mode, disposal, blend, hidden)
    frames, info, file = frames_of(mode), PngInfo(), io.BytesIO()
    info.add_text("Title", "moves")
    shown = frames[1:] if hidden else frames
    frames[0].save(
        file,
        "PNG",
        save_all=True,
        append_images=frames[1:],
        default_image=hidden,
        disposal=disposal,
        blend=blend,
        duration=DURATIONS[: len(shown)],
        loop=3,
        pnginfo=info,
    )
    return file.getvalue()


def file_of_one_channel(mode: str, disposal: int, blend: int, hidden: bool) -> bytes:
    """Pillow does not write these with every disposal."""
    images = frames_of(mode)
    whole = [np.asarray(image)[..., None] for image in images]
    frames = [(whole[hidden], (0, 0), disposal, blend)]
    frames += [(image[2:12, 4:20], (3 + 2 * k, 5), disposal, blend) for k, image in enumerate(whole[1 + hidden :])]
    chunks = [(b"PLTE", bytes(images[0].getpalette() or ()))] if mode[0] == "P" else []
    chunks += [(b"tRNS", bytes([0, 90, 255, 128]))] if mode == "P+tRNS" else []
    delays = [(round(duration), 1000) for duration in DURATIONS]
    text = (b"tEXt", b"Title\0moves")
    return animation(
        3 if mode[0] == "P" else 0, frames, whole[0] if hidden else None, *chunks, text, delays=delays, plays=3
    )


def seen_by_pillow(content: bytes, hidden: bool) -> list[NDArray[Any]]:
    """Every frame as RGBA."""
    with Image.open(io.BytesIO(content)) as image:
        frames = []
        for index in range(int(hidden), int(getattr(image, "n_frames", 1))):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGBA")))
    return frames


def as_rgba(frame: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(Image.fromarray(frame).convert("RGBA"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P+tRNS", "RGB", "RGBA"])
def test_frames_are_those_that_pillow_shows(mode: str) -> None:
    for disposal, blend, hidden in itertools.product(DISPOSALS, BLENDS, (False, True)):
        content = file_of(mode, disposal, blend, hidden)
        picture, wanted = decode(content, "a.png"), seen_by_pillow(content, hidden)
        assert len(wanted) == COUNT - hidden
        for found, frame in zip(picture.frames, wanted, strict=True):
            np.testing.assert_array_equal(as_rgba(found), frame, f"{disposal} {blend} {hidden}")
        assert picture.durations_ms == tuple(DURATIONS[: COUNT - hidden])
        assert picture.loop == 3
        assert ("Title", "moves") in picture.metadata.text
        for index, frame in enumerate(wanted):
            np.testing.assert_array_equal(as_rgba(decode(content, "a.png", frame=index).frames[0]), frame)
        with pytest.raises(BadImageError, match=f"no frame {len(wanted)}; it has {len(wanted)}"):
            decode(content, "a.png", frame=len(wanted))


def test_a_palette_animation_is_upscaled_in_colour() -> None:
    frames = [image.rotate(angle) for image, angle in zip(frames_of("P"), (0, 90, 180, 270), strict=True)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=200)
    for format_ in ("png", "webp", "gif"):
        answer, result = upscale(file.getvalue(), format=format_, quality=100)
        assert result.frames == COUNT
        found = decode(answer, "out").frames
        for low, high in zip(frames, found, strict=True):
            difference = np.abs(as_rgba(high)[1::3, 1::3].astype(int) - np.asarray(low.convert("RGBA")))
            assert difference.max() <= (40 if format_ == "gif" else 0)


def test_a_hidden_picture_stays_hidden_in_the_result() -> None:
    frames = [Image.new("RGBA", (WIDTH, HEIGHT), (255, 40 * index, 0, 255)) for index in range(COUNT)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], default_image=True, duration=[100, 200, 300])
    answer, result = upscale(file.getvalue(), format="png")
    with Image.open(io.BytesIO(answer)) as image:
        assert (image.n_frames, result.frames) == (3, 3)
        assert not image.default_image
    found = decode(answer, "out")
    assert found.durations_ms == (100, 200, 300)
    assert [tuple(frame[0, 0, :3]) for frame in found.frames] == [(255, 40, 0), (255, 80, 0), (255, 120, 0)]


def test_an_animation_of_one_frame_behind_a_hidden_picture_is_that_frame() -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (level, 0, 0)) for level in (10, 200)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], default_image=True)
    picture = decode(file.getvalue(), "a.png")
    assert [frame[0, 0, 0] for frame in picture.frames] == [200]
    assert not picture.is_animation


def upscale(content: bytes, **options: Any) -> tuple[bytes, Any]:
    with Upscaler(transport=MockTransport()) as upscaler:
        return upscaler.upscale_bytes(content, finishing=Finishing(**options))


# --- 16 bits ----------------------------------------------------------------------------------------------------------


def deep_frame(colour_type: int, index: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[Any]:
    """uint16 [H, W, C], with levels between those of 8 bits."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 2391 + y * 577 * (k + 1) + 9001 * index) % 65_536 for k in range(CHANNELS[colour_type])]
    if colour_type in (4, 6):
        planes[-1] = np.where((x + 3 * index) % 9 < 3, 0, np.where(y % 5 == 0, 30_000, TOP))
    return np.stack(planes, 2).astype(np.uint16)


def packed(image: NDArray[Any]) -> bytes:
    if image.dtype == bool:
        image = np.packbits(image[..., 0], axis=1)
    return zlib.compress(b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in image))


Moving = tuple[NDArray[Any], tuple[int, int], int, int]


def animation(
    colour_type: int,
    frames: Sequence[Moving],
    hidden: NDArray[Any] | None = None,
    *chunks: tuple[bytes, bytes],
    delays: Sequence[tuple[int, int]] = ((1, 10),) * COUNT,
    plays: int = 2,
) -> bytes:
    """A file of (pixels, (left, top), disposal, blend)."""
    depth = 1 if frames[0][0].dtype == bool else 8 * frames[0][0].dtype.itemsize
    out = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour_type, 0, 0, 0)), *chunks]
    out.append((b"acTL", struct.pack(">II", len(frames), plays)))
    number = 0
    if hidden is not None:
        out.append((b"IDAT", packed(hidden)))
    for index, (image, (left, top), disposal, blend) in enumerate(frames):
        place = (image.shape[1], image.shape[0], left, top)
        out.append((b"fcTL", struct.pack(">IIIIIHHBB", number, *place, *delays[index], disposal, blend)))
        number += 1
        data = packed(image)
        if index == 0 and hidden is None:
            out.append((b"IDAT", data))
            continue
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):  # a frame may come in pieces
            out.append((b"fdAT", struct.pack(">I", number) + part))
            number += 1
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*one) for one in [*out, (b"IEND", b"")])


def composed(colour_type: int, frames: Sequence[Moving]) -> list[NDArray[np.float64]]:
    """What is to be seen, as premultiplied colour with alpha from 0 to 1: the specification's own words."""
    colours = 3 if colour_type in (2, 6) else 1
    canvas = np.zeros((HEIGHT, WIDTH, colours + 1))
    shown = []
    for index, (image, (left, top), disposal, blend) in enumerate(frames):
        share = image / TOP
        alpha = share[..., colours:] if colour_type in (4, 6) else np.ones((*share.shape[:2], 1))
        above = np.concatenate([share[..., :colours] * alpha, alpha], 2)
        area = np.s_[top : top + image.shape[0], left : left + image.shape[1]]
        before = canvas.copy()
        canvas[area] = above if blend == 0 else above + canvas[area] * (1 - above[..., -1:])
        shown.append(canvas.copy())
        if disposal == 2 and index:
            canvas = before
        elif disposal:
            canvas[area] = 0
    return shown


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("colour_type", CHANNELS)
def test_16_bits_are_composed_in_16_bits(colour_type: int, hidden: bool) -> None:
    for disposal, blend in itertools.product(DISPOSALS, BLENDS):
        first = deep_frame(colour_type, 0)
        moving = [(deep_frame(colour_type, k, 7, 11), (2 * k, 3 * k), disposal, blend) for k in (1, 2, 3)]
        frames = [(first, (0, 0), disposal, blend), *moving]
        content = animation(colour_type, frames, deep_frame(colour_type, 9) if hidden else None)
        picture = decode(content, "a.png")
        assert picture.durations_ms == (100,) * COUNT
        assert picture.loop == 2
        for found, wanted in zip(picture.frames, composed(colour_type, frames), strict=True):
            assert found.dtype == np.uint16
            share = (found[..., None] if found.ndim == 2 else found) / TOP
            if share.shape[2] in (1, 3):
                share = np.concatenate([share, np.ones((*share.shape[:2], 1))], 2)
            share[..., :-1] *= share[..., -1:]
            assert np.abs(share - wanted).max() < 1.5 / TOP
        np.testing.assert_array_equal(decode(content, "a.png", frame=2).frames[0], picture.frames[2])


def test_one_deep_frame_of_an_animation_keeps_its_bits_in_the_result(tmp_path: Path) -> None:
    frames = [(deep_frame(6, k), (0, 0), 0, 0) for k in range(3)]
    (tmp_path / "a.png").write_bytes(animation(6, frames))
    with Upscaler(transport=MockTransport()) as upscaler:
        upscaler.upscale_file(tmp_path / "a.png", tmp_path / "one.png", frame=1)
        result = upscaler.upscale_file(tmp_path / "a.png", tmp_path / "all.png")
    one = decode((tmp_path / "one.png").read_bytes(), "one.png").frames[0]
    assert one.dtype == np.uint16
    np.testing.assert_array_equal(one[1::3, 1::3, 3], frames[1][0][..., 3])
    together = decode((tmp_path / "all.png").read_bytes(), "all.png").frames
    assert len({frame.tobytes() for frame in together}) == 3
    assert result.notes == ["16 bits per channel became 8 in PNG; single pictures in PNG and TIFF keep them"]


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_transparent_colour_of_16_bits_becomes_alpha(colour_type: int) -> None:
    image = deep_frame(colour_type, 0)
    image[:6] = 40_000
    image[6] = 40_001  # the same in 8 bits
    transparent = (b"tRNS", struct.pack(f">{CHANNELS[colour_type]}H", *[40_000] * CHANNELS[colour_type]))
    header = (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour_type, 0, 0, 0))
    chunks = [header, transparent, (b"IDAT", packed(image)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*one) for one in chunks)
    found = decode(content, "a.png").frames[0]
    np.testing.assert_array_equal(found[..., :-1], image)
    assert (found[:6, :, -1] == 0).all()
    assert (found[6:, :, -1] == TOP).all()
    answer, _ = upscale(content, format="png")
    alpha = decode(answer, "out").frames[0][..., -1]
    assert (alpha[:18] == 0).all()
    assert (alpha[18:] == TOP).all()
    moving = animation(colour_type, [(image, (0, 0), 0, 0), (image[::-1], (0, 0), 0, 0)], None, transparent)
    assert (decode(moving, "a.png").frames[1][-6:, :, -1] == 0).all()


@pytest.mark.parametrize("cut", [40, 300, 1000])
def test_damage_in_deep_animations_is_found(cut: int) -> None:
    content = animation(2, [(deep_frame(2, k), (0, 0), 0, 0) for k in range(3)])
    with pytest.raises(BadImageError, match="damaged or truncated"):
        decode(content[:-cut], "a.png")
    flipped = bytearray(content)
    flipped[-cut] ^= 0xFF
    with pytest.raises(BadImageError, match="damaged or truncated"):
        decode(bytes(flipped), "a.png")
