"""The command `edsr` in processes of its own that start at once: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

# Control characters but line breaks and tabs, what turns the direction of writing, and half characters.
UNSEEN = re.compile("[\0-\b\v\f\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Finished:
    """How a command ended: its exit code, minus the signal's number if one killed it; what it wrote; its memory."""

    code: int
    stdout: str
    stderr: str
    peak_bytes: int


def edsr(
    folder: Path, *arguments: object, environment: Mapping[str, str] | None = None, timeout_s: float = 120
) -> Finished:
    """Run the command in a folder, its standard streams in files there.

    Raises:
        AssertionError: it hangs. It is killed then.
    """
    return _run(_main, folder, arguments, environment, timeout_s)


def edsr_with_a_fault(folder: Path, *arguments: object) -> Finished:
    """The same, where the first thing that a command does ends in an error that nobody foresaw."""
    return _run(_faulty, folder, arguments, None, 60)


def _run(
    main: Callable[[list[str]], int],
    folder: Path,
    arguments: Sequence[object],
    environment: Mapping[str, str] | None,
    timeout_s: float,
) -> Finished:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["edsr_client.cli", "tqdm", "PIL.Image", "cv2", "aiohttp", "tritonclient.http.aio"])
    out, err, memory = (folder / f".{name}" for name in ("stdout", "stderr", "memory"))
    argv = [os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in arguments]
    arguments_of_child = (main, argv, folder, (out, err, memory), dict(environment or {}))
    process = context.Process(target=_child, args=arguments_of_child)
    process.start()
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"edsr {argv} hangs: {_read(err)[-2000:]}")
    peak = _read(memory)
    return Finished(process.exitcode, _read(out), _read(err), int(peak) if peak else 0)


def assert_told(finished: Finished, codes: Sequence[int] = range(1, 11)) -> None:
    """The command failed with one line of printable text, no traceback and no fault of its own."""
    assert finished.code in codes, (finished.code, finished.stderr[-2000:])
    assert "Traceback" not in finished.stderr
    assert "ignored" not in finished.stderr, finished.stderr
    assert_printable(finished)
    errors = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, finished.stderr
    assert len(errors[0]) < 2000


def assert_printable(finished: Finished) -> None:
    """Nothing that a terminal obeys."""
    for text in (finished.stdout, finished.stderr):
        assert not UNSEEN.search(text), ascii(text)


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""


def _child(
    main: Callable[[list[str]], int],
    argv: list[str],
    folder: Path,
    files: tuple[Path, Path, Path],
    environment: dict[str, str],
) -> NoReturn:
    os.chdir(folder)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, path in zip((1, 2), files[:2], strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = main(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    files[2].write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    os._exit(code)


def _main(argv: list[str]) -> int:
    """As the interpreter ends a program."""
    from edsr_client.cli import main

    try:
        return main(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1


def _faulty(argv: list[str]) -> int:
    import asyncio

    def fail() -> NoReturn:
        raise RuntimeError("unforeseen")

    asyncio.new_event_loop = fail
    return _main(argv)
