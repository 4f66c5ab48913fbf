"""Many pieces of work, some at a time, results in the order of the inputs, inputs taken only as fast as results are."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from .errors import EdsrError

T = TypeVar("T")
R = TypeVar("R")
END: Any = object()


async def in_order(
    inputs: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Awaitable[R]],
    in_flight: int,
    return_errors: bool = False,
) -> AsyncGenerator[R | EdsrError, None]:
    """Yield work(input) for every input, in order.

    An input is taken when fewer than `in_flight` others are worked on or wait to be yielded: a consumer that is slow,
    or stops, slows the producer down. Whoever ends early (break, an exception, cancellation) leaves nothing running.

    Args:
        inputs: an iterable, whose `next` runs in a thread because it may block; or an async iterable.
        work: makes the result.
        in_flight: at least 1.
        return_errors: yield an EdsrError in the place of its result, and go on; else it is raised.

    Raises:
        EdsrError: of `work`, unless they are returned; then everything in flight is cancelled.
    """
    source = inputs if isinstance(inputs, AsyncIterable) else _in_thread(inputs)
    feed: Any = aiter(source)
    pending: deque[asyncio.Future[R]] = deque()
    coming: asyncio.Future[Any] | None = None
    ended = False
    try:
        while True:
            if coming is None and not ended and len(pending) < in_flight:
                coming = asyncio.ensure_future(_next(feed))
            waited = [future for future in (coming, pending[0] if pending else None) if future is not None]
            if not waited:
                return
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if coming is not None and coming.done():
                item, coming = coming.result(), None
                if item is END:
                    ended = True
                else:
                    pending.append(asyncio.ensure_future(work(item)))
            if pending and pending[0].done():
                yield _result(pending.popleft(), return_errors)
    finally:
        left = [*pending, *([coming] if coming is not None else [])]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _result(future: Any, return_errors: bool) -> Any:
    error = future.exception()
    if return_errors and isinstance(error, EdsrError):
        return error
    return future.result()


async def _next(feed: Any) -> Any:
    try:
        return await anext(feed)
    except StopAsyncIteration:
        return END


async def _in_thread(inputs: Iterable[T]) -> AsyncIterator[T]:
    iterator: Iterator[T] = iter(inputs)
    while (item := await asyncio.to_thread(next, iterator, END)) is not END:
        yield item
