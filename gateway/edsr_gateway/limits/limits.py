"""The bounds of everything that a stranger can ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Limits:
    """What a request, a client and a job may take. All are finite.

    Attributes:
        upload_bytes: of one picture.
        video_bytes: of one video.
        memory_bytes: of an upload or a result that is held in memory; larger ones go to disk.
        pixels: LR pixels of a picture, of all its frames.
        frames: of a video or an animation.
        upload_s: seconds for the whole of an upload.
        stall_s: seconds without a byte, in either direction.
        picture_s: seconds from the last byte of an upload to the answer.
        job_s: seconds of work for one job.
        in_flight: pictures that are under way or wait at a time.
        in_flight_per_client: of one address or key.
        pixels_in_flight: LR pixels that are under way or wait at a time.
        tensor_bytes: of one request for inference, and of its answer.
        jobs: kept at a time, finished ones too.
        jobs_per_client: of one address or key.
        job_bytes: on disk, of all jobs.
        job_expiry_s: seconds that a finished job is kept.
        scratch_bytes: on disk, of uploads and results that are under way.

    Raises:
        ValueError: a bound is not positive.
    """

    upload_bytes: int = 256 * MIB
    video_bytes: int = 2 * GIB
    memory_bytes: int = MIB
    pixels: int = 50_000_000
    frames: int = 20_000
    upload_s: float = 300
    stall_s: float = 20
    picture_s: float = 300
    job_s: float = 6 * 3600
    in_flight: int = 32
    in_flight_per_client: int = 16
    pixels_in_flight: int = 100_000_000
    tensor_bytes: int = 64 * MIB
    jobs: int = 200
    jobs_per_client: int = 50
    job_bytes: int = 8 * GIB
    job_expiry_s: float = 24 * 3600
    scratch_bytes: int = 16 * GIB

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not 0 < value < float("inf"):
                raise ValueError(f"the limit {one.name} must be more than 0 and finite, not {value!r}")
