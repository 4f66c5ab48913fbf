"""What can go wrong, and how HTTP says it (RFC 9457, problem details): mapped here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from edsr_client import errors as client

Detail = str | int | float | bool | None | list[str]

# From the narrow to the wide: the first that fits decides.
_STATUS: tuple[tuple[type[client.EdsrError], int], ...] = (
    (client.ImageTooLargeError, 413),
    (client.BadImageError, 415),
    (client.BadVideoError, 415),
    (client.MissingExtraError, 501),
    (client.OutputError, 507),
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
    """The answer for an error of the client's."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return Problem(status, str(error))
