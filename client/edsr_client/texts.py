"""Words from elsewhere made fit to be shown: what servers say, names of files; pure."""

from __future__ import annotations

import re
import unicodedata

# Longest quotation of a server's words, and longest name of a model, in characters.
LONGEST_QUOTE = 300
LONGEST_NAME = 200
LONGEST_LINE = 1200
# Sequences that a terminal obeys (ECMA-48): colours, titles of windows, the cursor; then what is left of cut ones.
TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Turn the direction of what follows: a name could show its end first.
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def quoted(words: str, most: int = LONGEST_QUOTE) -> str:
    """Somebody's words on one line: no control characters, blanks for line breaks, " ..." where they are cut."""
    # Cut before the work too: what a server sends may be megabytes.
    text = TERMINAL.sub("", words[: 16 * most])
    text = " ".join("".join(" " if c.isspace() else c for c in text if c.isspace() or not _is_unseen(c)).split())
    return text if len(text) <= most and len(words) <= 16 * most else text[:most] + " ..."


def visible(text: str) -> str:
    """A text on one line: control characters, and what is no text in any encoding, as escapes (\\n, \\x1b, \\xff)."""
    return "".join(_escaped(c) if _is_unseen(c) else c for c in text)


def shortened(line: str, most: int = LONGEST_LINE) -> str:
    """A line without its middle where it is too long to be read, as with a name of four thousand bytes."""
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDIRECTIONAL


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is not UTF-8, as Python keeps it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
