"""Names of what is kept beside a file while it is made."""

from __future__ import annotations

import hashlib
import os

# Of one part of a path, in bytes: NAME_MAX of Linux, macOS and Windows' file systems.
LONGEST_NAME_BYTES = 255
KEPT_BYTES = 150


def hidden_name(name: str, ending: str) -> str:
    """`.NAME` with an ending; of a name that leaves no room for both, its beginning and a digest of the whole.

    Args:
        name: of a file, without folders.
        ending: what tells the kind: ".edsr-video".
    """
    plain = f".{name}{ending}"
    if len(os.fsencode(plain)) <= LONGEST_NAME_BYTES:
        return plain
    encoded = os.fsencode(name)
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f".{encoded[:KEPT_BYTES].decode('utf-8', 'ignore')}~{digest}{ending}"
