"""What a picture may take: pixels, bytes of decoded frames, metadata, scans. All limits stand here; pure.

Everything is derived from `max_pixels`: the decoded frames of a file may take together what one picture of that size
takes with 16 bits and transparency.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ImageTooLargeError

# 100 megapixels become 900, 2.7 GB of RGB: more is rather an attack, or a mistake, than a wish.
DEFAULT_MAX_PIXELS = 100_000_000
# uint16 RGBA.
BYTES_PER_PIXEL = 8
# An array and a Pillow image around every frame, however small.
FRAME_OVERHEAD_BYTES = 4_096
# Beside the pixels: profiles, texts, thumbnails, further pages.
FILE_OVERHEAD_BYTES = 256_000_000
# Of one directory of tags as Python objects. Real files have thousands of strips, not millions.
TAGS_BYTES = 64_000_000
# A text or a profile of a PNG file; Pillow has a limit of 64 MB for all texts together.
MAX_UNPACKED_BYTES = 2**24
# Pages of a TIFF file; Pillow compares each with all before.
MAX_PAGES = 20_000
# What libjpeg-turbo's own tools take for an attack, and how often all pixels may be gone over (usual are 10 times).
MAX_SCANS, SCANS_OF_ALL = 500, 32
RAISE = "If that is meant, raise max_pixels=... (`--max-pixels`)."


@dataclass(frozen=True)
class Budget:
    """The limits for one file.

    Attributes:
        name: of the file, for messages.
        max_pixels: of one frame.
    """

    name: str
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def frames_bytes(self) -> int:
        """What all decoded frames together may take."""
        return self.max_pixels * BYTES_PER_PIXEL

    def check_size(self, size: tuple[int, int], what: str = "") -> None:
        """Raise ImageTooLargeError if a frame of (width, height) is over the limit."""
        width, height = size
        if width * height > self.max_pixels:
            raise ImageTooLargeError(
                f"{self.name} claims {what}{width}x{height} = {width * height:,} pixels, more than "
                f"{self.max_pixels:,}. {RAISE}"
            )

    def check_frames(self, count: int, size: tuple[int, int], pixel_bytes: int = 4) -> None:
        """Raise ImageTooLargeError if `count` frames of (width, height) take too much together."""
        if count <= 1:
            return
        taken = count * (size[0] * size[1] * pixel_bytes + FRAME_OVERHEAD_BYTES)
        if taken > max(self.frames_bytes, FRAME_OVERHEAD_BYTES * 2):
            raise ImageTooLargeError(
                f"{self.name} has {count:,} frames of {size[0]}x{size[1]}, {taken:,} bytes decoded, more than "
                f"{self.frames_bytes:,} ({BYTES_PER_PIXEL} times max_pixels). {RAISE}"
            )

    def check_scans(self, scans: int, size: tuple[int, int]) -> None:
        """Raise ImageTooLargeError if a JPEG goes over its pixels so often that only an attack does."""
        most = min(MAX_SCANS, max(SCANS_OF_ALL, SCANS_OF_ALL * self.max_pixels // max(1, size[0] * size[1])))
        if scans > most:
            raise ImageTooLargeError(
                f"{self.name} goes over its {size[0]}x{size[1]} pixels in {scans:,} scans, more than {most}: "
                "that takes long. Write it anew (`jpegtran -progressive`), or raise max_pixels=... (`--max-pixels`)."
            )

    def check_tags(self, taken: int, held: int, what: str) -> None:
        """Raise ImageTooLargeError if tags would unpack to far more than they are in the file.

        Args:
            taken: bytes of Python objects that their numbers become.
            held: bytes that they name, counted as often as they are named.
            what: they are, for the message.
        """
        if max(taken, held) > TAGS_BYTES:
            raise ImageTooLargeError(
                f"{self.name}: {what} unpack to {max(taken, held):,} bytes, more than {TAGS_BYTES:,}. No camera writes "
                "such; remove them (`exiftool -all= FILE`), or convert the picture."
            )

    def check_pages(self, count: int) -> None:
        """Raise ImageTooLargeError if a TIFF file has more pages than can be gone through."""
        if count > MAX_PAGES:
            raise ImageTooLargeError(
                f"{self.name} has more than {MAX_PAGES:,} pages. Split it (`tiffsplit`, `magick`) first."
            )

    def check_tile(self, taken: int) -> None:
        """Raise ImageTooLargeError if a TIFF's strip or tile alone is larger than a picture may be."""
        if taken > self.frames_bytes:
            raise ImageTooLargeError(
                f"{self.name} has strips or tiles of {taken:,} bytes, more than {self.frames_bytes:,} "
                f"({BYTES_PER_PIXEL} times max_pixels). {RAISE}"
            )


def max_file_bytes(max_pixels: int) -> int:
    """The largest file that is read whole: uncompressed pixels, and what may stand beside them."""
    return max_pixels * BYTES_PER_PIXEL + FILE_OVERHEAD_BYTES
