"""An XMP packet: its properties are found by a parser and changed where they stand; all else stays byte for byte.

XMP specification, part 1 (RDF/XML): a simple property is an attribute or an element.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

SEPARATOR = "\x1f"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MAX_DEPTH = 100
ATTRIBUTE = re.compile(rb"\s+([^\s=/>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
TAG_MARKS = re.compile(rb"[\"'>]")
# By mark, else by how the first "<" looks.
ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)


@dataclass
class Property:
    """A property of the packet, or of a structure in it.

    Attributes:
        uri, name: the namespace and the local name.
        value: text; of a structure what text it has.
        start, end: of the bytes of the whole, with the white space before it.
        inner: bytes of the value.
        number: of the element itself; of an attribute that of the element it stands in.
        parent: number of the element that it is in.
        depth: of that element; that of rdf:Description at the top is 3.
        scope: prefixes that hold there, with their namespaces.
    """

    uri: str
    name: str
    value: str
    start: int
    end: int
    inner: tuple[int, int]
    number: int
    parent: int
    depth: int
    scope: dict[str, str] = field(default_factory=dict)
    is_attribute: bool = False
    is_simple: bool = True


@dataclass
class _Open:
    number: int
    uri: str
    name: str
    start: int
    inner: int
    scope: dict[str, str]
    text: list[str] = field(default_factory=list)
    has_children: bool = False


class Packet:
    """A packet.

    Attributes:
        content: UTF-8, without what stands behind its end.
        properties: attributes and elements, those of structures too, in the order of their ends.

    Raises:
        ValueError: it is not well-formed, or declares entities.
    """

    def __init__(self, content: bytes) -> None:
        self.content = _utf8(content)
        self.properties: list[Property] = []
        self._edits: list[tuple[int, int, bytes]] = []
        self._open: list[_Open] = []
        self._declared: dict[str, str] = {}
        self._count = 0
        self._parse()
        self._by_uri: dict[str, list[Property]] = {}
        for one in self.properties:
            self._by_uri.setdefault(one.uri, []).append(one)

    def find(self, uri: str, *names: str) -> list[Property]:
        """Properties of a namespace; of these names, or all."""
        return [one for one in self._by_uri.get(uri, ()) if not names or one.name in names]

    def replace(self, one: Property, value: str) -> None:
        """Give a simple property another value."""
        self._edits.append((*one.inner, escape(value, {'"': "&quot;", "'": "&apos;"}).encode()))

    def remove(self, one: Property) -> None:
        """Take a property out."""
        self._edits.append((one.start, one.end, b""))

    def insert(self, at: int, content: bytes) -> None:
        """Put bytes in."""
        self._edits.append((at, at, content))

    def tobytes(self) -> bytes:
        """The packet with the changes."""
        parts, position = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: (edit[0], -edit[1])):
            if start >= position:  # else it lies in what was taken out
                parts += [self.content[position:start], new]
                position = end
        return b"".join(parts) + self.content[position:]

    def _parse(self) -> None:
        parser = expat.ParserCreate(namespace_separator=SEPARATOR)
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.buffer_text = True
        self._parser = parser
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        try:
            parser.Parse(self.content, True)
        except expat.ExpatError as error:
            raise ValueError(str(error)) from None
        finally:
            del self._parser

    def _declare(self, prefix: str | None, uri: str) -> None:
        self._declared[prefix or ""] = uri

    def _start(self, name: str, attributes: list[str]) -> None:
        at = self._parser.CurrentByteIndex
        end = _end_of_tag(self.content, at)
        uri, local, _ = _split(name)
        scope = self._open[-1].scope if self._open else {}
        if self._declared:
            scope, self._declared = scope | self._declared, {}
        if len(self._open) >= MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if self._open:
            self._open[-1].has_children = True
        self._count += 1
        element = _Open(self._count, uri, local, at, end, scope)
        places = {found[1]: found for found in ATTRIBUTE.finditer(self.content, at, end)} if attributes else {}
        for full, value in zip(attributes[::2], attributes[1::2], strict=True):
            self._attribute(element, places, full, value)
        self._open.append(element)

    def _attribute(self, element: _Open, places: dict[bytes, re.Match[bytes]], full: str, value: str) -> None:
        uri, local, prefix = _split(full)
        found = places.get((f"{prefix}:{local}" if prefix else local).encode())
        if found is None or not uri:
            return
        inner = found.span(2) if found[2] is not None else found.span(3)
        self.properties.append(
            Property(
                uri, local, value, found.start(), found.end(), inner, element.number, element.number,
                len(self._open) + 1, element.scope, is_attribute=True,
            )
        )  # fmt: skip

    def _end(self, _: str) -> None:
        element = self._open.pop()
        closing = self._parser.CurrentByteIndex
        is_empty = self.content[element.inner - 2 : element.inner] == b"/>" and closing <= element.inner
        end = element.inner if is_empty else _end_of_tag(self.content, closing)
        inner = (element.inner, element.inner if is_empty else closing)
        start = element.start
        while start and self.content[start - 1] in b" \t\r\n":
            start -= 1
        self.properties.append(
            Property(
                element.uri, element.name, "".join(element.text), start, end, inner, element.number,
                self._open[-1].number if self._open else 0, len(self._open), element.scope,
                is_simple=not element.has_children and not is_empty,
            )
        )  # fmt: skip

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)


def _refuse(*_: object) -> None:
    raise ValueError("it declares a document type")


def _split(name: str) -> tuple[str, str, str]:
    """Namespace, local name, prefix."""
    parts = name.split(SEPARATOR)
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


def _end_of_tag(content: bytes, start: int) -> int:
    """Behind the ">" of the tag that begins there; one in quotes is none."""
    at = start
    while found := TAG_MARKS.search(content, at):
        if found[0] == b">":
            return found.end()
        at = content.index(found[0], found.end()) + 1
    return len(content)


def _utf8(content: bytes) -> bytes:
    """UTF-8 without a mark, zeros and white space behind it."""
    for mark, encoding in ENCODINGS:
        if content.startswith(mark):
            text = content.decode(encoding, "ignore").strip("\ufeff\0 \t\r\n")
            return _without_encoding(text).encode("utf-8", "ignore")
    return content.strip(b"\0 \t\r\n")


def _without_encoding(text: str) -> str:
    return re.sub(r"(<\?xml[^>]*?)\s+encoding\s*=\s*(\"[^\"]*\"|'[^']*')", r"\1", text, count=1)
