"""The output: the encoded video of all segments and, copied as they are, the other streams of the input."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from . import library
from .encoder import Plan, configure
from .reader import is_cover, open_source, start_offset, video_stream
from .segments import Workshop, sync_folder
from .timing import decoding_times, merged, reorder_delay

# What the muxer writes anew, or what was true of the old file only.
STALE_METADATA: tuple[str, ...] = ("major_brand", "minor_version", "compatible_brands", "vendor_id")
STALE_METADATA += ("encoder", "duration", "bps", "number_of_", "_statistics", "alpha_mode")
MIN_TIMESCALE, MAX_TIMESCALE = 10_000, 2**31 - 1


@dataclass(frozen=True)
class Copies:
    """Which streams of the input are copied: their indices, what they are in words, and notes on those that are not."""

    indices: tuple[int, ...]
    streams: tuple[str, ...]
    notes: tuple[str, ...]


def plan_copies(path: Path, target: Path, plan: Plan, with_sound: bool) -> Copies:
    """What of the input the output's container can hold, tried on one in memory; before the work.

    Raises:
        OutputError: it cannot hold the sound, or the header cannot be written.
    """
    av = library.load()
    indices, words, notes = [], [], []
    with open_source(path) as source:
        video = video_stream(source, path)
        for stream in source.streams:
            if stream.index == video.index or (stream.type == "video" and not is_cover(stream)):
                continue
            if stream.type == "audio" and not with_sound:
                continue
            if stream.type == "data" and "mov" in source.format.name.split(",") and source.chapters():
                continue  # QuickTime keeps the names of chapters in a stream; they are copied as chapters
            what = _describe(stream)
            try:
                if stream.type not in ("audio", "subtitle", "attachment", "video"):
                    raise ValueError
                # Of these the muxers say yes, and then drop them.
                only = {"attachment": "matroska", "video": "mp4"}.get(stream.type, plan.encoding.container)
                if plan.encoding.container != only:
                    raise ValueError
                with av.open(io.BytesIO(), "w", format=plan.encoding.container) as trial:
                    _add_copy(trial, stream)
                    if stream.type != "attachment":
                        trial.start_encoding()
            except (av.FFmpegError, ValueError, AttributeError):
                if stream.type == "audio":
                    raise OutputError(
                        f"{target.suffix} cannot hold the {what} of {path} as it is. Take .mkv, which holds "
                        "nearly all, or leave the sound out (sound=False, `--no-sound`)."
                    ) from None
                notes.append(f"{what} is left out: {target.suffix} cannot hold it")
                continue
            indices.append(stream.index)
            words.append(what)
        copies = Copies(tuple(indices), tuple(words), tuple(notes))
        try:
            with av.open(io.BytesIO(), "w", format=plan.encoding.container) as trial:
                _add_streams(trial, source, video, plan, copies)
                trial.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise OutputError(f"Cannot write {target}: its header is refused ({error}). Take .mkv.") from None
    return copies


def join(path: Path, target: Path, plan: Plan, copies: Copies, workshop: Workshop) -> None:
    """Write the output: under another name, to the disk, then renamed. A file that was there keeps its permissions.

    Args:
        path: the input.
        target: the output; links were followed.
        plan, copies: what is in it.
        workshop: with all segments.

    Raises:
        OutputError: it cannot be written.
    """
    av = library.load()
    partial = workshop.folder / f"joined{target.suffix.lower()}"
    times = workshop.times()
    delay = reorder_delay(times)
    try:
        with open_source(path) as source, av.open(str(partial), "w", **_muxing(plan)) as output:
            video = video_stream(source, path)
            streams = _add_streams(output, source, video, plan, copies)
            ours = _video_packets(av, workshop, times, delay, streams[video.index], plan)
            for packet in merged(ours, _copied_packets(av, source, streams, copies)):
                output.mux(packet)
            output.start_encoding()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        partial.replace(target)
        sync_folder(target.parent)
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"Cannot write {target}: {reason}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _muxing(plan: Plan) -> dict[str, Any]:
    """How to open the container: MP4 and QuickTime count in the time base of the source, so that no time is rounded."""
    container = plan.encoding.container
    options: dict[str, str] = {}
    ticks = plan.source.time_base.denominator
    if container in ("mp4", "mov") and ticks <= MAX_TIMESCALE:
        whole = ticks * max(1, -(-MIN_TIMESCALE // ticks))
        options = {"video_track_timescale": str(ticks), "movie_timescale": str(whole)}
    return {"format": container, "container_options": options}


def _add_streams(output: Any, source: Any, video: Any, plan: Plan, copies: Copies) -> dict[int, Any]:
    """All streams in the order of the input, by their index there; title, chapters and the like of the whole."""
    added: dict[int, Any] = {}
    output.metadata.update(_kept(source.metadata))
    for stream in source.streams:
        if stream.index == video.index:
            ours = output.add_stream(plan.encoding.codec.encoder, rate=plan.source.rate)
            configure(ours.codec_context, plan)
            ours.time_base = plan.source.time_base
            if plan.encoding.codec.name == "h265" and plan.encoding.container in ("mp4", "mov"):
                ours.codec_context.codec_tag = "hvc1"  # the other one, hev1, is not played by Apple's players
            if plan.source.display_matrix and hasattr(ours, "set_display_matrix"):
                ours.set_display_matrix(plan.source.display_matrix)
            ours.metadata.update(_kept(stream.metadata))
            ours.disposition = int(stream.disposition)
            added[stream.index] = ours
        elif stream.index in copies.indices:
            added[stream.index] = _add_copy(output, stream)
    if chapters := source.chapters():
        output.set_chapters(chapters)
    return added


def _add_copy(output: Any, stream: Any) -> Any:
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(_kept(stream.metadata))
    copy.disposition = int(stream.disposition)
    return copy


def _video_packets(
    av: Any, workshop: Workshop, times: Any, delay: int, stream: Any, plan: Plan
) -> Iterator[tuple[float, Any]]:
    time_base = plan.source.time_base
    for coded, dts in zip(workshop.packets(), decoding_times(times, delay), strict=True):
        packet = av.Packet(coded.data)
        packet.stream = stream
        packet.time_base = time_base
        packet.pts, packet.dts, packet.duration = coded.pts, dts, coded.duration
        packet.is_keyframe = coded.is_key
        yield float(dts * time_base), packet


def _copied_packets(av: Any, source: Any, streams: Mapping[int, Any], copies: Copies) -> Iterator[tuple[float, Any]]:
    """The packets of the streams that are copied; what is cut off ends early."""
    wanted = [source.streams[index] for index in copies.indices if source.streams[index].type != "attachment"]
    last: dict[int, int] = {}
    # MP4 fills the time between subtitles with empty ones (two bytes); its muxer makes them anew.
    gaps = {stream.index: 2 for stream in wanted if stream.type == "subtitle" and stream.name == "mov_text"}
    packets = source.demux(wanted) if wanted else iter(())
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        dts = packet.pts if packet.dts is None else packet.dts
        if dts is None and packet.size and packet.stream.type == "video":
            dts = 0  # a cover has no time
        if dts is None or packet.size <= gaps.get(packet.stream.index, 0):
            continue
        offset, index = start_offset(source, packet.time_base), packet.stream.index
        # Containers want rising times; where those of the input stand still, they are moved by the least.
        risen = max(dts - offset, last.get(index, dts - offset - 1) + 1)
        last[index] = risen
        packet.dts = risen
        packet.pts = risen if packet.pts is None else max(packet.pts - offset, risen)
        packet.stream = streams[index]
        yield float(risen * packet.time_base), packet


def _kept(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.lower().startswith(STALE_METADATA)}


def _describe(stream: Any) -> str:
    kind = {"audio": "sound", "subtitle": "subtitles", "video": "cover"}.get(stream.type, stream.type)
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else stream.name
    language = stream.metadata.get("language")
    return f"{kind} {name or 'of no known kind'}{f' ({language})' if language and language != 'und' else ''}"
