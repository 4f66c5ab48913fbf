"""Picture or video, by the first bytes: never by a name. Only which engine looks at the content depends on it."""

from __future__ import annotations

from typing import Literal

HEAD_BYTES = 512
_EBML, _FLV, _ASF, _OGG = b"\x1aE\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"OggS"
_MPEG = (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
_PICTURE_BRANDS = frozenset((b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"miaf"))
_OLD_QUICKTIME = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
_PACKET = 188  # of an MPEG transport stream


def kind_of(head: bytes) -> Literal["picture", "video"]:
    """What content that begins with `head` (HEAD_BYTES suffice) is taken for. What is neither is taken for a picture:
    the decoder of pictures refuses it.
    """
    if head.startswith((_EBML, _FLV, _ASF, _OGG, *_MPEG)) or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "video"
    if head[4:8] == b"ftyp":
        return "picture" if head[8:12] in _PICTURE_BRANDS else "video"
    if head[4:8] in _OLD_QUICKTIME:
        return "video"
    if len(head) > 2 * _PACKET and all(head[at] == 0x47 for at in (0, _PACKET, 2 * _PACKET)):
        return "video"
    return "picture"
