"""GeoTIFF and other tags: the same places on the ground after upscaling, in one piece and in bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from edsr_client import Finishing, MockTransport, Upscaler
from edsr_client.pictures.place import corrected_place
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

SCALE, TIES, MATRIX, KEYS, TEXTS, RPC = 33550, 33922, 34264, 34735, 34737, 50844
EXIF_IFD, GPS_IFD, ORIENTATION = 0x8769, 0x8825, 0x0112
AREA, POINT = 1, 2
Bands = Literal["always", "never"]
BANDS = ["always", "never"]


def keys(raster_type: int) -> tuple[int, ...]:
    return (1, 1, 0, 2, 1024, 0, 1, 2, 1025, 0, 1, raster_type)


def pixels(dtype: Any = np.uint8, channels: int = 3) -> NDArray[Any]:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 56, channels), dtype)
    return image[..., 0] if channels == 1 else image


def geotiff(path: Path, image: NDArray[Any], tags: dict[int, Any]) -> Path:
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    Image.fromarray(image).save(path, tiffinfo=directory)
    return path


def block(tags: dict[int, Any]) -> bytes:
    exif = Image.Exif()
    exif.endian = "<"
    for tag, value in tags.items():
        exif[tag] = value
    return exif.tobytes()


def upscale(source: Path, target: Path, bands: Bands, **options: Any) -> list[str]:
    if bands == "always":
        pytest.importorskip("pyvips")
    with Upscaler(transport=MockTransport()) as upscaler:
        return list(upscaler.upscale_file(source, target, bands=bands, **options).notes)


def tags_of(path: Path) -> dict[int, Any]:
    with Image.open(path) as image:
        return dict(image.tag_v2)


def ground(tags: dict[int, Any], column: float, row: float) -> tuple[float, ...]:
    """Where a corner of the raster lies, by GeoTIFF 1.1 (7.1) and by the linear part of "RPCs in GeoTIFF"."""
    if RPC in tags:
        terms = tags[RPC]
        return ((column - 0.5 - terms[3]) / terms[8], (row - 0.5 - terms[2]) / terms[7])
    half = 0.5 if tags[KEYS][-1] == POINT else 0.0
    column, row = column - half, row - half
    if MATRIX in tags:
        matrix = tags[MATRIX]
        return tuple(matrix[at] * column + matrix[at + 1] * row + matrix[at + 3] for at in (0, 4, 8))
    (across, down, _), (column0, row0, _, x, y, _) = tags[SCALE], tags[TIES]
    return (x + (column - column0) * across, y - (row - row0) * down)


@given(
    st.sampled_from([AREA, POINT]),
    st.sampled_from(["scale", "matrix", "rpc"]),
    st.tuples(st.floats(0.5, 4), st.floats(0.5, 4)),
    st.tuples(st.floats(0, 5000), st.floats(0, 5000)),
    st.lists(st.floats(0.5, 900), min_size=16, max_size=16),
)
def test_every_corner_stays_where_it_was(
    raster_type: int, form: str, factors: tuple[float, float], corner: tuple[float, float], numbers: list[float]
) -> None:
    tags: dict[int, Any] = {KEYS: keys(raster_type)}
    if form == "scale":
        tags |= {SCALE: tuple(numbers[:3]), TIES: tuple(numbers[3:9])}
    elif form == "matrix":
        tags[MATRIX] = tuple(numbers)
    else:
        tags[RPC] = tuple(numbers) + (1.0,) * 76
    new = tags | corrected_place(tags, factors)
    expected = ground(tags, *corner)
    assert ground(new, corner[0] * factors[0], corner[1] * factors[1]) == pytest.approx(expected, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 1), (np.uint16, 3)])
def test_a_geotiff_stays_one(tmp_path: Path, bands: Bands, dtype: Any, channels: int) -> None:
    tags = {SCALE: (3.0, 6.0, 0.0), TIES: (10.0, 20.0, 0.0, 500.0, 900.0, 0.0), KEYS: keys(POINT), TEXTS: "WGS 84|"}
    if (dtype, channels) == (np.uint16, 3):  # which Pillow does not write
        pyvips = pytest.importorskip("pyvips")
        from edsr_client.bands.tiff_tags import add_tags

        pyvips.Image.new_from_array(pixels(dtype, channels)).tiffsave(str(tmp_path / "a.tif"))
        add_tags(tmp_path / "a.tif", block(tags))
    else:
        geotiff(tmp_path / "a.tif", pixels(dtype, channels), tags)
    assert upscale(tmp_path / "a.tif", tmp_path / "out.tif", bands) == []
    found = tags_of(tmp_path / "out.tif")
    assert found[SCALE] == (1.0, 2.0, 0.0)
    assert found[TIES] == (31.0, 61.0, 0.0, 500.0, 900.0, 0.0)
    assert (found[KEYS], found[TEXTS]) == (keys(POINT), "WGS 84|")


@pytest.mark.parametrize("bands", BANDS)
def test_a_place_can_be_stripped(tmp_path: Path, bands: Bands) -> None:
    source = geotiff(tmp_path / "a.tif", pixels(), {SCALE: (3.0, 6.0, 0.0), KEYS: keys(AREA)})
    upscale(source, tmp_path / "out.tif", bands, finishing=Finishing(strip_metadata=True))
    assert not {SCALE, KEYS} & tags_of(tmp_path / "out.tif").keys()


@pytest.mark.parametrize("bands", BANDS)
def test_a_place_that_makes_no_sense_is_dropped_and_said(tmp_path: Path, bands: Bands) -> None:
    source = geotiff(tmp_path / "a.tif", pixels(), {SCALE: (3.0,), KEYS: keys(AREA)})
    assert upscale(source, tmp_path / "out.tif", bands) == [
        "the geo-tags that count in pixels are broken and were dropped"
    ]
    assert SCALE not in tags_of(tmp_path / "out.tif")


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_turned_once_and_loses_its_place(tmp_path: Path, bands: Bands, orientation: int) -> None:
    tags = {ORIENTATION: orientation, SCALE: (3.0, 6.0, 0.0), KEYS: keys(AREA)}
    source = geotiff(tmp_path / "a.tif", pixels(), tags)
    notes = upscale(source, tmp_path / "out.tif", bands)
    with Image.open(source) as image:
        expected = np.asarray(image).repeat(3, 0).repeat(3, 1)
    with Image.open(tmp_path / "out.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
    found = tags_of(tmp_path / "out.tif")
    assert found.get(ORIENTATION, 1) == 1
    assert (SCALE in found) == (orientation == 1)
    assert [note for note in notes if "geo-tags" in note] == notes
    assert bool(notes) == (orientation != 1)


@pytest.mark.parametrize("bands", BANDS)
def test_exif_is_in_a_tiff_and_no_resolution_is_invented(tmp_path: Path, bands: Bands) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif.get_ifd(EXIF_IFD)[0x829A] = 0.01
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (1.0, 2.0, 3.0)})
    exif.endian = ">"
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif.tobytes())
    assert upscale(tmp_path / "a.png", tmp_path / "out.tif", bands) == []
    with Image.open(tmp_path / "out.tif") as image:
        found = image.getexif()
        assert found[0x010F] == "a maker"
        assert found.get_ifd(EXIF_IFD)[0x829A] == pytest.approx(0.01)
        assert found.get_ifd(GPS_IFD) == {1: "N", 2: (1.0, 2.0, 3.0)}
        assert 282 not in tags_of(tmp_path / "out.tif")


@pytest.mark.parametrize("big", [False, True])
def test_tags_are_put_into_both_kinds_of_tiff(tmp_path: Path, big: bool) -> None:
    pyvips = pytest.importorskip("pyvips")
    from edsr_client.bands.tiff_tags import add_tags

    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(pixels()).tiffsave(str(path), bigtiff=big, compression="deflate", tile=True)
    assert (path.read_bytes()[2] == 43) is big
    nested = {EXIF_IFD: {0x9003: "2020:01:01 00:00:00", 0xA005: {1: "R98"}}}
    add_tags(path, block({SCALE: (1.5, 2.5, 0.0), 270: "x", 271: "four or more", **nested}), drop=(282, 283))
    found = tags_of(path)
    assert (found[SCALE], found[270], found[271]) == ((1.5, 2.5, 0.0), "x", "four or more")
    assert 282 not in found
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif.get_ifd(EXIF_IFD)[0x9003] == "2020:01:01 00:00:00"
        assert exif.get_ifd(0xA005) == {1: "R98"}
        np.testing.assert_array_equal(np.asarray(image), pixels())
    np.testing.assert_array_equal(pyvips.Image.new_from_file(str(path)).numpy(), pixels())
    for content in (b"MM\0\x2a\0\0\0\x08\0\0", b"\x89PNG", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="little-endian"):
            add_tags(path, None)
