"""A hundred files that lie about what they hold, or unpack to far more: decoders would take all memory, or all time."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from edsr_client.pictures.plugins import register_plugins
from PIL import Image

from tests.unit.picture_files import encoded, photo, png_chunk

PNG = b"\x89PNG\r\n\x1a\n"
SHORT, LONG, RATIONAL, UNDEFINED, DOUBLE = 3, 4, 5, 7, 12
HUGE = 2**31 - 1


def nasty_files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of each."""
    register_plugins()
    yield from _gifs()
    yield from _pngs()
    yield from _jpegs()
    yield from _tiffs()
    yield from _webps()
    yield from _boxes()
    yield from _headers()
    yield from _cut()


def gif(screen: tuple[int, int], frames: list[tuple[int, int, int, int]], disposal: int = 0, pixels: int = 10) -> bytes:
    """A GIF of frames at (left, top, width, height), each with the pixels of a small picture."""
    small = encoded(Image.new("P", (pixels, pixels)), "GIF")
    data = small[small.index(b",") + 10 : -1]
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    body = b"".join(
        b"\x21\xf9\x04" + bytes([disposal << 2]) + b"\x0a\0\0\0," + struct.pack("<HHHHB", *frame, 0) + data
        for frame in frames
    )
    return head + body + b";"


def _gifs() -> Iterator[tuple[str, bytes]]:
    first = (0, 0, 10, 10)
    for place in (20_000, 40_000, 65_525):
        yield f"far-{place}.gif", gif((10, 10), [first, (place, place, 10, 10)])
    yield "screen.gif", gif((65_535, 65_535), [first])
    yield "first-far.gif", gif((10, 10), [(60_000, 60_000, 10, 10)])
    yield "grows.gif", gif((10, 10), [(at, at, 10, 10) for at in range(0, 60_000, 100)])
    yield "large-frames.gif", gif((10, 10), [first, *[(0, 0, 60_000, 60_000)] * 5])
    for disposal in (2, 3):
        yield f"disposal-{disposal}.gif", gif((10, 10), [first, (0, 0, 30_000, 30_000), first], disposal)
    yield "many-frames.gif", gif((1000, 1000), [first] * 3000)
    yield "many-small-frames.gif", gif((1, 1), [(0, 0, 1, 1)] * 300_000, pixels=1)
    yield "just-too-many.gif", gif((9000, 9000), [first] * 5)


def ihdr(width: int, height: int, bits: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))


def png(*chunks: bytes, head: bytes | None = None) -> bytes:
    """A PNG with chunks before its pixels."""
    end = png_chunk(b"IDAT", zlib.compress(bytes(10 * 31))) + png_chunk(b"IEND", b"")
    return PNG + (head or ihdr(10, 10)) + b"".join(chunks) + end


def _pngs() -> Iterator[tuple[str, bytes]]:
    for width, height in ((HUGE, HUGE), (100_000, 100_000), (HUGE, 1), (1, HUGE), (10_001, 10_000)):
        yield f"claims-{width}x{height}.png", png(head=ihdr(width, height))
    yield "claims-16-bits.png", png(head=ihdr(20_000, 20_000, 16, 6))
    yield "claims-interlaced.png", png(head=ihdr(20_000, 20_000, 8, 6, 1))
    bomb = zlib.compress(bytes(200_000_000), 9)
    for name, content in (("iCCP", b"x\0\0"), ("zTXt", b"x\0\0"), ("iTXt", b"x\0\1\0\0\0")):
        yield f"bomb-{name}.png", png(png_chunk(name.encode(), content + bomb))
    part = zlib.compress(bytes(1_000_000), 9)
    yield "many-texts.png", png(*[png_chunk(b"zTXt", b"k%d\0\0" % at + part) for at in range(300)])
    yield (
        "many-after-pixels.png",
        png()[:-12]
        + b"".join(png_chunk(b"zTXt", b"k%d\0\0" % at + part) for at in range(300))
        + png_chunk(b"IEND", b""),
    )
    yield "pixels-bomb.png", PNG + ihdr(10, 10) + png_chunk(b"IDAT", bomb) + png_chunk(b"IEND", b"")
    yield "exif.png", png(png_chunk(b"eXIf", overlapping(60_000, 1_000_000)))
    raw = overlapping(20_000, 240_000).hex()
    text = f"\nexif\n{len(raw) // 2:8d}\n" + "\n".join(raw[at : at + 72] for at in range(0, len(raw), 72)) + "\n"
    yield "raw-profile.png", png(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text.encode())))
    actl = png_chunk(b"acTL", struct.pack(">II", HUGE, 0))
    fctl = struct.pack(">IIIIIHHBB", 0, 10, 10, 0, 0, 1, 10, 0, 0)
    yield "claims-frames.png", png(actl, png_chunk(b"fcTL", fctl))
    far = struct.pack(">IIIIIHHBB", 1, 10, 10, 2**30, 2**30, 1, 10, 0, 0)
    some = png_chunk(b"acTL", struct.pack(">II", 2, 0))
    yield "far-frame.png", png(some, png_chunk(b"fcTL", fctl))[:-12] + png_chunk(b"fcTL", far) + png_chunk(b"IEND", b"")
    wide = struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 10, 0, 0)
    yield "wide-frame.png", png(some, png_chunk(b"fcTL", wide))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(3900 * 11_701), 9))
    frames = b"".join(
        png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", at, 3900, 3900, 0, 0, 1, 10, 0, 0)) + pixels for at in range(1)
    )
    yield (
        "large-animation.png",
        PNG + ihdr(3900, 3900) + png_chunk(b"acTL", struct.pack(">II", 100, 0)) + frames + png_chunk(b"IEND", b""),
    )
    yield "chunk-length.png", PNG + ihdr(10, 10) + struct.pack(">I4s", HUGE, b"tEXt") + b"x"
    yield "many-chunks.png", png(*[png_chunk(b"tEXt", b"a\0b")] * 50_000)


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def _jpegs() -> Iterator[tuple[str, bytes]]:
    whole = encoded(photo(), "JPEG")
    at = whole.index(b"\xff\xc0")
    for height, width in ((65_535, 65_535), (10_001, 10_000)):
        yield f"claims-{width}x{height}.jpg", whole[: at + 5] + struct.pack(">HH", height, width) + whole[at + 9 :]
    slow = encoded(np.full((4000, 4000), 128, np.uint8), "JPEG", progressive=True)
    last = slow.rindex(b"\xff\xda")
    yield "many-scans.jpg", slow[:-2] + slow[last:-2] * 3000 + b"\xff\xd9"
    twice = encoded(photo(), "JPEG", progressive=True)
    last = twice.rindex(b"\xff\xda")
    yield "scans-of-large.jpg", _with_size(twice, 9999, 9999)[:-2] + twice[last:-2] * 100 + b"\xff\xd9"
    parts = overlapping(30_000, 600_000)
    exif = [segment(0xE1, b"Exif\0\0" + parts[at : at + 65_000]) for at in range(0, len(parts), 65_000)]
    yield "exif.jpg", whole[:2] + b"".join(exif) + whole[2:]
    one = segment(0xE1, b"Exif\0\0" + overlapping(2700, 32_000))
    yield "exif-small.jpg", whole[:2] + one + whole[2:]
    icc = [segment(0xE2, b"ICC_PROFILE\0" + bytes([at, 255]) + bytes(65_000)) for at in range(1, 256)]
    yield "profile.jpg", whole[:2] + b"".join(icc) + whole[2:]
    yield "comments.jpg", whole[:2] + segment(0xFE, bytes(65_000)) * 200 + whole[2:]
    yield "part-of-mpo.jpg", _mpo(whole, _with_size(whole, 65_535, 65_535))
    mp = segment(0xE2, b"MPF\0" + ifd([(45056, UNDEFINED, 4, b"0100"), (45057, LONG, 1, HUGE)]))
    yield "many-parts.mpo", whole[:2] + mp + whole[2:]
    yield "no-size.jpg", _with_size(whole, 0, 65_535)
    yield "segments.jpg", b"\xff\xd8" + segment(0xE0, b"") * 100_000 + whole[2:]


def _with_size(content: bytes, height: int, width: int) -> bytes:
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def _mpo(first: bytes, second: bytes) -> bytes:
    file = io.BytesIO()
    image = Image.open(io.BytesIO(first))
    image.save(file, "MPO", save_all=True, append_images=[Image.open(io.BytesIO(first))])
    content = file.getvalue()
    cut = content.rindex(b"\xff\xd8\xff")
    return content[:cut] + second


Tags = list[tuple[int, int, int, Any]]


def ifd(tags: Tags, following: int = 0, at: int = 8, header: bool = True) -> bytes:
    """A directory; values are whole numbers, or bytes that are put into the entry itself."""
    entries = b"".join(
        struct.pack("<HHI", tag, kind, count) + (value if isinstance(value, bytes) else struct.pack("<I", value))
        for tag, kind, count, value in tags
    )
    start = struct.pack("<2sHI", b"II", 42, at) if header else b""
    return start + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def overlapping(tags: int, size: int, kind: int = UNDEFINED) -> bytes:
    """TIFF data of which every tag names the same bytes."""
    return ifd([(1000 + at, kind, size, 8) for at in range(tags)]) + bytes(size)


def tiff(more: Tags, width: int = 10, height: int = 10, data: bytes = bytes(4000)) -> bytes:
    """An RGB picture of which `more` says other things."""
    tags: dict[int, tuple[int, int, int, Any]] = {
        tag: (tag, kind, 1, value)
        for tag, kind, value in (
            *((256, LONG, width), (257, LONG, height), (258, SHORT, 8), (259, SHORT, 1), (262, SHORT, 1)),
            *((273, LONG, 8), (277, SHORT, 1), (278, LONG, height), (279, LONG, 100)),
        )
    }
    tags |= {tag[0]: tag for tag in more}
    return ifd(sorted(tags.values())) + data


def _tiffs() -> Iterator[tuple[str, bytes]]:
    for width, height in ((100_000, 100_000), (HUGE, HUGE), (HUGE, 1), (10_001, 10_000)):
        yield f"claims-{width}x{height}.tif", tiff([], width, height)
    deflate = [(259, SHORT, 1, 8)]
    for compression in (1, 5, 7, 8, 32773, 34925, 50000, 50001):
        tile = [(322, LONG, 1, 65_536), (323, LONG, 1, 65_536), (324, LONG, 1, 8), (325, LONG, 1, 100)]
        yield f"tile-{compression}.tif", tiff([(259, SHORT, 1, compression), *tile])
    yield "strip.tif", tiff([*deflate, (278, LONG, 1, HUGE), (257, LONG, 1, 9_000_000)])
    yield "counts.tif", tiff([*deflate, (279, LONG, 1, HUGE)])
    yield "counts-raw.tif", tiff([(279, LONG, 1, HUGE)])
    yield "offset.tif", tiff([*deflate, (273, LONG, 1, HUGE)])
    yield "samples.tif", tiff([(277, SHORT, 1, 65_535)])
    yield "samples-deflate.tif", tiff([*deflate, (277, SHORT, 1, 65_535)])
    yield "bits.tif", tiff([(258, SHORT, 65_535, 8)])
    yield "strips.tif", tiff([(273, LONG, HUGE, 8), (279, LONG, HUGE, 8)])
    for kind, name in ((SHORT, "short"), (LONG, "long"), (RATIONAL, "rational"), (DOUBLE, "double")):
        count = 24_000_000 // {SHORT: 2, LONG: 4, RATIONAL: 8, DOUBLE: 8}[kind]
        yield f"numbers-{name}.tif", tiff([(40_000 + kind, kind, count, 8)], data=bytes(24_000_000))
    yield "overlapping.tif", overlapping(60_000, 1_000_000)
    yield "overlapping-exif.tif", tiff([(34665, LONG, 1, 200)], data=bytes(66) + overlapping(60_000, 1_000_000)[8:])
    yield "loop.tif", ifd([(256, LONG, 1, 10)], following=8)
    chain = b"".join(ifd([(256, LONG, 1, 10)], 8 + 18 * (at + 1), header=False) for at in range(200_000))
    yield "many-pages.tif", struct.pack("<2sHI", b"II", 42, 8) + chain + struct.pack("<H", 0)
    full = ifd([(1000 + at, SHORT, 1, 1) for at in range(2000)], header=False)
    pages = b"".join(full[:-4] + struct.pack("<I", 8 + len(full) * (at + 1)) for at in range(300))
    yield "full-pages.tif", struct.pack("<2sHI", b"II", 42, 8) + pages
    yield "profile.tif", tiff([(34675, UNDEFINED, HUGE, 8)])
    yield "bigtiff.tif", struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + struct.pack("<Q", 2**40) + bytes(100)
    bomb = zlib.compress(bytes(300_000_000), 9)
    yield "bomb.tif", tiff([*deflate, (273, LONG, 1, 142), (279, LONG, 1, len(bomb))], data=bytes(8) + bomb)


def _webps() -> Iterator[tuple[str, bytes]]:
    still = encoded(photo(), "WEBP", lossless=True)

    def size(value: int) -> bytes:
        return (value - 1).to_bytes(3, "little")

    def riff(body: bytes) -> bytes:
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body

    for width, height in ((2**24, 255), (65_535, 65_535), (16_383, 16_383)):
        header = b"VP8X" + struct.pack("<IB3x", 10, 0) + size(width) + size(height)
        yield f"canvas-{width}x{height}.webp", riff(header + still[12:])
    frame = b"ANMF" + struct.pack("<I", 16 + len(still) - 12) + bytes(6) + size(36) + size(24) + bytes(4) + still[12:]
    for side in (2000, 16_000):
        header = b"VP8X" + struct.pack("<IB3x", 10, 2) + size(side) + size(side)
        yield f"animation-{side}.webp", riff(header + b"ANIM" + struct.pack("<IIH", 6, 0, 0) + frame * 1000)
    yield "claims.webp", still[:21] + struct.pack("<I", (16_383 << 14) | 16_383) + still[25:]
    exif = overlapping(60_000, 500_000)
    header = b"VP8X" + struct.pack("<IB3x", 10, 8) + size(36) + size(24)
    yield "exif.webp", riff(header + still[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif)
    yield "chunk.webp", riff(header + still[12:] + b"XMP " + struct.pack("<I", HUGE))


def _boxes() -> Iterator[tuple[str, bytes]]:
    avif = encoded(photo(64, 64), "AVIF")
    for width, height in ((17_000, 17_000), (HUGE, HUGE), (10_001, 10_000), (40_000, 10)):
        yield f"claims-{width}x{height}.avif", _with_ispe(avif, width, height)
    for brand in (b"avif", b"avis", b"mif1", b"heic"):
        yield f"grid-{brand.decode()}.avif", grid(brand, 30_000, 30_000)
    yield "deep-boxes.avif", avif[:32] + b"".join(struct.pack(">I4s4x", 0, b"meta") for _ in range(10_000))
    yield "many-boxes.avif", avif[:32] + struct.pack(">I4s", 8, b"free") * 300_000
    yield "exif.avif", _exif_avif()
    try:
        heic = encoded(photo(64, 64), "HEIF")
    except (KeyError, OSError):  # without the extra
        return
    for width, height in ((40_000, 40_000), (HUGE, 2)):
        yield f"claims-{width}x{height}.heic", _with_ispe(heic, width, height)


def _with_ispe(content: bytes, width: int, height: int) -> bytes:
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def full_box(kind: bytes, content: bytes, version: int = 0) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]) + content)


def grid(brand: bytes, width: int, height: int) -> bytes:
    """A file whose only picture is a grid of one small tile, 256 times 256."""
    what = struct.pack(">BBBBII", 0, 1, 255, 255, width, height)
    items = full_box(b"iinf", struct.pack(">H", 1) + full_box(b"infe", struct.pack(">HH4sx", 1, 0, b"grid"), 2))
    place = full_box(b"iloc", struct.pack(">HHHHHHII", 0x4400, 1, 1, 1, 0, 1, 0, len(what)), 1)
    handler = full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict"))
    meta = handler + full_box(b"pitm", struct.pack(">H", 1)) + items + place + box(b"idat", what)
    return box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + full_box(b"meta", meta)


def _exif_avif() -> bytes:
    data = overlapping(60_000, 300_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encoded(photo(64, 64), "AVIF", exif=b"Exif\0\0" + data)


def _headers() -> Iterator[tuple[str, bytes]]:
    bmp = encoded(photo(), "BMP")
    for width, height in ((100_000, 100_000), (HUGE, HUGE), (HUGE, -1)):
        yield f"claims-{width}x{height}.bmp", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
    yield "palette.bmp", bmp[:46] + struct.pack("<I", HUGE) + bmp[50:]
    rle = bmp[:18] + struct.pack("<iiHHI", 3999, 3999, 1, 8, 1) + bmp[34:] + b"\0\2\xff\xff" * 100_000
    yield "rle.bmp", rle
    for kind in (b"P5", b"P6", b"P2", b"P4"):
        yield f"claims-{kind.decode()}.ppm", kind + b" 100000 100000 255\n" + bytes(100)
    yield "numbers.ppm", b"P6 " + b"9" * 4000 + b" 1 255\n"
    yield "comment.ppm", b"P6 #" + b"x" * 1_000_000


def _cut() -> Iterator[tuple[str, bytes]]:
    """Good files whose bytes changed by chance, always the same way."""
    dice = random.Random(7)  # noqa: S311
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "BMP"):
        for turn in range(2):
            content = bytearray(encoded(photo(), kind))
            for _ in range(6):
                content[dice.randrange(len(content))] = dice.choice((0, 255, 127))
            yield f"changed-{turn}.{kind.lower()}", bytes(content)
