"""Texts in the tags of TIFF files that count in pixels: OME-XML, tifffile's, Aperio's, GDAL's; pure."""

from __future__ import annotations

import json
import re

from .geometry import Size

OME = re.compile(r"<(?:\w+:)?OME\b")
# Shapes drawn over the picture, mosaics, and files of several pictures count in more than its size.
OME_MORE = re.compile(r"<(?:\w+:)?(?:ROI|Shape|Rectangle|Polygon|Mask|Well|Plate)\b|UUID\s+FileName=")
OME_IMAGE = re.compile(r"<(?:\w+:)?Image[\s>]")
OME_NUMBER = re.compile(r"(\b(?:SizeX|SizeY|PhysicalSizeX|PhysicalSizeY)\s*=\s*)([\"'])([^\"']*)\2")
OME_PLANES = re.compile(r"\bSize([ZT])\s*=\s*[\"'](\d+)[\"']")
APERIO = re.compile(r"^(Aperio|SCN|Hamamatsu|Ventana|Philips)", re.IGNORECASE)
ITEM = re.compile(r"[ \t]*<Item\b([^>]*?)(?:/>|>(.*?)</Item>)\s*?\n?", re.DOTALL)
ITEM_NAME = re.compile(r"\bname\s*=\s*[\"']([^\"']*)[\"']")
# Names of items of GDAL that say a side of the raster in pixels.
WIDTH_NAME = re.compile(r"(width|xsize|columns|cols|samples|pixels)$", re.IGNORECASE)
HEIGHT_NAME = re.compile(r"(height|ysize|rows|lines)$", re.IGNORECASE)


def is_corrigible(text: str, size: Size, is_turned: bool) -> bool:
    """Whether a description says nothing of pixels, or what can be put right."""
    if APERIO.match(text) and re.search(r"\d+x\d+", text):
        return False
    if not OME.search(text):
        return True
    planes = [int(count) for _, count in OME_PLANES.findall(text)]
    is_one = len(OME_IMAGE.findall(text)) == 1 and all(count == 1 for count in planes)
    return is_one and not OME_MORE.search(text) and not is_turned


def corrected_description(text: str, old_size: Size, new_size: Size) -> str:
    """An image's description for a picture of another size; "" if nothing is left to say."""
    if OME.search(text):
        return _corrected_ome(text, old_size, new_size)
    if text.startswith("{") and '"shape"' in text:
        return _corrected_shape(text, old_size, new_size)
    return text


def without_statistics(text: str, old_size: Size, new_size: Size) -> str:
    """GDAL's metadata without the statistics of the old pixels, and with the new sides."""

    def changed(match: re.Match[str]) -> str:
        name = ITEM_NAME.search(match[1])
        named = name[1] if name else ""
        if named.startswith("STATISTICS_"):
            return ""
        for pattern, side in ((WIDTH_NAME, 0), (HEIGHT_NAME, 1)):
            if pattern.search(named) and (match[2] or "").strip() == str(old_size[side]):
                return match[0].replace(f">{match[2]}<", f">{new_size[side]}<")
        return match[0]

    return ITEM.sub(changed, text)


def _corrected_ome(text: str, old_size: Size, new_size: Size) -> str:
    def changed(match: re.Match[str]) -> str:
        name = match[1].rstrip("= \t\r\n")
        side = 0 if name.endswith("X") else 1
        if name.startswith("Size"):
            return f"{match[1]}{match[2]}{new_size[side]}{match[2]}"
        try:
            value = float(match[3]) * old_size[side] / new_size[side]
        except ValueError:
            return match[0]
        return f"{match[1]}{match[2]}{value:.12g}{match[2]}"

    return OME_NUMBER.sub(changed, text)


def _corrected_shape(text: str, old_size: Size, new_size: Size) -> str:
    """tifffile's JSON: its shape is that of the array, and readers trust it."""
    try:
        said = json.loads(text)
        shape = [int(length) for length in said["shape"]]
    except (ValueError, TypeError, KeyError):
        return text
    for at in range(len(shape) - 1):
        if shape[at : at + 2] == [old_size[1], old_size[0]]:
            shape[at : at + 2] = [int(new_size[1]), int(new_size[0])]
            return json.dumps(said | {"shape": shape})
    del said["shape"]
    return json.dumps(said) if said else ""
