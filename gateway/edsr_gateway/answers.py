"""How problems are answered, in the words of the path that was asked."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from .errors import Problem

OLD_PATH = "/enhance"


def answer(problem: Problem) -> Response:
    """A problem as RFC 9457 writes it."""
    return JSONResponse(problem.body(), problem.status, problem.headers, "application/problem+json")


def old_answer(problem: Problem) -> Response:
    """A problem as the replaced service said it: 400 for whatever the sender can mend."""
    status = problem.status if problem.status in (401, 403, 405, 429) or problem.status >= 500 else 400
    return JSONResponse({"error": problem.detail}, status, problem.headers)


def refusal(scope: Scope, problem: Problem) -> Response:
    """The answer of the path that was asked."""
    return old_answer(problem) if scope["path"] == OLD_PATH else answer(problem)
