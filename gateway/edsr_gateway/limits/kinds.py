"""What kind of file some bytes begin; pure. It decides which engine looks at a file, and nothing else."""

from __future__ import annotations

STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_video(head: bytes) -> bool:
    """Whether a file that begins so (32 bytes are enough) goes to the engine for videos: MP4, MOV, MKV, WebM, AVI,
    MPEG, FLV, OGG."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in STILL_BRANDS
    return (
        head[4:8] in (b"moov", b"mdat", b"wide")
        or head.startswith((b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01", b"OggS"))
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or (head[:1] == b"G" and len(head) > 188 and head[188:189] == b"G")
    )
