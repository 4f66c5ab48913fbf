"""XMP that is longer than a segment of JPEG: its two packets into one, and one into two.

XMP specification, part 3, 1.1.3.1: the rest stands in segments of its own, under the MD5 sum that the first names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from .xmp import RDF, Packet, Property
from .xmp_rules import NOTE

NAME_END = re.compile(rb"[\s/>]")
DECLARATION = b' xmlns:xmpNote="' + NOTE.encode() + b'"'
FLAG_NAME = b"HasExtendedXMP"
FLAG = b' xmpNote:HasExtendedXMP="%s"'
FLAG_BYTES = len(DECLARATION) + len(FLAG) + 32
MISSING_NOTE = "the extended part of the XMP is not in the file, or damaged: its flag was dropped"


def joined(content: bytes, parts: Mapping[bytes, Mapping[int, bytes]], notes: list[str]) -> bytes:
    """The packet with what stands in its extended part.

    Args:
        content: the first packet.
        parts: of extended packets, by MD5 sum (32 hexadecimal digits) and offset.
        notes: grows if a part is named that is not there.

    Raises:
        ValueError: the first packet is broken.
    """
    if FLAG_NAME not in content.replace(b"\0", b""):  # in UTF-16, too
        return content
    packet = Packet(content)
    flags = packet.find(NOTE, "HasExtendedXMP")
    if not flags:
        return content
    extended = _assembled(parts.get(flags[0].value.strip().encode(), {}))
    try:
        if extended is None:
            raise ValueError("it has holes")
        additions = _descriptions(Packet(extended))
        end = next(one.inner[1] for one in packet.find(RDF, "RDF") if one.inner[1] != one.end)
    except (ValueError, StopIteration):
        notes.append(MISSING_NOTE)
        additions, end = [], 0
    for flag in flags:
        packet.remove(flag)
    packet.insert(end, b"".join(additions))
    return packet.tobytes()


def divided(content: bytes, most: int) -> tuple[bytes, bytes] | None:
    """A packet of at most `most` bytes, and the extended one that it names; None if that cannot be.

    The largest properties go into the second.
    """
    packet = Packet(content)
    depth = _rdf_depth(packet) + 1
    tops = {one.number: one for one in packet.find(RDF, "Description") if one.depth == depth and not one.is_attribute}
    movable = [one for one in packet.properties if one.parent in tops and one.uri not in (RDF, NOTE)]
    size = len(packet.content) + FLAG_BYTES
    moved: list[Property] = []
    for one in sorted(movable, key=lambda one: one.start - one.end):
        if size <= most:
            break
        moved.append(one)
        size -= one.end - one.start
    if size > most or not moved:
        return None
    extended = _packet_of(packet.content, moved, tops)
    first = next(iter(tops.values()))
    name_end = _behind_name(packet.content, first.start)
    for one in moved:
        packet.remove(one)
    declaration = b"" if first.scope.get("xmpNote") == NOTE else DECLARATION
    packet.insert(name_end, declaration + FLAG % guid(extended))
    return packet.tobytes(), extended


def guid(extended: bytes) -> bytes:
    """The name of an extended packet."""
    return hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()


def _rdf_depth(packet: Packet) -> int:
    return min((one.depth for one in packet.find(RDF, "RDF")), default=0)


def _assembled(parts: Mapping[int, bytes]) -> bytes | None:
    """The parts one behind the other; None if they leave holes."""
    content = bytearray()
    for offset, part in sorted(parts.items()):
        if offset != len(content):
            return None
        content += part
    return bytes(content) or None


def _descriptions(packet: Packet) -> list[bytes]:
    """The elements in its rdf:RDF, each with the prefixes that hold there."""
    depth = _rdf_depth(packet) + 1
    found = []
    for one in packet.find(RDF, "Description"):
        if one.depth == depth:
            element = packet.content[one.start : one.end].lstrip()
            name_end = _behind_name(element, 0)
            tag = element[: element.find(b">")]
            declared = b"".join(
                declaration for declaration in _declarations(one.scope) if declaration.split(b"=")[0] + b"=" not in tag
            )
            found.append(element[:name_end] + declared + element[name_end:])
    return found


def _behind_name(content: bytes, start: int) -> int:
    """Where the name of the first tag from there on ends."""
    found = NAME_END.search(content, content.index(b"<", start))
    return found.start() if found else len(content)


def _packet_of(content: bytes, moved: list[Property], tops: Mapping[int, Property]) -> bytes:
    rows: list[bytes] = []
    by_top: dict[int, list[Property]] = {number: [] for number in tops}
    for one in moved:
        by_top[one.parent].append(one)
    for number, top in tops.items():
        parts = [(one.is_attribute, content[one.start : one.end].strip()) for one in by_top[number]]
        if parts:
            attributes = b"".join(b" " + text for is_attribute, text in parts if is_attribute)
            elements = b"".join(text for is_attribute, text in parts if not is_attribute)
            spaces = b"".join(_declarations(top.scope | {"rdf": RDF}))
            start = b'<rdf:Description rdf:about=""' + spaces + attributes + b">"
            rows.append(start + elements + b"</rdf:Description>")
    head = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + RDF.encode() + b'">'
    return head + b"".join(rows) + b"</rdf:RDF></x:xmpmeta>"


def _declarations(scope: Mapping[str, str]) -> list[bytes]:
    return [f' xmlns:{prefix}="{uri}"'.encode() for prefix, uri in scope.items() if prefix and prefix != "xml"]
