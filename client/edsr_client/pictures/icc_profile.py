"""ICC profiles made of primaries and a tone curve; pure. ICC.1:2022, for pictures whose file describes its colours
otherwise."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
VERSION = 0x04200000
DATE = (2020, 1, 1, 0, 0, 0)  # the same picture makes the same profile
HEADER_BYTES = 128
# Parameters of a parametric curve by its type (10.18): how many there are.
CURVE_TYPES = {1: 0, 3: 1, 4: 2, 5: 3, 7: 4}


def profile(primaries: Sequence[float], curve: Sequence[float], name: str, *, grey: bool = False) -> bytes:
    """The content of a profile.

    Args:
        primaries: x and y of white, red, green and blue (CIE 1931).
        curve: parameters g, a, b, c, d of a parametric curve, from numbers to light; or a table of 6 and more numbers
            from 0 to 1.
        name: what programs show.
        grey: for pictures of one channel; only white counts then.

    Raises:
        ValueError: there is no such set of colours.
    """
    to_xyz, adaptation = _matrices(primaries)
    tone = _curve(curve)
    tags = {b"desc": _text(name), b"cprt": _text("No copyright"), b"wtpt": _xyz(D50)}
    tags[b"chad"] = b"sf32" + bytes(4) + _fixed(adaptation.ravel())
    if grey:
        tags[b"kTRC"] = tone
    else:
        tags |= {key: _xyz(to_xyz[:, index]) for index, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    return _packed(tags, b"GRAY" if grey else b"RGB ")


def _matrices(primaries: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From linear RGB to XYZ of D50, and the adaptation of white in it."""
    xy = np.array(primaries, np.float64).reshape(4, 2)
    if not np.isfinite(xy).all() or (xy[:, 1] <= 0).any():
        raise ValueError("primaries that are no colours")
    white, *colours = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in xy]
    columns = np.stack(colours, axis=1)
    try:
        to_xyz = columns * np.linalg.solve(columns, white)
    except np.linalg.LinAlgError:
        raise ValueError("primaries that lie on a line") from None
    cone = BRADFORD @ np.array(D50) / (BRADFORD @ white)
    adaptation = np.linalg.inv(BRADFORD) @ np.diag(cone) @ BRADFORD
    return adaptation @ to_xyz, adaptation


def _curve(curve: Sequence[float]) -> bytes:
    if len(curve) in CURVE_TYPES:
        return b"para" + bytes(4) + struct.pack(">HH", CURVE_TYPES[len(curve)], 0) + _fixed(curve)
    values = (min(max(round(value * 65_535), 0), 65_535) for value in curve)
    return b"curv" + bytes(4) + struct.pack(f">I{len(curve)}H", len(curve), *values)


def _fixed(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65_536) for value in values))


def _xyz(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _packed(tags: dict[bytes, bytes], space: bytes) -> bytes:
    """Header, table, and every content once."""
    start = HEADER_BYTES + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    body = b""
    for content in tags.values():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
    table = struct.pack(">I", len(tags))
    table += b"".join(struct.pack(">4sII", key, places[content], len(content)) for key, content in tags.items())
    head = struct.pack(">I4sI4s4s4s6H4s", start + len(body), bytes(4), VERSION, b"mntr", space, b"XYZ ", *DATE, b"acsp")
    head += bytes(24) + struct.pack(">I", 0) + _fixed(D50)
    return head.ljust(HEADER_BYTES, b"\0") + table + body
