"""What an XMP packet says of a picture's pixels, parts and companions: corrected, or taken out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from .geometry import Size, turned_point
from .xmp import Packet, Property

TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
CAMERA = "http://ns.google.com/photos/1.0/camera/"
CONTAINER = "http://ns.google.com/photos/1.0/container/"
PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
GOOGLE = "http://ns.google.com/photos/1.0/"
DYNAMIC_DEPTH = ("http://ns.google.com/photos/dd/1.0/", "http://ns.google.com/photos/1.0/depthmap/")
GAIN_MAP = "http://ns.adobe.com/hdr-gain-map/1.0/"
APPLE_GAIN_MAP = "http://ns.apple.com/HDRGainMap/1.0/"
CREDENTIALS = re.compile("jumbf|c2pa", re.IGNORECASE)
TERMS = "http://purl.org/dc/terms/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
MICROSOFT_REGION = "http://ns.microsoft.com/photo/1.2/t/Region#"
MOTION = (
    "MotionPhoto", "MotionPhotoVersion", "MotionPhotoPresentationTimestampUs",
    "MotionPhotoPrimaryPresentationTimestampUs",
    "MicroVideo", "MicroVideoVersion", "MicroVideoOffset", "MicroVideoPresentationTimestampUs",
)  # fmt: skip
ACROSS = (
    "FullPanoWidthPixels", "CroppedAreaImageWidthPixels", "CroppedAreaLeftPixels", "LargestValidInteriorRectLeft",
    "LargestValidInteriorRectWidth",
)  # fmt: skip
DOWN = (
    "FullPanoHeightPixels", "CroppedAreaImageHeightPixels", "CroppedAreaTopPixels", "LargestValidInteriorRectTop",
    "LargestValidInteriorRectHeight",
)  # fmt: skip
MOTION_NOTE = "the video of the motion photo was dropped, and the flags that point to it"
GAIN_MAP_NOTE = "the HDR gain map was dropped: the result is the picture for ordinary screens"
DEPTH_NOTE = "depth maps and other pictures kept beside the main one were dropped"
BROKEN_NOTE = "the XMP is broken and was dropped"


def cleaned_xmp(content: bytes, orientation: int, is_alone: bool, notes: list[str]) -> bytes | None:
    """The packet without what the pixels alone make untrue; None if it is broken.

    Args:
        content: the packet.
        orientation: that is applied to the pixels, 1 to 8.
        is_alone: whether nothing but the packet names an orientation; viewers follow EXIF's, and so do we.
        notes: grows.
    """
    try:
        packet = Packet(content)
    except ValueError:
        notes.append(BROKEN_NOTE)
        return None
    _remove_companions(packet, notes)
    _orient(packet, is_alone, notes)
    _remove_all(packet, packet.find(XMP, "Thumbnails", "PageInfo"))
    _remove_all(packet, packet.find(TIFF, "ImageWidth", "ImageLength", "ImageHeight", "BitsPerSample", "Compression"))
    _remove_all(packet, packet.find(TIFF, "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration"))
    _remove_all(packet, packet.find(TIFF, "XResolution", "YResolution", "ResolutionUnit"))
    _remove_all(packet, packet.find(EXIF, "SubjectArea", "SubjectLocation"))
    if orientation != 1:
        _turn_areas(packet, orientation)
        _remove_all(packet, packet.find(PANORAMA))
    return packet.tobytes()


def corrected_xmp(content: bytes, old_size: Size, new_size: Size) -> bytes:
    """A packet that was cleaned, for a picture of another size.

    Args:
        content: the packet.
        old_size, new_size: (width, height), both after the orientation was applied.
    """
    packet = Packet(content)
    factors = (new_size[0] / old_size[0], new_size[1] / old_size[1])
    for name, length in (("PixelXDimension", new_size[0]), ("PixelYDimension", new_size[1])):
        for one in packet.find(EXIF, name):
            packet.replace(one, str(length))
    for name, factor in (("FocalPlaneXResolution", factors[0]), ("FocalPlaneYResolution", factors[1])):
        for one in packet.find(EXIF, name):
            _replace_or_remove(packet, one, _multiplied_rational(one.value, factor))
    for names, factor in ((ACROSS, factors[0]), (DOWN, factors[1])):
        for one in packet.find(PANORAMA, *names):
            _replace_or_remove(packet, one, _multiplied(one.value, factor))
    for one in packet.find(DIMENSIONS, "w", "h"):
        if any(other.value == "pixel" for other in _beside(packet, one, "unit")):
            packet.replace(one, str(new_size[0 if one.name == "w" else 1]))
    return packet.tobytes()


def _remove_companions(packet: Packet, notes: list[str]) -> None:
    """What tells of videos, gain maps and further pictures behind the main one, none of which is kept."""
    motion = packet.find(CAMERA, *MOTION)
    kinds = " ".join(one.value for one in packet.properties if one.name == "Semantic")
    is_set = any(one.name in ("MotionPhoto", "MicroVideo") and one.value.strip() != "0" for one in motion)
    if is_set or "MotionPhoto" in kinds:
        notes.append(MOTION_NOTE)
    _remove_all(packet, motion)
    gain = [*packet.find(GAIN_MAP), *packet.find(APPLE_GAIN_MAP)]
    if gain or "GainMap" in kinds:
        notes.append(GAIN_MAP_NOTE)
    _remove_all(packet, gain)
    depth = [one for one in packet.properties if one.uri.startswith(DYNAMIC_DEPTH)]
    if "Depth" in kinds or depth:
        notes.append(DEPTH_NOTE)
    _remove_all(packet, depth)
    _remove_all(packet, [one for one in packet.properties if one.uri.startswith(CONTAINER)])
    _remove_all(packet, packet.find(NOTE, "HasExtendedXMP"))
    _remove_all(packet, [one for one in packet.find(TERMS, "provenance") if CREDENTIALS.search(one.value)])


def _orient(packet: Packet, is_alone: bool, notes: list[str]) -> None:
    for one in packet.find(TIFF, "Orientation"):
        said = one.value.strip()
        if said in [str(number) for number in range(2, 9)] and is_alone:
            notes.append(f"the orientation {said}, which stands in the XMP alone, was not applied and became 1")
        packet.replace(one, "1") if one.is_attribute or one.is_simple else packet.remove(one)


def _turn_areas(packet: Packet, orientation: int) -> None:
    """Regions of faces and the like: shares of the picture as it is stored, from the middle or a corner."""
    areas: dict[int, dict[str, Property]] = {}
    for one in packet.find(AREA, "x", "y", "w", "h"):
        areas.setdefault(one.parent, {})[one.name] = one
    for area in areas.values():
        _turn_area(packet, area, orientation)
    for one in packet.find(MICROSOFT_REGION, "Rectangle"):
        packet.remove(one)


def _turn_area(packet: Packet, area: dict[str, Property], orientation: int) -> None:
    try:
        x, y = turned_point((float(area["x"].value), float(area["y"].value)), (1.0, 1.0), orientation)
    except (KeyError, ValueError):
        _remove_all(packet, area.values())
        return
    packet.replace(area["x"], f"{x:.9g}")
    packet.replace(area["y"], f"{y:.9g}")
    if orientation >= 5 and {"w", "h"} <= area.keys():
        packet.replace(area["w"], area["h"].value)
        packet.replace(area["h"], area["w"].value)


def _beside(packet: Packet, one: Property, name: str) -> list[Property]:
    return [other for other in packet.find(one.uri, name) if other.parent == one.parent]


def _remove_all(packet: Packet, properties: Iterable[Property]) -> None:
    for one in properties:
        packet.remove(one)


def _replace_or_remove(packet: Packet, one: Property, value: str | None) -> None:
    if value is None:
        packet.remove(one)
    else:
        packet.replace(one, value)


def _multiplied(value: str, factor: float) -> str | None:
    try:
        number = float(value) * factor
    except ValueError:
        return None
    return str(round(number)) if math.isfinite(number) else None


def _multiplied_rational(value: str, factor: float) -> str | None:
    top, _, bottom = value.partition("/")
    try:
        number = float(top) / float(bottom or 1) * factor
    except (ValueError, ZeroDivisionError):
        return None
    return f"{round(number * 10_000)}/10000" if math.isfinite(number) and number > 0 else None
