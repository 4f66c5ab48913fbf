"""The way of an answer from a backend process to Triton: through shared memory, which may be small."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .processes import SHARED_MEMORY

if TYPE_CHECKING:
    from .repository import ServableModel

# A stub's region never shrinks, and grows by what an answer needs and at most one step more; messages are small.
GROWTH_BYTES, MESSAGE_BYTES = 1 << 20, 1 << 17
# Of each region, beside requests and answers.
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

    in_region, outside = int(stub.shared_memory.free_memory()), free_bytes() - GROWTH_BYTES
    if answer_bytes + MESSAGE_BYTES <= max(in_region, outside):
        return ""
    return (
        f"the answer of {answer_bytes / 2**20:.1f} MiB does not fit the server's shared memory (/dev/shm is full); "
        "send smaller pictures or tiles"
    )


def fitting_pixels(models: Sequence[ServableModel], room_bytes: int) -> dict[ServableModel, int]:
    """For each model whose largest request does not fit shared memory, the largest that does, in LR pixels.

    Every instance of every model keeps a region as large as the largest request it has had.
    """
    needs = {model: bytes_per_pixel(model) * model.processes * max_pixels(model) for model in models}
    regions = sum(model.processes for model in models)
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


def check_shared_memory(models: Sequence[ServableModel]) -> tuple[dict[ServableModel, int], str]:
    """(The largest requests that shared memory has room for, a warning); ({}, "") where all have room."""
    room = free_bytes()
    smaller = fitting_pixels(models, room)
    if not smaller:
        return {}, ""
    need = sum(
        bytes_per_pixel(each) * each.processes * max_pixels(each) + SLACK_BYTES * each.processes for each in models
    )
    limits = ", ".join(f"{model.name} {pixels:,} pixels" for model, pixels in smaller.items())
    return smaller, (
        f"Shared memory (/dev/shm) has {room / 2**20:,.0f} MiB left, and the largest requests and their answers need "
        f"{need / 2**20:,.0f}. Requests are limited to what fits: {limits}. Larger pictures are sent in tiles. Give it "
        f"more (`docker run --shm-size=...`, `mount -o remount,size=... /dev/shm`), or serve fewer models (MODEL=)."
    )
