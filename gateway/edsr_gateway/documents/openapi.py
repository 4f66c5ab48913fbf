"""The OpenAPI document, written by hand: what callers may rely on. A test compares its paths with the routes."""

from __future__ import annotations

from functools import cache
from typing import Any

from .. import __version__
from ..routes.negotiation import MEDIA_TYPES, VIDEO_TYPES
from . import schemas

URL = "http://localhost:8080"
"""In the examples; the page puts the address there that it was asked by."""
NOT_DESCRIBED = ("/", "/page/", "/docs", "/docs.css", "/openapi.json", "/v2")
"""The page and these documents, and the Open Inference Protocol, which is not ours to describe."""

_PARTS = "Pictures", "Jobs", "The gateway"


@cache
def document() -> dict[str, Any]:
    """The document, as OpenAPI 3.1 has it. Each operation has an example of curl in `x-curl`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edsr-gateway",
            "version": __version__,
            "description": "Pictures in, pictures of three times the size out, by EDSR super-resolution on Triton. "
            "A browser finds a page at `/`, a Triton client the Open Inference Protocol under `/v2`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in _PARTS],
        "security": [{}, {"key": []}],
        "paths": {**_pictures(), **_jobs(), **_gateway()},
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, where the gateway asks for one (`keys` in /v1/info).",
                }
            },
            "schemas": schemas.SCHEMAS,
        },
    }


def _pictures() -> dict[str, Any]:
    return {
        "/v1/upscale": {
            "post": _operation(
                "Pictures",
                "Upscale a picture",
                "Send the picture as a form with one file in the field `image` or `file`, or as the body itself. The "
                "answer is the upscaled picture, of the same kind as the input unless you ask for another: by the "
                "option `format`, or by `Accept`. Options go into the address or into the form. With "
                "`Prefer: respond-async` the answer is a job instead.",
                f"curl -F image=@old.jpg '{URL}/v1/upscale?format=webp&quality=90' -o new.webp",
                parameters=[*_options(), *_headers()],
                body=_body("image", "file"),
                responses={**_made(), "202": _job_taken(), **_problems(*_REFUSED)},
            ),
            "put": _operation(
                "Pictures",
                "The same, for curl -T",
                "The body is the picture.",
                f"curl -T old.jpg '{URL}/v1/upscale?format=jpeg' -o new.jpg",
                parameters=[*_options(), *_headers()],
                body={"required": True, "content": {"*/*": _PICTURE}},
                responses={**_made(), "202": _job_taken(), **_problems(*_REFUSED)},
            ),
        },
        "/enhance": {
            "post": _operation(
                "Pictures",
                "Upscale a picture, as the replaced service did",
                "A form with the field `image`. The answer is PNG unless you ask for another format. Errors are "
                '`{"error": "..."}`, with 400 for what you can mend.',
                f"curl -F image=@old.jpg {URL}/enhance -o new.png",
                parameters=[*_options(), *_headers()[:2]],
                body=_body("image"),
                responses={
                    **_made(),
                    **{
                        status: _old_error()
                        for status in ("400", "401", "403", "429", "500", "501", "503", "504", "507")
                    },
                },
            )
        },
    }


def _jobs() -> dict[str, Any]:
    one = [_parameter("id", "path", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, "The job's.", required=True)]
    return {
        "/v1/jobs": {
            "post": _operation(
                "Jobs",
                "Upscale a picture or a video later",
                "As /v1/upscale, and videos too. The answer comes at once and says where to ask for the job.",
                f"curl -F file=@old.jpg {URL}/v1/jobs",
                parameters=_options(),
                body=_body("image", "file"),
                responses={"202": _job_taken(), **_problems(*_REFUSED, 507)},
            ),
            "put": _operation(
                "Jobs",
                "The same, with the file as the body",
                "What `curl -T` sends.",
                f"curl -T old.jpg '{URL}/v1/jobs?format=png'",
                parameters=_options(),
                body={"required": True, "content": {"*/*": _PICTURE}},
                responses={"202": _job_taken(), **_problems(*_REFUSED, 507)},
            ),
            "get": _operation(
                "Jobs",
                "List your jobs",
                "Those of the key that asks, the newest first. Without keys nobody's jobs are his own: 403.",
                f"curl {URL}/v1/jobs",
                responses={
                    "200": _json("Your jobs.", {"type": "object", "properties": {"jobs": _array("Job")}}),
                    **_problems(401, 403, 503),
                },
                succeeds=False,
            ),
        },
        "/v1/jobs/{id}": {
            "get": _operation(
                "Jobs",
                "How a job is",
                "Finished jobs are kept for a while, then they expire with their files.",
                f"curl {URL}/v1/jobs/ID",
                parameters=one,
                responses={"200": _json("The job.", _ref("Job")), **_problems(401, 404, 410, 503)},
                succeeds=False,
            ),
            "delete": _operation(
                "Jobs",
                "Cancel a job",
                "Whatever state it is in: it is stopped, and all its files are removed.",
                f"curl -X DELETE {URL}/v1/jobs/ID",
                parameters=one,
                responses={"204": {"description": "It is gone."}, **_problems(401, 404, 503)},
                succeeds=False,
            ),
        },
        "/v1/jobs/{id}/events": {
            "get": _operation(
                "Jobs",
                "Follow a job",
                "Server-sent events: the job, as often as it changes, until it is finished.",
                f"curl -N {URL}/v1/jobs/ID/events",
                parameters=one,
                responses={
                    "200": {
                        "description": "Events named `status`; their data is a job.",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **_problems(401, 404, 410, 429, 503),
                },
                succeeds=False,
            )
        },
        "/v1/jobs/{id}/result": {
            "get": _operation(
                "Jobs",
                "The result of a job",
                "Parts of it as well (`Range`). A job that failed answers with its problem.",
                f"curl {URL}/v1/jobs/ID/result -o new.jpg",
                parameters=one,
                responses={
                    "200": {"description": "The result.", "content": _media({**MEDIA_TYPES, **VIDEO_TYPES})},
                    "206": {"description": "A part.", "content": _media({**MEDIA_TYPES, **VIDEO_TYPES})},
                    "304": {"description": "The one you have is the one there is."},
                    **_problems(401, 404, 409, 410, 413, 415, 416, 422, 500, 501, 503, 504, 507),
                },
                succeeds=False,
            )
        },
    }


def _gateway() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/v1/info": {
            "get": _operation(
                "The gateway",
                "Models, formats, limits",
                "What there is and what is allowed. Where no Triton answers there are no models.",
                f"curl {URL}/v1/info",
                responses={"200": _json("All of it.", _ref("Info"))},
            )
        },
        "/healthz": {
            "get": _operation(
                "The gateway",
                "Whether it lives",
                "For a supervisor that would start it again.",
                f"curl {URL}/healthz",
                responses={"200": {"description": "It does.", "content": text}},
            )
        },
        "/readyz": {
            "get": _operation(
                "The gateway",
                "Whether a picture sent now would be upscaled",
                "For a balancer.",
                f"curl {URL}/readyz",
                responses={"200": _json("It would.", _ref("Ready")), **_problems(503)},
            )
        },
        "/metrics": {
            "get": _operation(
                "The gateway",
                "Figures for Prometheus",
                "Times of requests by route, format of the result, outcome and size of the picture; what is under way.",
                f"curl {URL}/metrics",
                responses={"200": {"description": "The figures.", "content": text}, **_problems(401)},
            )
        },
    }


_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_REFUSED = (400, 401, 403, 404, 406, 408, 413, 414, 415, 422, 429, 500, 501, 503, 504, 507)


def _operation(
    tag: str,
    summary: str,
    description: str,
    curl: str,
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    responses: dict[str, Any],
    succeeds: bool = True,
) -> dict[str, Any]:
    """`succeeds`: whether the example works as it stands; others need the id of a job, or keys."""
    told: dict[str, Any] = {"tags": [tag], "summary": summary, "description": description, "x-curl": curl}
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        told["requestBody"] = body
    return {**told, "x-curl-works": succeeds, "responses": responses}


def _parameter(name: str, place: str, schema: dict[str, Any], says: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "description": says, "schema": schema}


def _options() -> list[dict[str, Any]]:
    return [_parameter(name, "query", schema, says) for name, (schema, says) in schemas.OPTIONS.items()]


def _headers() -> list[dict[str, Any]]:
    return [
        _parameter("Accept", "header", {"type": "string"}, "The formats that you take; 406 if there is none of them."),
        _parameter("If-None-Match", "header", {"type": "string"}, "An ETag that you have: 304 if it is still the one."),
        _parameter("Prefer", "header", {"type": "string"}, "`respond-async`: answer with a job."),
    ]


def _body(*fields: str) -> dict[str, Any]:
    """A form with one of `fields`; where there are several also the picture alone."""
    files = {name: {"type": "string", "format": "binary"} for name in fields}
    options = {name: {**schema, "description": says} for name, (schema, says) in schemas.OPTIONS.items()}
    schema = {"type": "object", "properties": {**files, **options}, "additionalProperties": False}
    schema["oneOf"] = [{"required": [name]} for name in fields]
    content = {"multipart/form-data": {"schema": schema}}
    return {"required": True, "content": {**content, "application/octet-stream": _PICTURE}}


def _made() -> dict[str, Any]:
    headers = {
        name: {"description": says, "schema": {"type": "string"}} for name, says in schemas.RESULT_HEADERS.items()
    }
    return {
        "200": {"description": "The upscaled picture.", "headers": headers, "content": _media(MEDIA_TYPES)},
        "304": {"description": "The one you have is the one you would get."},
    }


def _media(types: dict[str, str]) -> dict[str, Any]:
    return dict.fromkeys(types.values(), _PICTURE)


def _job_taken() -> dict[str, Any]:
    where = {"Location": {"description": "Where to ask for it.", "schema": {"type": "string"}}}
    return {**_json("It is taken in.", _ref("JobTaken")), "headers": where}


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {str(status): {"description": schemas.PROBLEMS[status], "content": content} for status in statuses}


def _old_error() -> dict[str, Any]:
    return _json("What is the matter, in words.", _ref("OldError"))


def _json(says: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": says, "content": {"application/json": {"schema": schema}}}


def _array(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
