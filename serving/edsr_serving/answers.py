"""The way of an answer from a backend process to Triton: through shared memory, which may be small."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .repository import ServableModel

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
# What a request and its answer take there for each LR pixel of a model of scale s: 3 and 3 s^2 bytes. A region grows in
# steps and never shrinks; its own bookkeeping and the small messages take less than this.
SLACK_BYTES = 4 << 20


def free_bytes() -> int:
    """Room in shared memory for this user."""
    found = os.statvfs(SHARED_MEMORY)
    return found.f_bavail * found.f_frsize


def room_for(answer_bytes: int) -> str:
    """Why an answer cannot be handed to Triton, in a sentence for its client; "" if it can.

    Only for backend processes: asks the stub what its own region has left.
    """
    import c_python_backend_utils as stub  # type: ignore[import-not-found]

    left = max(int(stub.shared_memory.free_memory()), free_bytes())
    if answer_bytes + SLACK_BYTES <= left:
        return ""
    return (
        f"the answer of {answer_bytes / 2**20:.0f} MiB does not fit the server's shared memory (/dev/shm, "
        f"{left / 2**20:.0f} MiB left); send smaller pictures or tiles"
    )


def fitting_pixels(models: Sequence[ServableModel], room_bytes: int) -> dict[ServableModel, int]:
    """For each model whose largest request does not fit shared memory, the largest that does, in LR pixels.

    Every instance of every model keeps a region as large as the largest request it has had.
    """
    needs = {model: bytes_per_pixel(model) * model.instances * max_pixels(model) for model in models}
    regions = sum(model.instances for model in models)
    total, room = sum(needs.values()), room_bytes - SLACK_BYTES * regions
    if total <= room:
        return {}
    share = max(room, 0) / total
    return {model: max(1, int(max_pixels(model) * share)) for model in models}


def bytes_per_pixel(model: ServableModel) -> int:
    """Of a request and its answer, for each LR pixel."""
    scale = int(model.parameters.get("scale", 3))
    return 3 + 3 * scale**2


def max_pixels(model: ServableModel) -> int:
    """The largest request of a model, in LR pixels; 0 if its configuration does not say."""
    return int(model.parameters.get("max_lr_pixels", 0))
