"""What can go wrong, and how HTTP says it (RFC 9457, problem details): mapped here and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from edsr_client import errors as client

log = logging.getLogger("edsr_gateway")

Detail = str | int | float | bool | None | list[str]

# From the narrow to the wide: the first that fits decides.
_STATUS: tuple[tuple[type[client.EdsrError], int], ...] = (
    (client.ImageTooLargeError, 413),
    (client.DecoderDiedError, 422),
    (client.BadImageError, 415),
    (client.BadVideoError, 415),
    (client.MissingExtraError, 501),
    (client.OutputError, 422),
    (client.ServerTimeoutError, 504),
    (client.ModelNotFoundError, 404),
    (client.ServerError, 503),
)
_RETRY_AFTER_S = {429: 2, 503: 5, 504: 10}


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer other than success.

    `status` is HTTP's. `title` is the same for every problem of a kind, `detail` speaks about this one and says what to
    do next. `more` holds members of the problem's own (a limit, what came); `headers` go with the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Detail,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.more = more
        self.headers = dict(headers or {})
        if status in _RETRY_AFTER_S:
            self.headers.setdefault("Retry-After", str(_RETRY_AFTER_S[status]))

    def body(self) -> dict[str, Detail]:
        """The members of an `application/problem+json` answer."""
        return {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **self.more}


def problem_of(error: client.EdsrError) -> Problem:
    """The answer for an error of the client's.

    What the client says of a server is for its operator: it names addresses and commands. Strangers are told the state.
    """
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, client.ServerTimeoutError):
        return Problem(status, "The picture was not upscaled in time. Try again later, or with a smaller one.")
    if isinstance(error, client.ModelNotFoundError):
        return Problem(status, "The server does not serve that model; /v1/info lists those there are.")
    if isinstance(error, client.ServerBusyError):
        return Problem(status, "The server's queue is full. Try again in a moment.")
    if isinstance(error, client.ServerError):
        return Problem(status, "The server that upscales is not ready. Try again in a moment.")
    return Problem(status, str(error))


def problem_of_any(error: Exception) -> Problem:
    """The answer for anything that was raised. What nobody foresaw goes to the log with its trace, and is a 500."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, client.EdsrError):
        if isinstance(error, client.ServerError):
            log.warning("%s: %s", type(error).__name__, error)
        return problem_of(error)
    log.error("a request failed by a mistake of the gateway's", exc_info=error)
    return Problem(500, "The gateway made a mistake; its log says which. The picture is not at fault.")
