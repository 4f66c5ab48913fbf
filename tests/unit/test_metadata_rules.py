"""Metadata that upscaling makes untrue, that is broken, or that points to what is not kept."""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from edsr_client import Finishing, MockTransport, Upscaler
from edsr_client.pictures.decode import decode
from edsr_client.pictures.encode import check_metadata
from edsr_client.pictures.formats import FORMATS
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.metadata_files import (
    EXIF_IFD,
    EXPOSURE,
    FOCAL_X,
    MAKE,
    NOTE_TEXT,
    ORIENTATION,
    PIXEL_X,
    SHORT,
    SUBJECT_AREA,
    USER_COMMENT,
    X_RESOLUTION,
    block,
    camera_block,
    extended,
    iptc,
    jpeg,
    jpeg_with,
    note_text,
    numbers,
    packet,
    png_with,
    raw_profile,
    resource,
    segment,
    text,
)
from tests.unit.picture_files import encoded, opened, photo

NOTE = b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
SAMSUNG = b"SEFH" + struct.pack("<IIHHIII", 107, 1, 0, 0x0A30, 99, 99, 24) + b"SEFT"
TITLE = iptc((5, b"Title"), (25, b"sea"))


def upscale(content: bytes, format_: str) -> tuple[bytes, list[str]]:
    with Upscaler(transport=MockTransport()) as upscaler:
        answer, result = upscaler.upscale_bytes(content, finishing=Finishing(format=format_))
    return answer, list(result.notes)


def xmp_after(content: bytes, format_: str = "webp") -> tuple[str, list[str]]:
    answer, notes = upscale(content, format_)
    return opened(answer).info.get("xmp", b"").decode(), notes


# --- EXIF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", "<>")
def test_only_the_bytes_of_corrected_values_change(order: str) -> None:
    before = camera_block(order)
    answer, notes = upscale(jpeg_with(exif=before), "jpeg")
    after = opened(answer).info["exif"]
    assert len(after) == len(before)
    changed = {at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert len(changed) <= 4 * 2 + 2 * 2 + 3 * 8  # subject, two sizes, three resolutions
    assert note_text(after) == NOTE_TEXT
    details = opened(answer).getexif().get_ifd(EXIF_IFD)
    assert details[SUBJECT_AREA] == (27, 18, 12, 6)
    assert float(details[FOCAL_X]) == 3000
    assert notes == []


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_maker_s_note_is_true_or_gone_and_that_is_said(source: str) -> None:
    content = encoded(photo(), source, exif=camera_block("<"))
    answer, notes = upscale(content, "tiff")
    if source == "TIFF":  # Pillow moved it, and so does every writer
        assert note_text(answer) is None
        assert any("maker's note" in note for note in notes)
    else:
        assert note_text(answer) == NOTE_TEXT
        assert notes == []
    assert opened(answer).getexif()[MAKE] == "Camera"


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, (27, 18, 12, 6)), (3, (78, 51, 12, 6)), (6, (51, 27, 6, 12)), (8, (18, 78, 6, 12))],
)
def test_the_place_of_the_subject_turns_with_the_picture(orientation: int, expected: tuple[int, ...]) -> None:
    answer, _ = upscale(jpeg_with(exif=camera_block(">", orientation)), "jpeg")
    exif = opened(answer).getexif()
    assert exif[ORIENTATION] == 1
    assert exif.get_ifd(EXIF_IFD)[SUBJECT_AREA] == expected


BROKEN: dict[str, Callable[[str], bytes]] = {
    "an orientation of letters": lambda o: block(o, [text(MAKE, b"Camera"), text(ORIENTATION, b"top")], shared(o)),
    "two orientations": lambda o: block(o, [text(MAKE, b"Camera"), numbers(o, ORIENTATION, SHORT, 6, 6)], shared(o)),
    "an unknown type": lambda o: block(o, [text(MAKE, b"Camera"), (0x0131, 99, 5, b"12345")], shared(o)),
    "a value behind the end": lambda o: moved(o, USER_COMMENT, 60_000),
    "a value of gigabytes": lambda o: block(o, [text(MAKE, b"Camera"), (0x0131, 2, 2**31, b"ab")], shared(o)),
    "a size of letters": lambda o: block(o, [text(MAKE, b"Camera")], [*shared(o), text(PIXEL_X, b"wide")]),
    "a directory in itself": lambda o: block(o, [text(MAKE, b"Camera"), numbers(o, 0x8825, 4, 8)], shared(o)),
}


def shared(order: str) -> list[Any]:
    return [numbers(order, EXPOSURE, 5, 1, 100), (USER_COMMENT, 7, 12, b"ASCII\0\0\0note")]


def moved(order: str, tag: int, where: int) -> bytes:
    """A block in which a value of EXIF's directory lies elsewhere."""
    content = bytearray(block(order, [text(MAKE, b"Camera")], shared(order)))
    at = content.index(struct.pack(order + "HH", tag, 7), 6)
    struct.pack_into(order + "L", content, at + 8, where)
    return bytes(content)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("format_", ["jpeg", "tiff", "avif"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_value_is_dropped_alone_and_said(case: str, format_: str, order: str) -> None:
    answer, notes = upscale(jpeg_with(exif=BROKEN[case](order)), format_)
    exif = opened(answer).getexif()
    assert exif[MAKE] == "Camera"
    assert float(exif.get_ifd(EXIF_IFD)[EXPOSURE]) == pytest.approx(0.01)
    assert [note for note in notes if "broken in places" in note and "the rest kept" in note] == notes != []


def test_a_denominator_of_zero_and_a_wrong_mark_of_the_byte_order_do_not_matter() -> None:
    rows = [text(MAKE, b"Camera"), numbers("<", X_RESOLUTION, 5, 72, 0)]
    answer, notes = upscale(jpeg_with(exif=block("<", rows, [])), "jpeg")
    assert dict(opened(answer).getexif()) == {MAKE: "Camera"}
    odd = camera_block("<").replace(b"II\x2a\0", b"I \x2a\0", 1)
    answer, more = upscale(jpeg_with(exif=odd), "jpeg")
    assert opened(answer).getexif()[MAKE] == "Camera"
    assert notes == more == []


@given(st.lists(st.tuples(st.integers(6, 400), st.integers(0, 255)), max_size=12), st.sampled_from("<>"))
def test_no_block_stops_a_picture(changes: list[tuple[int, int]], order: str) -> None:
    content = bytearray(camera_block(order))
    for at, byte in changes:
        content[at % len(content)] = byte
    picture = decode(jpeg_with(exif=bytes(content)), "a.jpg")
    for format_ in ("jpeg", "tiff"):
        check_metadata(picture, FORMATS[format_])


@pytest.mark.parametrize("name", ["exif", "APP1"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_exif_in_a_raw_profile_of_png_is_applied_and_kept(name: str, packed: bool, late: bool) -> None:
    content = png_with(raw_profile(name, camera_block(">", 6), packed), late=late)
    answer, notes = upscale(content, "png")
    image = opened(answer)
    image.load()
    assert image.size == (72, 108)
    np.testing.assert_array_equal(np.asarray(image)[::3, ::3], np.rot90(photo(), -1))
    assert (image.getexif()[ORIENTATION], image.getexif()[MAKE]) == (1, "Camera")
    assert note_text(image.info["exif"]) == NOTE_TEXT
    assert notes == []


def test_exif_of_png_behind_the_pixels_and_in_bands_is_applied(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    (tmp_path / "a.png").write_bytes(png_with((b"eXIf", camera_block("<", 8)[6:]), late=True))
    with Upscaler(transport=MockTransport()) as upscaler:
        upscaler.upscale_file(tmp_path / "a.png", tmp_path / "b.png", bands="always")
    image = opened((tmp_path / "b.png").read_bytes())
    assert (image.size, image.getexif()[ORIENTATION]) == ((72, 108), 1)


def test_exif_over_64_kb_loses_its_largest_values_in_jpeg_and_that_is_known_before() -> None:
    rows = [text(MAKE, b"Camera"), numbers("<", ORIENTATION, SHORT, 6)]
    content = encoded(photo(), "WEBP", exif=block("<", rows, [(USER_COMMENT, 7, 80_000, bytes(80_000))]))
    expected = ["EXIF is larger than the 64 KB that JPEG can hold: UserComment (80,000 bytes) dropped"]
    assert check_metadata(decode(content, "a.webp"), FORMATS["jpeg"]) == expected
    answer, notes = upscale(content, "jpeg")
    assert notes == expected
    assert opened(answer).getexif()[MAKE] == "Camera"
    assert len(opened(upscale(content, "png")[0]).getexif().get_ifd(EXIF_IFD)[USER_COMMENT]) == 80_000


def test_a_resolution_is_kept_in_formats_without_a_field_for_it_or_missed_aloud() -> None:
    rows = [text(MAKE, b"Camera")]
    for note in (False, True):
        content = encoded(photo(), "PNG", dpi=(200, 200), exif=block("<", rows, [], note=note))
        answer, notes = upscale(content, "webp")
        exif = opened(answer).getexif()
        assert exif[MAKE] == "Camera"
        assert (exif.get(X_RESOLUTION) is None) == note
        assert [one for one in notes if "resolution was dropped" in one] == notes
        assert bool(notes) == note


def test_the_subject_turns_with_a_picture_that_the_decoder_has_turned() -> None:
    pytest.importorskip("pillow_heif")
    answer, notes = upscale(encoded(photo(), "HEIF", exif=camera_block("<", 6)), "jpeg")
    assert opened(answer).size == (72, 108)
    exif = opened(answer).getexif()
    assert (exif[ORIENTATION], exif.get_ifd(EXIF_IFD)[SUBJECT_AREA]) == (1, (51, 27, 6, 12))
    assert note_text(opened(answer).info["exif"]) == NOTE_TEXT
    assert notes == []


# --- XMP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_in_xmp_alone_is_not_applied_and_becomes_1(source: str) -> None:
    xmp = packet('tiff:Orientation="6"')
    content = {
        "JPEG": jpeg_with(xmp=xmp),
        "PNG": png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)),
        "WEBP": encoded(photo(), "WEBP", xmp=xmp),
    }[source]
    answer, notes = upscale(content, "webp")
    assert opened(answer).size == (108, 72)
    assert b'tiff:Orientation="1"' in opened(answer).info["xmp"]
    assert notes == ["the orientation 6, which stands in the XMP alone, was not applied and became 1"]


@pytest.mark.parametrize("form", ['tiff:Orientation="6"', "tiff:Orientation='6'", ""])
def test_xmp_follows_what_exif_says(form: str) -> None:
    elements = "" if form else "<tiff:Orientation>6</tiff:Orientation>"
    xmp, notes = xmp_after(jpeg_with(exif=camera_block("<", 6), xmp=packet(form, elements)))
    assert re.findall(r"Orientation\W+(\d)", xmp) == ["1"]
    assert notes == []


def test_regions_turn_with_the_picture() -> None:
    area = 'stArea:x="0.25" stArea:y="0.1" stArea:w="0.2" stArea:h="0.4" stArea:unit="normalized"'
    regions = (
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="36" stDim:h="24" '
        'stDim:unit="pixel"/><mwg-rs:RegionList><rdf:Bag><rdf:li rdf:parseType="Resource"><mwg-rs:Name>A</mwg-rs:Name>'
        f"<mwg-rs:Area {area}/></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
    )
    xmp, _ = xmp_after(jpeg_with(exif=camera_block("<", 6), xmp=packet("", regions)))
    found = dict(re.findall(r'st(?:Area|Dim):(\w)="([\d.]+)"', re.sub(r"<mwg-rs:Applied.*?/>", "", xmp)))
    assert found == {"x": "0.9", "y": "0.25", "w": "0.4", "h": "0.2"}
    assert 'stDim:w="72" stDim:h="108"' in xmp


def test_counts_of_a_panorama_are_those_of_the_new_picture() -> None:
    content = jpeg_with(xmp=packet('GPano:FullPanoWidthPixels="72" GPano:CroppedAreaTopPixels="5" GPano:Other="7"'))
    xmp, notes = xmp_after(content)
    assert re.findall(r'GPano:(\w+)="(\d+)"', xmp) == [
        ("FullPanoWidthPixels", "216"),
        ("CroppedAreaTopPixels", "15"),
        ("Other", "7"),
    ]
    assert notes == []


ITEMS = (
    "<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'><Container:Item Item:Mime='{0}' "
    "Item:Semantic='{1}' Item:Length='5000'/></rdf:li></rdf:Seq></Container:Directory>"
)


@pytest.mark.parametrize(
    ("attributes", "elements", "said"),
    [
        ('GCamera:MotionPhoto="1" GCamera:MotionPhotoPresentationTimestampUs="500"', "", "motion photo"),
        ('GCamera:MicroVideo="1" GCamera:MicroVideoOffset="5000"', "", "motion photo"),
        ("", "<GCamera:MotionPhoto>1</GCamera:MotionPhoto>", "motion photo"),
        ("", ITEMS.format("video/mp4", "MotionPhoto"), "motion photo"),
        ('hdrgm:Version="1.0"', ITEMS.format("image/jpeg", "GainMap"), "gain map"),
        ('GDepth:Format="RangeInverse" GDepth:Near="1"', "", "depth maps"),
    ],
)
def test_what_points_to_a_companion_that_is_not_kept_is_gone_and_said(
    attributes: str, elements: str, said: str
) -> None:
    xmp, notes = xmp_after(jpeg_with(xmp=packet(f'dc:format="a" {attributes}', elements), tail=bytes(5000)))
    assert len(notes) == 1
    assert said in notes[0]
    rest = re.sub(r'xmlns:[\w-]+="[^"]*"', "", xmp)
    assert 'dc:format="a"' in rest
    assert not re.search("GCamera|Container|Item|hdrgm|GDepth", rest)


def test_a_camera_that_says_there_is_no_motion_is_believed() -> None:
    assert upscale(jpeg_with(xmp=packet('GCamera:MotionPhoto="0"')), "jpeg")[1] == []


def test_xmp_over_64_kb_is_one_packet_and_in_jpeg_two_again() -> None:
    value = "y" * 70_000 + "&lt;"
    main, rest = extended('dc:format="a"', value)
    content = jpeg_with(xmp=main, rest=rest)
    xmp, notes = xmp_after(content)
    assert value in xmp
    assert "HasExtendedXMP" not in xmp
    answer, more = upscale(content, "jpeg")
    image: Any = opened(answer)
    parts = [data[35:] for _, data in image.applist if data.startswith(b"http://ns.adobe.com/xmp/extension/\0")]
    joined = b"".join(part[40:] for part in parts)
    name = hashlib.md5(joined).hexdigest().upper().encode()  # noqa: S324
    assert value.encode() in joined
    assert {part[:32] for part in parts} == {name}
    assert [struct.unpack(">II", part[32:40]) for part in parts] == [
        (len(joined), 0),
        (len(joined), len(parts[0]) - 40),
    ]
    assert b'xmpNote:HasExtendedXMP="' + name in image.info["xmp"]
    again, _ = xmp_after(answer)
    assert value in again
    assert notes == more == []


def test_long_xmp_of_png_is_divided_in_jpeg_whoever_wrote_it() -> None:
    attribute = packet(f'dc:format="{"z" * 80_000}" dc:source="b"').replace(NOTE, b"")
    element = packet('dc:source="b"', f"<my:Data><rdf:Bag><rdf:li>{'z' * 80_000}</rdf:li></rdf:Bag></my:Data>")
    for xmp in (attribute, element.replace(NOTE, b"")):
        content = png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
        answer, notes = upscale(content, "jpeg")
        again, more = xmp_after(answer)
        assert "z" * 80_000 in again
        assert 'dc:source="b"' in again
        assert notes == more == []


@pytest.mark.parametrize("loss", ["all", "one"])
def test_a_flag_of_extended_xmp_that_is_not_there_is_dropped_and_said(loss: str) -> None:
    main, rest = extended('dc:format="a"', "y" * 70_000)
    content = jpeg_with(xmp=main) if loss == "all" else jpeg_with(xmp=main, rest=rest).replace(b"y" * 100, b"z", 1)
    if loss == "one":
        content = jpeg_with(xmp=main, rest=rest)
        start = content.index(b"\xff\xe1", content.index(b"xmp/extension/"))
        end = content.index(b"\xff\xe0", start)
        content = content[:start] + content[end:]
    xmp, notes = xmp_after(content)
    assert "HasExtendedXMP" not in xmp
    assert 'dc:format="a"' in xmp
    assert notes == ["the extended part of the XMP is not in the file, or damaged: its flag was dropped"]


def test_xmp_that_is_no_xml_is_dropped_and_said() -> None:
    for xmp in (b"<x:xmpmeta>", packet("").replace(b"<x:xmp", b'<!DOCTYPE a [<!ENTITY b "c">]><x:xmp', 1), b"\xff\xff"):
        answer, notes = upscale(jpeg_with(xmp=xmp), "jpeg")
        assert "xmp" not in opened(answer).info
        assert notes == ["the XMP is broken and was dropped"]


def test_xmp_in_utf_16_is_read() -> None:
    xmp, notes = xmp_after(encoded(photo(), "WEBP", xmp=packet('dc:format="a"').decode().encode("utf-16-be")))
    assert 'dc:format="a"' in xmp
    assert notes == []


# --- IPTC, Photoshop, others -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["iptc", "iptc as numbers", "photoshop"])
def test_iptc_of_a_tiff_file_is_kept(kind: str) -> None:
    padded = TITLE + bytes(-len(TITLE) % 4)
    tag: Any = {
        "iptc": (33723, 7, len(TITLE), TITLE, True),
        "iptc as numbers": (33723, 4, len(padded) // 4, struct.unpack(f"<{len(padded) // 4}I", padded), True),
        "photoshop": (34377, 1, len(resource(0x0404, TITLE)), resource(0x0404, TITLE), True),
    }[kind]
    file = io.BytesIO()
    tifffile.imwrite(file, photo(), extratags=[tag], metadata=None)
    answer, notes = upscale(file.getvalue(), "jpeg")
    assert opened(answer).info["photoshop"][0x0404].startswith(TITLE)
    assert notes == []


def test_thumbnails_guides_and_previews_of_photoshop_are_gone_and_the_rest_stays() -> None:
    data = TITLE + iptc((202, b"a preview"))
    paths = resource(0x07D0, b"p" * 26)
    parts = resource(0x040C, b"thumbnail") + resource(0x0404, data) + resource(0x040B, b"http://a") + paths
    answer, notes = upscale(jpeg_with(resources=parts), "jpeg")
    assert opened(answer).info["photoshop"] == {0x0404: TITLE, 0x040B: b"http://a", 0x07D0: b"p" * 26}
    assert notes == []
    answer, notes = upscale(jpeg_with(exif=camera_block("<", 6), resources=parts), "jpeg")
    assert 0x07D0 not in opened(answer).info["photoshop"]
    assert notes == ["the picture is turned: Photoshop's paths were dropped"]


def test_iptc_of_many_segments_is_whole() -> None:
    data = b"".join(iptc((120, bytes([65 + number]) * 30_000)) for number in range(5))
    answer, _ = upscale(png_with(raw_profile("iptc", resource(0x0404, data))), "jpeg")
    image: Any = opened(answer)
    whole = b"".join(content[14:] for name, content in image.applist if name == "APP13")
    assert data in whole
    again, _ = upscale(answer, "tiff")
    found: Any = opened(again)
    assert bytes(found.tag_v2[33723]) == data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (jpeg(segment(0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumbc2pa")), "C2PA"),
        (png_with((b"caBX", b"\0\0\0\x20jumb")), "C2PA"),
        (jpeg(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")), "gain map"),
        (jpeg(segment(0xE1, b"FLIR\0\1\0\1thermal")), "APP1 FLIR"),
        (jpeg(tail=bytes(99) + SAMSUNG), "motion photo"),
        (png_with(raw_profile("generic", b"abc")), "Raw profile type generic"),
    ],
    ids=["c2pa-jpeg", "c2pa-png", "gain-map", "thermal", "samsung", "profile"],
)
def test_what_else_a_file_carries_is_missed_aloud(content: bytes, said: str) -> None:
    _, notes = upscale(content, "png")
    assert len(notes) == 1
    assert said in notes[0]


def tiff(description: str = "", tags: list[Any] | None = None) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, photo(), description=description or None, extratags=tags or [], metadata=None)
    return file.getvalue()


def test_sizes_in_descriptions_are_the_new_ones() -> None:
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels '
        'SizeX="36" SizeY="24" SizeZ="1" SizeC="3" SizeT="1" PhysicalSizeX="0.6" PhysicalSizeY="0.9"/></Image></OME>'
    )
    answer, notes = upscale(tiff(ome), "tiff")
    found = tifffile.TiffFile(io.BytesIO(answer)).pages[0].tags["ImageDescription"].value  # type: ignore[union-attr]
    assert re.findall(r'(?:Physical)?Size[XY]="[\d.]+"', found) == [
        'SizeX="108"',
        'SizeY="72"',
        'PhysicalSizeX="0.2"',
        'PhysicalSizeY="0.3"',
    ]
    answer, more = upscale(tiff('{"shape": [24, 36, 3]}'), "tiff")
    assert tifffile.imread(io.BytesIO(answer)).shape == (72, 108, 3)
    gdal = (
        '<GDALMetadata><Item name="STATISTICS_MEAN" sample="0">3</Item><Item name="WIDTH">36</Item>'
        '<Item name="AREA">36</Item></GDALMetadata>'
    )
    answer, last = upscale(tiff(tags=[(42112, 2, 0, gdal, True)]), "tiff")
    image: Any = opened(answer)
    assert image.tag_v2[42112] == (
        '<GDALMetadata><Item name="WIDTH">108</Item><Item name="AREA">36</Item></GDALMetadata>'
    )
    assert notes == more == []
    assert last == ["GDAL's statistics of the old pixels were dropped"]


@pytest.mark.parametrize(
    ("description", "tags", "gone", "said"),
    [
        ('<OME><Image/><Image/><Pixels SizeX="36"/></OME>', [], 270, "description"),
        ("Aperio Image Library v1\r\n36x24 [0,0 36x24] JPEG|MPP = 0.5", [], 270, "description"),
        ("", [(50706, 1, 4, b"\1\4\0\0", True), (50719, 4, 2, (4, 4), True)], 50719, "DNG"),
        ("", [(37724, 7, 9, b"Adobe Pho", True)], 37724, "layer"),
        ("", [(50839, 1, 4, b"IJIJ", True)], 50839, "ImageJ"),
    ],
)
def test_tags_that_count_in_old_pixels_are_dropped_and_said(
    description: str, tags: list[Any], gone: int, said: str
) -> None:
    answer, notes = upscale(tiff(description, [*tags, (MAKE, 2, 0, "Camera", True)]), "tiff")
    image: Any = opened(answer)
    assert gone not in image.tag_v2
    assert image.tag_v2[MAKE] == "Camera"
    assert len(notes) == 1
    assert said in notes[0]
