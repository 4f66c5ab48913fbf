"""The command line: what can be said, and its help."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import shtab

from ..async_upscaler import check_tiling
from ..border import BORDERS, DEFAULT_BORDER, SMALL_SIDE_PX
from ..files import is_folder
from ..pictures.decode import DEFAULT_MAX_PIXELS
from ..pictures.formats import ALIASES, FORMATS
from ..pictures.png_effort import DEFAULT_EFFORT, EFFORTS
from ..retrying import RetryPolicy
from ..texts import shortened, visible
from ..video.options import CODECS, CONTAINERS, PIXEL_FORMATS
from ..video.options import DEFAULT_MAX_PIXELS as VIDEO_MAX_PIXELS
from . import batch, doctor, info, settings, targets, upscale, video
from .connection import TOKEN_VARIABLE, URL_VARIABLE

EXAMPLES = """\
examples:
  edsr upscale photo.jpg                      writes photo_x3.png beside it, metadata kept
  edsr upscale scan.tif out.tif --url a:8000,b:8000
  edsr upscale in.png out.webp --quality 90 --max-side 4096 --url gpu-box:8001 --protocol grpc
  edsr upscale - - --format jpeg < in.jpg > out.jpg
  edsr upscale *.jpg -o out/ --output-template '{stem}_x{scale}.{ext}' --format webp
  edsr batch scans/ out/ --recursive --format webp
  edsr video clip.mp4                         writes clip_x3.mp4, sound and subtitles copied; goes on if it was killed
  edsr info --json
  edsr doctor
  eval "$(edsr completion bash)"

~/.config/edsr.toml may hold url, token-file and defaults; what the command line and the environment say goes before it.

exit codes: 0 done, 2 wrong usage, 3 bad picture or video, 4 cannot write, 5 server unreachable or too slow,
6 not ready or busy, 7 no such model, 8 request refused, 9 access denied, 10 done in part: some pictures of
several failed, or a damaged video was written as far as it could be decoded, 1 the system refused, 70 a fault of edsr
itself, 130 interrupted, 143 terminated
"""

BATCH_EXAMPLES = """\
Results that are there are left, so the same command goes on where it was interrupted. OUT/edsr-manifest.jsonl holds a
line for every picture. One that cannot be read does not stop the others; the exit code is then 10.

examples:
  edsr batch scans/ out/ --recursive --format webp
  edsr batch 'scans/**/*.tif' out/ --url a:8000,b:8000
  find scans -name '*.jpg' -print0 | edsr batch --from-file - out/
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command, over the environment's, over those of the file of settings.

    Ends the process on wrong usage, with exit code 2. argparse gives up on `IN --option value OUT`: an argument that
    comes after an option.

    Raises:
        SettingsError: the file of settings is wrong.
    """
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    said = getattr(args, "format", None)
    if hasattr(args, "protocol"):  # a command that talks to a server
        args, rest = _over_settings(parser, args, argv)
    if len(rest) == 1 and (rest[0] == "-" or not rest[0].startswith("-")) and getattr(args, "dst", "") is None:
        args.dst, rest = rest[0], []
    for many in ("paths", "inputs"):
        if hasattr(args, many) and not any(name.startswith("-") and name != "-" for name in rest):
            setattr(args, many, [*getattr(args, many), *rest])
            rest = []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if hasattr(args, "inputs"):
        _one_or_several(args)
        if said is None and args.format is not None and _names_a_format(args):
            args.format = None
    return args


def _over_settings(
    parser: argparse.ArgumentParser, args: argparse.Namespace, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, list[str]]:
    """The arguments once more, with the file's values where neither the command line nor the environment says."""
    found = settings.read(settings.default_path())
    values = settings.defaults(found, args.command, args.parser)
    if os.environ.get(URL_VARIABLE):
        values.pop("url", None)
    lists = {key: values.pop(key) for key in ("url", "header") if key in values}  # argparse would add to these
    args.parser.set_defaults(**values)
    args, rest = parser.parse_known_args(argv)
    for key, value in lists.items():
        setattr(args, key, getattr(args, key) or value)
    if found.token is not None and args.token is None:
        args.token = found.token
        for note in found.notes:
            print(f"note: {visible(note)}", file=sys.stderr)
    return args, rest


def _one_or_several(args: argparse.Namespace) -> None:
    """`src` and `dst` of one picture. Two names are IN and OUT where nothing else says where to."""
    if len(args.inputs) == 2 and args.output is None and not args.output_template:
        args.inputs, args.dst = args.inputs[:1], args.inputs[1]
    else:
        args.dst = args.output
    args.src = args.inputs[0]


def _names_a_format(args: argparse.Namespace) -> bool:
    """Whether the result's name on the command line says its format: that goes before a default from the file."""
    name = args.output_template
    if not name and len(args.inputs) == 1 and args.dst is not None and not is_folder(args.dst):
        name = args.dst
    known = {extension for one in FORMATS.values() for extension in one.extensions}
    return bool(name) and Path(name).suffix.lower() in known


class _Parser(argparse.ArgumentParser):
    """Says what is wrong without what a terminal would obey."""

    def error(self, message: str) -> NoReturn:
        super().error(shortened(visible(message)))


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser: argparse.ArgumentParser = _Parser(
        prog="edsr",
        description="Super-resolution of pictures and videos by an EDSR model on a Triton server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edsr-client {version('edsr-client')}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="count", default=0, help="say what is sent and retried; -vv all")
    common.add_argument("--debug", action="store_true", help="show where in the program an error comes from")
    server = _server_options()
    commands = parser.add_subparsers(required=True, metavar="command")
    _upscale_command(commands, [server, common])
    _batch_command(commands, [server, common])
    _video_command(commands, [server, common])
    asked = commands.add_parser(
        "info", parents=[server, common], help="which servers, model, weights, precision and limits"
    )
    asked.add_argument("--json", action="store_true", help="machine-readable output")
    asked.set_defaults(run=info.run, command="info", parser=asked)
    examined = commands.add_parser(
        "doctor", parents=[server, common], help="is all well with the server, what is slow, what is misconfigured"
    )
    examined.add_argument("--json", action="store_true", help="machine-readable output")
    examined.set_defaults(run=doctor.run, command="doctor", parser=examined)
    completion = commands.add_parser("completion", parents=[common], help="print a completion script for a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh", "fish"))
    completion.set_defaults(run=_completion)
    return parser


def _server_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("server")
    group.add_argument(
        "--url",
        action="append",
        help=f"host:port, or https://host/path; several with commas or repeated (default: ${URL_VARIABLE}, else "
        "localhost)",
    )
    group.add_argument("--protocol", choices=("http", "grpc"), default="http", help="default: %(default)s")
    group.add_argument(
        "--model",
        metavar="NAME|auto",
        help="default: edsr_x3 if it is ready, else edsr_baseline_x3; auto: for JPEG files of low quality the server's "
        "model for compressed pictures",
    )
    group.add_argument(
        "--timeout", type=float, metavar="S", help="longest wait for one tile (default: by model and tile)"
    )
    group.add_argument(
        "--retries", type=int, default=RetryPolicy.retries, metavar="N", help="per tile (default: %(default)s)"
    )
    group.add_argument(
        "--token", default=os.environ.get(TOKEN_VARIABLE), help=f"bearer token (better: ${TOKEN_VARIABLE})"
    )
    group.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="sent with every request")
    group.add_argument("--ca-file", metavar="PEM", help="certificates to trust").complete = shtab.FILE  # type: ignore[attr-defined]
    group.add_argument("--cert-file", metavar="PEM", help="the client's own certificate").complete = shtab.FILE  # type: ignore[attr-defined]
    group.add_argument("--key-file", metavar="PEM", help="and its key").complete = shtab.FILE  # type: ignore[attr-defined]
    group.add_argument("--insecure", action="store_true", help="trust any certificate (HTTP only)")
    group.add_argument(
        "--shared-memory", action="store_true", help="hand tiles over in shared memory to a server on this machine"
    )
    return parser


def _upscale_command(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("upscale", parents=parents, help="upscale a picture of any size")
    parser.add_argument(
        "inputs",
        metavar="IN [OUT]",
        nargs="+",
        help="a picture, or - for standard input, and a file or folder, or - for standard output (default: IN_x3.png "
        "beside IN); with --output, or more than two: pictures",
    ).complete = shtab.FILE
    output = _result_options(parser, "by the name of OUT")
    output.add_argument(
        "-o", "--output", metavar="OUT", help="a file, for several pictures a folder; it is made if need be"
    ).complete = shtab.FILE
    output.add_argument(
        "--output-template",
        metavar="NAME",
        help=f"names of the results, of {', '.join('{' + name + '}' for name in targets.FIELDS)}",
    )
    output.add_argument("--overwrite", action="store_true", help="replace IN_x3.png; an OUT that is named always is")
    output.add_argument("--json", action="store_true", help="describe the result, or the error, as JSON")
    output.add_argument("-n", "--dry-run", action="store_true", help="say what there is to do, and about how long")
    output.add_argument("-q", "--quiet", action="store_true", help="no progress, no result line")
    tiles = _tile_options(parser)
    tiles.add_argument(
        "--bands",
        choices=("auto", "always", "never"),
        default="auto",
        help="read, send and write in bands: little memory, and an interrupted run goes on (default: auto, from 32 "
        "megapixels on; TIFF, PNG, JPEG)",
    )
    _restart_option(tiles)
    _frame_option(tiles)
    parser.set_defaults(run=upscale.run, command="upscale", parser=parser)


def _batch_command(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "batch",
        parents=parents,
        help="upscale folders of pictures; goes on where it was interrupted",
        epilog=BATCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        metavar="IN ... OUT",
        nargs="+",
        help="folders, pictures or patterns (in quotes), and the folder of the results, last",
    ).complete = shtab.FILE
    parser.add_argument(
        "--from-file",
        metavar="LIST",
        help="names of more pictures, one in a line, or with null characters; - for stdin",
    ).complete = shtab.FILE
    parser.add_argument("-r", "--recursive", action="store_true", help="look into folders of folders, keep their tree")
    parser.add_argument("--follow-links", action="store_true", help="look into folders that are linked to")
    parser.add_argument(
        "--own-results", action="store_true", help="take photo_x3.png beside photo.jpg, too; else it is passed over"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what there is to do, and about how long")
    parser.add_argument("--jobs", type=int, metavar="N", help="pictures at a time (default: suits the servers)")
    parser.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="S",
        help="wait so long for lost servers (default: %(default)g)",
    )
    output = _result_options(parser, "png")
    what = output.add_mutually_exclusive_group()
    what.add_argument("--skip-existing", action="store_true", help="leave results that are there (the default)")
    what.add_argument("--overwrite", action="store_true", help="make results that are there anew")
    output.add_argument("--json", action="store_true", help="a line of JSON for every picture, and a summary")
    output.add_argument("-q", "--quiet", action="store_true", help="no progress, no summary")
    _frame_option(_tile_options(parser))
    parser.set_defaults(run=batch.run, command="batch", parser=parser)


def _result_options(parser: argparse.ArgumentParser, default_format: str) -> Any:
    output = parser.add_argument_group("result")
    output.add_argument(
        "--format",
        type=lambda name: name.lower().lstrip("."),
        choices=(*FORMATS, *ALIASES),
        metavar="NAME",
        help=f"{', '.join(FORMATS)} (default: {default_format})",
    )
    defaults = ", ".join(f"{name.upper()} {format_.quality}" for name, format_ in FORMATS.items() if format_.quality)
    output.add_argument(
        "--quality", type=int, metavar="0-100", help=f"default: {defaults}; 100 is lossless in WebP, not in the others"
    )
    output.add_argument(
        "--png-effort",
        choices=tuple(EFFORTS),
        help=f"time spent on compressing PNG, which is lossless (default: {DEFAULT_EFFORT})",
    )
    output.add_argument("--scale", type=float, help="final size against the input's (default: the model's)")
    output.add_argument("--max-side", type=int, metavar="PX", help="longest side of the result")
    output.add_argument("--strip-metadata", action="store_true", help="drop EXIF, XMP, ICC profile, resolution, texts")
    return output


def _tile_options(parser: argparse.ArgumentParser) -> Any:
    tiles = parser.add_argument_group("tiles and limits")
    tiles.add_argument(
        "--tile", type=_tile, metavar="N|HxW", help="largest tile in pixels (default: what the server says)"
    )
    tiles.add_argument(
        "--halo",
        type=_halo,
        metavar="N|exact",
        help="pixels around a tile (default: at most one level off on photographs; see docs)",
    )
    _border_option(tiles)
    _self_ensemble_option(tiles)
    tiles.add_argument(
        "--max-pixels",
        type=_positive,
        default=DEFAULT_MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures (%(default)s)",
    )
    return tiles


def _border_option(group: Any) -> None:
    group.add_argument(
        "--border",
        choices=BORDERS,
        help="what lies beyond the picture: zeros, or its mirror image, as where a side has less than "
        f"{SMALL_SIDE_PX} pixels always (default: {DEFAULT_BORDER})",
    )


def _self_ensemble_option(group: Any) -> None:
    group.add_argument(
        "--self-ensemble",
        action="store_true",
        help="best and slowest: the mean of eight flips and quarter turns, at eight times the work",
    )


def _restart_option(group: Any) -> None:
    group.add_argument(
        "--restart",
        action="store_true",
        help="throw away what an interrupted run has left, begin anew",
    )


def _frame_option(group: Any) -> None:
    group.add_argument("--frame", type=int, metavar="N", help="take this frame or page, from 0")


def _video_command(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "video", parents=parents, help="upscale a video; sound, subtitles, chapters are copied (extra [video])"
    )
    parser.add_argument("src", metavar="IN", help="a video file").complete = shtab.FILE
    parser.add_argument(
        "dst",
        metavar="OUT",
        nargs="?",
        help=f"{', '.join(CONTAINERS)}, or a folder (default: IN_x3 beside IN, like IN or .mp4)",
    ).complete = shtab.FILE
    output = parser.add_argument_group("result")
    output.add_argument("--codec", choices=tuple(CODECS), help="default: h264; in .webm av1")
    defaults = ", ".join(f"{codec.name} {codec.crf}" for codec in CODECS.values())
    output.add_argument("--crf", type=int, metavar="N", help=f"constant quality, less is better (default: {defaults})")
    output.add_argument("--preset", metavar="NAME", help="speed of the encoder: ultrafast to placebo, for av1 13 to 0")
    output.add_argument("--pixel-format", choices=PIXEL_FORMATS, default=PIXEL_FORMATS[0], help="default: %(default)s")
    output.add_argument("--no-sound", action="store_true", help="leave the sound out")
    output.add_argument("--overwrite", action="store_true", help="replace IN_x3.*; an OUT that is named always is")
    output.add_argument("--json", action="store_true", help="describe the result, or the error, as JSON")
    output.add_argument("-q", "--quiet", action="store_true", help="no progress, no result line")
    work = parser.add_argument_group("work")
    work.add_argument(
        "--segment",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds of video after which work is safe from being killed (default: %(default)g)",
    )
    work.add_argument("--tile", type=_tile, metavar="N|HxW", help="largest tile in pixels (default: by the server)")
    work.add_argument("--halo", type=_halo, metavar="N|exact", help="pixels around a tile (see `edsr upscale`)")
    _border_option(work)
    _self_ensemble_option(work)
    work.add_argument(
        "--max-pixels", type=_positive, default=VIDEO_MAX_PIXELS, metavar="N", help="refuse larger frames (%(default)s)"
    )
    _restart_option(work)
    parser.set_defaults(run=video.run, command="video", parser=parser)


def _tile(text: str) -> int | tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    try:
        tile = (int(height), int(width)) if cross else int(height)
        check_tiling(tile, None)
        return tile
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, nor HEIGHTxWIDTH") from None


def _halo(text: str) -> int | str:
    try:
        halo = text if text == "exact" else int(text)
        check_tiling(None, halo)
        return halo
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, nor `exact`") from None


def _positive(text: str) -> int:
    try:
        if (number := int(text)) >= 1:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")


def _completion(args: argparse.Namespace) -> None:
    print(shtab.complete(make_parser(), args.shell))
