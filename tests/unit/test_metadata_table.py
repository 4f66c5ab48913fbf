"""The table of docs/client.md: what becomes of each kind of metadata in each format of the result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from edsr_client import Finishing, MockTransport, Upscaler
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.unit.metadata_files import (
    EXIF_IFD,
    GPS_IFD,
    MAKE,
    NOTE_TEXT,
    PIXEL_X,
    X_RESOLUTION,
    camera_block,
    extended,
    iptc,
    jpeg_with,
    note_text,
    resource,
)
from tests.unit.picture_files import encoded, opened, photo, profile

DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"
FORMATS = ("JPEG", "PNG", "TIFF", "WebP", "AVIF", "HEIC", "GIF", "BMP")
TITLE = iptc((5, b"Title"), (25, b"sea"))
RESOURCES = resource(0x03ED, b"\x00\x48\0\0\0\1\0\1\x00\x48\0\0\0\1\0\1") + resource(0x0404, TITLE)
LONG = "x" * 90_000


def table() -> dict[str, dict[str, str]]:
    """Cells by row and column, as the document has them."""
    lines = DOCUMENT.read_text().split("### Metadata")[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


def source(kind: str) -> bytes:
    """A file that has one kind of metadata, or EXIF with what belongs to it."""
    main, rest = extended('tiff:Orientation="1" exif:PixelXDimension="36" dc:format="a"', LONG)
    plain = re.sub(rb' xmpNote:HasExtendedXMP="\w+"', b"", main)
    if kind == "texts of PNG":
        text = PngInfo()
        text.add_text("Title", "a title")
        return encoded(photo(), "PNG", pnginfo=text)
    return {
        "EXIF, GPS": jpeg_with(exif=camera_block(note=False)),
        "maker's note": jpeg_with(exif=camera_block(">")),
        "XMP": jpeg_with(xmp=plain),
        "extended XMP": jpeg_with(xmp=main, rest=rest),
        "IPTC, Photoshop's resources": jpeg_with(resources=RESOURCES),
        "ICC profile": jpeg_with(icc_profile=profile("wide")),
        "resolution": encoded(photo(), "PNG", dpi=(200, 100)),
        "comment": jpeg_with(comment=b"a comment"),
    }[kind]


def xmp_of(content: bytes) -> bytes:
    """All of it; the extended part as its segments have it."""
    image = opened(content)
    image.load()
    found: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = found.encode() if isinstance(found, str) else found
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    parts = [data[75:] for _, data in segments if data.startswith(b"http://ns.adobe.com/xmp/e")]
    return bytes(found) + b"".join(parts)


def resources_of(content: bytes) -> bytes:
    """The image resources, read from where the format has them."""
    image = opened(content)
    if image.format == "TIFF":
        return bytes(image.tag_v2.get(34377, b""))  # type: ignore[attr-defined]
    if image.format == "PNG":
        text = image.info.get("Raw profile type iptc", "\n\n0\n")
        return bytes.fromhex(text.split("\n", 3)[3])
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    return b"".join(data[14:] for name, data in segments if name == "APP13")


def look(kind: str, content: bytes) -> str:
    """ "kept", "corrected" or "dropped", by the file alone."""
    image = opened(content)
    exif = image.getexif()
    if kind == "EXIF, GPS":
        is_there = exif.get(MAKE) == "Camera" and exif.get_ifd(GPS_IFD).get(1) == "N"
        assert is_there or not exif
        return "corrected" if exif.get_ifd(EXIF_IFD).get(PIXEL_X) == 108 and is_there else "dropped"
    if kind == "maker's note":
        block = content if image.format == "TIFF" else image.info.get("exif", b"")
        return "kept" if block and note_text(block) == NOTE_TEXT else "dropped"
    if kind in ("XMP", "extended XMP"):
        xmp = xmp_of(content)
        has_all = b'dc:format="a"' in xmp and (kind == "XMP" or LONG.encode() in xmp)
        assert has_all or not xmp
        return "corrected" if b'exif:PixelXDimension="108"' in xmp and has_all else "dropped"
    if kind == "IPTC, Photoshop's resources":
        found = resources_of(content)
        assert not found or TITLE in found
        return "corrected" if b"\x00\xd8\0\0\0\1\0\1\x00\xd8" in found else "dropped"
    if kind == "ICC profile":
        return "kept" if image.info.get("icc_profile") == profile("wide") else "dropped"
    if kind == "resolution":
        dpi = image.info.get("dpi") or (exif.get(X_RESOLUTION, 0), exif.get(X_RESOLUTION + 1, 0))
        return "corrected" if tuple(map(float, dpi)) == pytest.approx((600, 300), rel=0.01) else "dropped"
    value = image.info.get("Title" if kind == "texts of PNG" else "comment")
    return "kept" if value in ("a title", b"a comment") else "dropped"


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("kind", sorted(table()))
def test_each_kind_becomes_what_the_document_says(kind: str, format_: str) -> None:
    if format_ == "HEIC":
        pytest.importorskip("pillow_heif")
    assert set(table()[kind]) == set(FORMATS)
    with Upscaler(transport=MockTransport()) as upscaler:
        content, result = upscaler.upscale_bytes(source(kind), finishing=Finishing(format=format_.lower()))
    assert look(kind, content) == table()[kind][format_]
    assert bool(result.notes) == (table()[kind][format_] == "dropped"), result.notes
    assert len(result.notes) == len(set(result.notes))


@pytest.mark.parametrize("format_", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("kind", sorted(table()))
def test_bands_keep_the_same(kind: str, format_: str, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    name = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF"}[format_]
    path = tmp_path / ("a.png" if source(kind).startswith(b"\x89PNG") else "a.jpg")
    path.write_bytes(source(kind))
    with Upscaler(transport=MockTransport()) as upscaler:
        result = upscaler.upscale_file(path, tmp_path / f"out.{format_}", bands="always")
    expected = "dropped" if (kind, format_) == ("maker's note", "tiff") else table()[kind][name]
    assert look(kind, (tmp_path / f"out.{format_}").read_bytes()) == expected
    assert bool(result.notes) == (expected == "dropped"), result.notes
    with Image.open(tmp_path / f"out.{format_}") as image:
        assert image.size == (108, 72)
        image.load()
