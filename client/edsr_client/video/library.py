"""PyAV, loaded when it is needed, and without a word on standard error."""

from __future__ import annotations

import os
from types import ModuleType

from ..errors import MissingExtraError


def load() -> ModuleType:
    """The module `av`.

    Raises:
        MissingExtraError: it is not installed.
    """
    # SVT-AV1 writes to standard error past FFmpeg's log; 1: errors only. Read when it is first used.
    os.environ.setdefault("SVT_LOG", "1")
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            f"Videos need PyAV, which is not installed ({error}). Install it: pip install "
            "'av>=16,<19' (what the extra [video] of edsr-client brings)."
        ) from None
    return av
