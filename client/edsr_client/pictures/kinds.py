"""What a file is that no decoder here takes, in words for whoever has it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from .structure.tags import directories, is_tiff

HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")
VIDEO_BRANDS = (b"qt  ", b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"M4V ", b"avc1", b"3gp4")
VIDEO = "a video: `edsr video FILE`"
OTHER = "which is not a known format here; convert it to PNG, TIFF or JPEG first"
# (where, what stands there, what it is). Signatures as their specifications give them.
MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", f"PDF, {OTHER}"),
    (0, b"\xff\x0a", f"JPEG XL, {OTHER}"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", f"JPEG XL, {OTHER}"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", f"JPEG 2000, {OTHER}"),
    (0, b"\xff\x4f\xff\x51", f"JPEG 2000, {OTHER}"),
    (0, b"II\xbc\x01", f"JPEG XR, {OTHER}"),
    (0, b"8BPS", f"a Photoshop document, {OTHER}"),
    (0, b"gimp xcf", f"a GIMP document, {OTHER}"),
    (0, b"\x76\x2f\x31\x01", f"OpenEXR, {OTHER}"),
    (0, b"#?RADIANCE", f"Radiance HDR, {OTHER}"),
    (0, b"PF\n", f"a portable float map, {OTHER}"),
    (0, b"Pf\n", f"a portable float map, {OTHER}"),
    (0, b"P7\n", f"a portable arbitrary map (PAM), {OTHER}"),
    (0, b"\0\0\1\0", f"an icon, {OTHER}"),
    (0, b"\0\0\2\0\0\0", f"TGA, {OTHER}"),  # cursors count their pictures here
    (0, b"\0\0\2\0", f"a cursor, {OTHER}"),
    (0, b"\0\0\3\0\0\0", f"TGA, {OTHER}"),
    (0, b"\0\0\x0a\0\0\0", f"TGA, {OTHER}"),
    (0, b"\0\1\1\0", f"TGA, {OTHER}"),
    (0, b"\x0a\5\1", f"PCX, {OTHER}"),
    (0, b"\1\xda", f"SGI, {OTHER}"),
    (0, b"icns", f"an icon, {OTHER}"),
    (0, b"DDS ", f"a DirectDraw surface, {OTHER}"),
    (0, b"qoif", f"QOI, {OTHER}"),
    (0, b"FUJIFILMCCD-RAW", f"a camera's raw file, {OTHER}"),
    (0, b"IIRO", f"a camera's raw file, {OTHER}"),
    (0, b"IIU\0", f"a camera's raw file, {OTHER}"),
    (128, b"DICM", f"DICOM, {OTHER}"),
    (0, b"SIMPLE  =", f"FITS, {OTHER}"),
    (0, b"\x89HDF\r\n\x1a\n", f"HDF5, {OTHER}"),
    (0, b"%!PS", f"PostScript, {OTHER}"),
    (0, b"\xc5\xd0\xd3\xc6", f"PostScript, {OTHER}"),
    (0, b"<svg", f"SVG, {OTHER}"),
    (0, b"<!DOCTYPE", "a web page, not a picture: was it downloaded without a login?"),
    (0, b"<html", "a web page, not a picture: was it downloaded without a login?"),
    (0, b"<?xml", f"XML, perhaps SVG, {OTHER}"),
    (0, b"PK\3\4", "an archive; unpack it first"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (0, b"version https://git-lfs", "a pointer to a file in Git LFS; `git lfs pull` brings the picture"),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"FLV\1", VIDEO),
    (0, b"\0\0\1\xba", VIDEO),
)
PHOTOMETRIC, BITS, FORMAT, SAMPLES, COMPRESSION, EXTRA = 262, 258, 339, 277, 259, 338
COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "a mask", 5: "CMYK", 6: "YCbCr"}
COLOURS |= {8: "Lab", 9: "Lab", 10: "Lab", 32844: "LogL", 32845: "LogLuv"}
COLOURS |= {32803: "a sensor's raw values", 34892: "a camera's raw values"}
CHANNELS = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
FORMATS = {1: "", 2: " signed", 3: " floating point", 5: " complex", 6: " complex"}


def unreadable(data: bytes, name: str, known: Sequence[str]) -> str:
    """Why a file cannot be read, and what to do.

    Args:
        data: its content.
        name: of the file.
        known: the formats that are read.
    """
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in HEIF_BRANDS and "HEIF" not in known:
            return f"{name} is HEIC. Install what reads it: pip install 'pillow-heif>=1' (edsr-client's extra [heif])."
        if brand in VIDEO_BRANDS:
            return f"{name} is {VIDEO}."
        if brand == b"crx ":
            return f"{name} is a camera's raw file, {OTHER}."
    if is_tiff(data) and (kind := _tiff(data)):
        return f"{name} is TIFF with {kind}, which is not read here; convert it to RGB or grey of 8 or 16 bits first."
    for at, signature, what in MAGIC:
        if data[at : at + len(signature)] == signature:
            return f"{name} is {what}."
    return f"{name} is not a picture of a known format, or is damaged. Known: {', '.join(known)}."


def _tiff(data: bytes) -> str:
    """The kind of a TIFF's pixels: "CMYK and 1 further channel, 8 bits"; "" if it does not say."""
    tags = next(islice(directories(data), 1), {})

    def first(tag: int, otherwise: int) -> int:
        values = tags[tag].values if tag in tags else ()
        return values[0] if values else otherwise

    if PHOTOMETRIC not in tags:
        return ""
    photometric, samples = first(PHOTOMETRIC, 1), first(SAMPLES, 1)
    colour = COLOURS.get(photometric, f"colours of kind {photometric}")
    further = samples - CHANNELS.get(photometric, 1)
    more = f" and {further} further channel{'s' if further > 1 else ''}" if further > 0 else ""
    alpha = " (transparency)" if further == 1 and first(EXTRA, 0) in (1, 2) else ""
    bits = f"{first(BITS, 1)} bits{FORMATS.get(first(FORMAT, 1), ' of an unknown kind')}"
    return f"{colour}{more}{alpha}, {bits}, compression {first(COMPRESSION, 1)}"
