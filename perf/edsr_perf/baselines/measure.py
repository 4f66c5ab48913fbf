"""The comparison: everybody on the same pictures, checked against float32, then measured in turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .agreement import check, difference
from .catalogue import ARRAY, FILES, JPEG, Baseline, expected
from .contestants import Cast, Contestant, Subject, Tell, start_all
from .pictures import PHOTOGRAPH, Pixels, decoded, encoded, photograph
from .turns import ratio, take_turns

Shape = tuple[int, int]
REFERENCE = "openvino-f32"


def measure(
    subject: Subject, baselines: Sequence[Baseline], shapes: Sequence[Shape], rounds: int, folder: Path, tell: Tell
) -> dict[str, Any]:
    """All results, without the machine's facts, as JSON.

    Args:
        subject: the network.
        baselines: what is compared; REFERENCE must be among them.
        shapes: (height, width) of the pictures, LR pixels.
        rounds: turns of each.
        folder: for logs and pictures.
        tell: called with a line per step.

    Raises:
        PerfError: something could not be made, started or run, or answers disagree.
    """
    with ExitStack() as stack:
        cast = start_all(subject, baselines, folder, stack, tell)
        rows = []
        for shape in shapes:
            rows += _of_shape(subject, cast, shape, rounds, tell)
    return {
        "model": subject.model,
        "scale": subject.scale,
        "picture": str(PHOTOGRAPH),
        "rounds": rounds,
        "threads": subject.threads,
        "rows": rows,
        "environments": cast.environments,
    }


def _of_shape(subject: Subject, cast: Cast, shape: Shape, rounds: int, tell: Tell) -> list[dict[str, Any]]:
    picture = photograph(subject.root, *shape)
    inputs: dict[str, Any] = {ARRAY: picture} | {level: encoded(picture, level) for level in FILES}
    references = _references(cast, inputs)
    by_encoder_db, _ = difference(references[JPEG], decoded(encoded(references[JPEG], JPEG)))
    told, warm_s = {}, {}
    for contestant in cast.contestants:
        given = inputs[contestant.level]
        contestant.upscale(given, 1, False)
        seconds, answer = contestant.upscale(given, 1, True)
        if answer is None:  # it was asked for
            raise AssertionError(contestant.name)
        psnr_db, levels = difference(answer, references[contestant.level])
        check(contestant.name, psnr_db, levels, expected(contestant.baseline, contestant.level, by_encoder_db))
        told[contestant.name], warm_s[contestant.name] = (psnr_db, levels), seconds[0]
    tell(f"{shape[0]}x{shape[1]}: all agree; {rounds} rounds of about {sum(warm_s.values()):.0f} s")
    turns = {
        each.name: lambda runs, each=each: each.upscale(inputs[each.level], runs, False)[0] for each in cast.contestants
    }
    taken = take_turns(turns, warm_s, rounds)
    return [_row(each, shape, taken, told[each.name], cast.contestants, tell) for each in cast.contestants]


def _references(cast: Cast, inputs: dict[str, Any]) -> dict[str, Pixels]:
    """Float32's answer on the pixels of each input."""
    by_float32 = next(each for each in cast.contestants if each.baseline.key == REFERENCE)
    found: dict[str, Pixels] = {}
    for level, given in inputs.items():
        answer = by_float32.upscale(given if level == ARRAY else decoded(given), 1, True)[1]
        if answer is not None:
            found[level] = answer
    return found


def _row(
    each: Contestant,
    shape: Shape,
    taken: dict[str, list[float]],
    told: tuple[float | None, int],
    everybody: list[Contestant],
    tell: Tell,
) -> dict[str, Any]:
    ours = next(one.name for one in everybody if one.baseline.key == "ours" and one.level == each.level)
    seconds = taken[each.name]
    times = ratio(seconds, taken[ours])
    tell(f"  {each.name:20} {statistics.median(seconds) * 1e3:9.1f} ms  {times:7.3g} of ours")
    return {
        "shape": list(shape),
        "level": each.level,
        "key": each.baseline.key,
        "title": each.baseline.title,
        "precision": each.baseline.precision,
        "median_s": float(f"{statistics.median(seconds):.5g}"),
        "of_ours": float(f"{times:.4g}"),
        "rounds_s": [float(f"{one:.5g}") for one in seconds],
        "psnr_db": told[0],
        "max_levels": told[1],
    }
