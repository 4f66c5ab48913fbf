"""How problems are answered, in the words of the path that was asked."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from .errors import Problem

OLD_PATH, TRITON_PATH = "/enhance", "/v2"


def answer(problem: Problem) -> Response:
    """A problem as RFC 9457 writes it."""
    return JSONResponse(problem.body(), problem.status, problem.headers, "application/problem+json")


def old_answer(problem: Problem) -> Response:
    """A problem as the replaced service said it: 400 for whatever the sender can mend."""
    status = problem.status if problem.status in (401, 403, 405, 429) or problem.status >= 500 else 400
    return JSONResponse({"error": problem.detail}, status, problem.headers)


def triton_answer(problem: Problem) -> Response:
    """A problem as Triton says it, for clients that know nothing else."""
    return JSONResponse({"error": problem.detail}, problem.status, problem.headers)


def refusal(scope: Scope, problem: Problem) -> Response:
    """The answer of the path that was asked."""
    path = scope["path"]
    if path == OLD_PATH:
        return old_answer(problem)
    if path == TRITON_PATH or path.startswith(f"{TRITON_PATH}/"):
        return triton_answer(problem)
    return answer(problem)
