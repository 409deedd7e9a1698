"""What the OpenAPI document says of jobs."""

from typing import Any

from app.generation.schemas.status import JobStatus
from app.routes.openapi import (
    BINARY,
    DOOR,
    HEADER,
    NOT_READY,
    REQUEST_ID,
    RETRY_AFTER,
    SEED,
    STORAGE_FULL,
    TOO_MANY,
    UNCHANGED,
    Responses,
    problem_response,
)

JOB = {
    **HEADER,
    "kind": "sample",
    "status": "running",
    "detail": None,
    "total": 50000,
    "done": 1216,
    "rate": 7.6,
    "left_s": 6418.9,
    "created_at": "2026-01-01T12:00:00Z",
    "started_at": "2026-01-01T12:00:01Z",
    "finished_at": None,
    "expires_at": "2026-01-08T12:00:00Z",
}
ACCEPTED: Responses = {
    202: {
        "description": "With `Prefer: respond-async`: the job, which is safely stored.",
        "model": JobStatus,
        "headers": {
            "Location": {"description": "/jobs/{id}", "schema": {"type": "string"}},
            "Preference-Applied": {
                "description": "`respond-async`.", "schema": {"type": "string"}
            },
        },
        "content": {
            "application/json": {"example": {**JOB, "status": "waiting", "done": 0, "rate": None,
                                             "left_s": None, "started_at": None}}
        },
    }
}  # fmt: skip
NO_JOB: Responses = {
    **DOOR,
    **problem_response(404, "There is no job with this id, or it has been deleted."),
    429: TOO_MANY,
    **NOT_READY,
}
JOB_RESPONSES: Responses = {
    200: {
        "description": "Status and progress.",
        "content": {"application/json": {"example": JOB}},
    },
    **NO_JOB,
}
DELETED: Responses = {**NO_JOB, **STORAGE_FULL}
EVENTS_RESPONSES: Responses = {
    200: {
        "description": "The events, until the job ends.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 1216\nevent: progress\ndata: {"done":1216,…}\n\n',
            }
        },
    },
    204: {"description": "The client already has the last event."},
    **NO_JOB,
}
STORED: dict[str, Any] = {
    "ETag": {
        "description": "Names the result in this representation.",
        "schema": {"type": "string"},
        "required": True,
    },
    "Content-Disposition": {
        "description": "The name of a file for it.",
        "schema": {"type": "string"},
        "required": True,
    },
    "Accept-Ranges": {"description": "`bytes`, of a zip or npz.", "schema": {"type": "string"}},
}
PART: dict[str, Any] = {
    "Content-Range": {
        "description": "Which bytes, of how many.",
        "schema": {"type": "string"},
        "required": True,
    }
}
RESULT_RESPONSES: Responses = {
    200: {
        "description": "The result, in the representation that Accept asks for: any of the "
        "synchronous answer's, except text/event-stream.",
        "headers": {**SEED, **STORED},
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/zip": BINARY,
            "application/x-npz": BINARY,
            "image/png": BINARY,
            "image/gif": BINARY,
            "image/webp": BINARY,
            "image/apng": BINARY,
        },
    },
    **UNCHANGED,
    206: {
        # Without its content: a generator of clients warns of a type that it cannot parse.
        "description": "The part of a zip or npz that Range asks for, of the same media type.",
        "headers": {**SEED, **STORED, **PART},
    },
    **problem_response(406, "The server offers no representation that Accept allows."),
    **problem_response(409, "The job is not finished yet, or it failed."),
    **problem_response(410, "The job has expired."),
    416: {**problem_response(416, "The result has no bytes in this range.")[416], "headers": PART},
    **problem_response(422, "A picture of the whole result would be too large."),
    **NO_JOB,
    **STORAGE_FULL,
    503: {
        **problem_response(
            503,
            "No room for the answer, no storage, or lost images are made again; see Retry-After.",
        )[503],
        "headers": {**REQUEST_ID, **RETRY_AFTER},
    },
}
