"""Work that outlives a killed run: a folder beside the output with finished segments of encoded video.

A segment file is a sequence of packets, each a header (HEADER) and the encoded bytes. It is written under another name,
brought to the disk, then renamed: one that bears its name is whole. `work.json` says what the work is; the segments of
another input, model or encoding are thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from ..errors import OutputBusyError, OutputError
from ..hidden import hidden_name
from ..locking import LOCK, holder, take
from .encoder import CodedPacket

FORMAT = 1
HEADER = struct.Struct("<qqBI")  # pts, duration, is it a key frame, bytes
SAMPLE_BYTES = 2**20


@dataclass(frozen=True)
class SegmentInfo:
    """What is in a finished segment: frames, and how many of these were equal to the one before."""

    frames: int
    reused: int


@dataclass(frozen=True)
class Ending:
    """Written when all frames are done: how the input ended."""

    damaged: int
    truncated: bool
    notes: list[str]


def input_identity(path: Path) -> dict[str, Any]:
    """What tells one input from another without reading gigabytes: size, time of change, both ends."""
    status = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(0, status.st_size - SAMPLE_BYTES))
        digest.update(file.read(SAMPLE_BYTES))
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256_of_ends": digest.hexdigest()}


class Workshop:
    """The folder `.OUT.edsr-video` beside an output, for one run at a time.

    Args:
        target: the output; links were followed.
        identity: what the work is, as JSON takes it.
        restart: throw away what is there even of the same work.

    Attributes:
        segments: the finished ones, in order.
        ending: None until all frames are done.
        began_anew: whether there were segments of another input, model or encoding.

    Raises:
        OutputError: the folder cannot be written, or another run is at work in it.
    """

    def __init__(self, target: Path, identity: Mapping[str, Any], restart: bool = False) -> None:
        self.folder = target.parent / hidden_name(target.name, ".edsr-video")
        self.segments: list[SegmentInfo] = []
        self.ending: Ending | None = None
        self.began_anew = False
        wanted = {"format": FORMAT, **identity}
        self._lock: TextIO | None = None
        try:
            self.folder.mkdir(exist_ok=True)
            self._take(target)
            self._take_over(wanted, restart)
        except OSError as error:
            self.close()
            raise OutputError(f"Cannot write {self.folder}: {error.strerror}.") from None
        except BaseException:
            self.close()
            raise

    @property
    def frames(self) -> int:
        """Frames that are done."""
        return sum(segment.frames for segment in self.segments)

    @property
    def reused(self) -> int:
        """Of these equal to the one before."""
        return sum(segment.reused for segment in self.segments)

    def close(self) -> None:
        """Let others at the folder; it stays for the next run."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """The output is there: nothing of this is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def write(self) -> SegmentWriter:
        """Begin the next segment."""
        return SegmentWriter(self, len(self.segments))

    def finish(self, ending: Ending) -> None:
        """All frames are done."""
        self.ending = ending
        self._write_json("ending.json", asdict(ending))

    def packets(self) -> Iterator[CodedPacket]:
        """All packets of all segments, in the order of decoding."""
        for number in range(len(self.segments)):
            yield from read_packets(self.packet_path(number))

    def times(self) -> array[int]:
        """When each packet is shown, in the order of decoding."""
        times = array("q")
        for number in range(len(self.segments)):
            with self.packet_path(number).open("rb") as file:
                while len(header := file.read(HEADER.size)) == HEADER.size:
                    pts, _, _, size = HEADER.unpack(header)
                    times.append(pts)
                    file.seek(size, os.SEEK_CUR)
        return times

    def packet_path(self, number: int) -> Path:
        """Where the packets of a segment are."""
        return self.folder / f"{number:06d}.packets"

    def info_name(self, number: int) -> str:
        """The name of what is said of a segment; the segment is finished when this is there."""
        return f"{number:06d}.json"

    def _take(self, target: Path) -> None:
        self._lock = take(self.folder / LOCK)
        if self._lock is None:
            number = holder(self.folder / LOCK)
            raise OutputBusyError(f"Another run is at work on {target} (process {number}). Wait for it.")

    def _take_over(self, wanted: dict[str, Any], restart: bool) -> None:
        found = _read_json(self.folder / "work.json")
        if restart or found != wanted:
            self.began_anew = any(self.folder.glob("*.packets"))
            for path in self.folder.iterdir():
                if path.name != LOCK:
                    path.unlink()
            self._write_json("work.json", wanted)
            return
        while (info := _read_json(self.folder / self.info_name(len(self.segments)))) is not None:
            self.segments.append(SegmentInfo(**info))
        ending = _read_json(self.folder / "ending.json")
        self.ending = Ending(**ending) if ending is not None else None

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        partial = self.folder / f"{name}.part"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            _to_disk(file.fileno())
        partial.replace(self.folder / name)
        sync_folder(self.folder)

    def finished(self, info: SegmentInfo, partial: Path) -> None:
        """A segment is whole and on the disk: give it its name."""
        number = len(self.segments)
        partial.replace(self.packet_path(number))
        self._write_json(self.info_name(number), asdict(info))
        self.segments.append(info)


class SegmentWriter:
    """Writes one segment; nothing of it counts before `finish`."""

    def __init__(self, workshop: Workshop, number: int) -> None:
        self._workshop = workshop
        self._partial = workshop.folder / f"{number:06d}.part"
        self._file = self._partial.open("wb")

    def write(self, packet: CodedPacket) -> None:
        """Append a packet."""
        self._file.write(HEADER.pack(packet.pts, packet.duration, packet.is_key, len(packet.data)))
        self._file.write(packet.data)

    def finish(self, info: SegmentInfo) -> None:
        """The segment is whole."""
        self._file.flush()
        _to_disk(self._file.fileno())
        self._file.close()
        self._workshop.finished(info, self._partial)

    def close(self) -> None:
        """Throw it away, if it is not finished."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)


def read_packets(path: Path) -> Iterator[CodedPacket]:
    """The packets of one segment file.

    Raises:
        OutputError: it is damaged; the message says what to do.
    """
    with path.open("rb") as file:
        while header := file.read(HEADER.size):
            if len(header) == HEADER.size:
                pts, duration, is_key, size = HEADER.unpack(header)
                data = file.read(size)
                if len(data) == size:
                    yield CodedPacket(pts, duration, bool(is_key), data)
                    continue
            raise OutputError(f"{path} is damaged. Remove the folder {path.parent} and begin anew.")


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where that can be asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
