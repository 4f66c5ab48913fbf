"""The parts that the OpenAPI document is made of: options, headers, problems, schemas."""

from __future__ import annotations

from typing import Any

from edsr_client.pictures.png_effort import DEFAULT_EFFORT, EFFORTS

from ..routes.negotiation import MEDIA_TYPES, VIDEO_TYPES

OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "format": (
        {"type": "string", "enum": [*MEDIA_TYPES, "jpg", "tif", "heif", *VIDEO_TYPES]},
        "Of the result. The last few are for videos, which only jobs take.",
    ),
    "quality": (
        {"type": "integer", "minimum": 0, "maximum": 100},
        "For formats that have it; WebP is lossless at 100.",
    ),
    "scale": (
        {"type": "number", "exclusiveMinimum": 0, "maximum": 16},
        "Size of the result against the picture's. The network has its own scale; the rest is done by Lanczos.",
    ),
    "max_side": (
        {"type": "integer", "minimum": 1, "maximum": 200_000},
        "Longest side of the result, in pixels.",
    ),
    "metadata": (
        {"type": "string", "enum": ["keep", "strip"]},
        "Whether EXIF, XMP, ICC profile and texts go into the result. They do, unless you say strip.",
    ),
    "png_effort": (
        {"type": "string", "enum": list(EFFORTS), "default": DEFAULT_EFFORT},
        "Time spent on PNG's compression, which is lossless. Other formats take no notice.",
    ),
    "model": ({"type": "string"}, "A name of /v1/info, or auto: the one that suits the picture."),
    "self_ensemble": (
        {"type": "boolean"},
        "Take the mean of eight flips and quarter turns: a little better, and eight times the work.",
    ),
}

RESULT_HEADERS = {
    "Edsr-Model": "The model that was used.",
    "Edsr-Precision": "What it computed in.",
    "Edsr-Seconds": "Time of the work, without waiting and sending.",
    "Edsr-Input-Size": "WIDTHxHEIGHT of the picture that came.",
    "Edsr-Output-Size": "WIDTHxHEIGHT of the result.",
    "Edsr-Notes": "What could not be kept, if anything; percent-encoded where it is not ASCII.",
    "ETag": "Of the picture, the weights and the options.",
    "Content-Disposition": "A name for the file.",
}

PROBLEMS = {
    400: "Something is wrong with the request: an option, the form, an empty body.",
    401: "A key is missing, or is not known.",
    403: "Not allowed: a page of another site sent it, or lists are for owners of keys.",
    404: "There is no such path, model or job.",
    406: "None of what Accept names can be written.",
    408: "The upload came too slowly.",
    409: "The job is not finished.",
    410: "The job was cancelled or has expired.",
    413: "Too many bytes, pixels or frames; the problem says the limit.",
    414: "The address is too long.",
    415: "It is no picture that is read here, or the body is compressed.",
    416: "There is no such part.",
    422: "The picture cannot become what is asked for, or is damaged.",
    429: "Too much is under way: try again after Retry-After seconds.",
    500: "A mistake of the gateway's.",
    501: "This gateway was installed without what it takes.",
    503: "Triton is not ready: try again after Retry-After seconds.",
    504: "The work took too long: send it as a job.",
    507: "The gateway's disk has no room now.",
}

_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_PROBLEM = _object({"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT})
_URLS = {"status_url": _TEXT, "events_url": _TEXT, "result_url": _TEXT}
_STATUS = {
    "type": "string",
    "enum": ["queued", "running", "done", "failed", "cancelled", "lost", "expired"],
}
_RESULT = _object(
    {
        "format": _TEXT,
        "width": _COUNT,
        "height": _COUNT,
        "lr_width": _COUNT,
        "lr_height": _COUNT,
        "frames": _COUNT,
        "bytes": _COUNT,
        "model": _TEXT,
        "precision": _TEXT,
        "seconds": {"type": "number"},
        "notes": {"type": "array", "items": _TEXT},
    }
)
_MODEL = _object({"name": _TEXT, "scale": _COUNT, "precision": _TEXT, "backend": _TEXT, "inputs": _TEXT})
_FORMAT = _object({"name": _TEXT, "media_type": _TEXT, "extension": _TEXT, "lossy": {"type": "boolean"}})
_NAMES = {"type": "array", "items": _TEXT}

SCHEMAS: dict[str, Any] = {
    "Problem": {**_PROBLEM, "description": "RFC 9457. Some have further members: the limit, the option."},
    "OldError": _object({"error": _TEXT}),
    "Ready": _object({"ready": {"const": True}, "model": _TEXT}),
    "JobTaken": _object({"id": _TEXT, "status": _STATUS, **_URLS, "name": _TEXT}),
    "Job": _object(
        {
            "id": _TEXT,
            "status": _STATUS,
            "done": _COUNT,
            "total": _or_null(_COUNT),
            "unit": {"type": "string", "enum": ["tiles", "frames"]},
            "name": _TEXT,
            "created": {"type": "string", "format": "date-time"},
            "expires": _or_null({"type": "string", "format": "date-time"}),
            "note": _TEXT,
            "result": _or_null(_RESULT),
            "problem": _or_null(_PROBLEM),
            **_URLS,
        }
    ),
    "Info": _object(
        {
            "version": _TEXT,
            "ready": {"type": "boolean"},
            "models": {"type": "array", "items": _MODEL},
            "model": _TEXT,
            "formats": _object({"in": _NAMES, "out": {"type": "array", "items": _FORMAT}, "video_out": _NAMES}),
            "limits": {"type": "object", "additionalProperties": {"type": "number"}},
            "keys": {"type": "boolean"},
        }
    ),
}
