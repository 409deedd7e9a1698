"""What the OpenAPI document adds to the types of every endpoint: headers, errors, and what examples
have in common."""

from typing import Any

from app.generation.schemas.problems import ProblemBody
from app.http.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

PNG = "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAA…"
THREE = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAT0lEQVR42m3NoQ2AMBQA0ccvCY4Zugemo7EJqyCRjPAlskEh"
    "MUhOnbjk+GMkLKvQmnBX1FT0fiIFhOkzSkJXeI7Cc33J3pApbIz2AfPv1Au7aRGJ2WOqhAAAAABJRU5ErkJggg=="
)
"""A drawn 3, whole; 28 x 28."""
LOWER_HALF = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAGElEQVR42mNgoAZg/M/A8JGJgYGBgRICAIc9Agx43SXIAAAA"
    "AElFTkSuQmCC"
)
"""A mask, white in the lower half."""
SCHEMAS = "#/components/schemas/"
PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": f"{SCHEMAS}Problem"}}}
HEADER = {
    "id": "5f0c4ad2a8d64c1c9d3f0a5c9b2f7e11",
    "model": "mnist",
    "seed": 42,
    "sampler": "ddim",
    "steps": 50,
}
TIMING = {"queued_s": 0.004, "compute_s": 0.31}
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


KEY_OR_NONE: dict[str, Any] = {"security": [{}]}
"""Makes the API key optional in the document: only a server with keys needs one."""


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with the header that every answer has; and with the schema of problems,
    which it does not know of, instead of those of its own errors, which this server never sends."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            unsent = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in unsent:
                del operation["responses"]["422"]
            for answer in operation["responses"].values():
                answer["headers"] = {**answer.get("headers", {}), **REQUEST_ID}
    problem = ProblemBody.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
    schemas.update(problem.pop("$defs"), Problem=problem)
    return document


REQUEST_ID = {
    "X-Request-ID": {
        "description": "The request's id in the server's log: the client's own, or a new one.",
        "schema": {"type": "string"},
        "required": True,
    }
}
RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before another try.",
        "schema": {"type": "integer"},
        "required": True,
    }
}
SEED = {
    "X-Seed": {
        "description": "The seed of the images.",
        "schema": {"type": "integer"},
        "required": True,
    }
}
KNOWN: dict[str, Any] = {
    "ETag": {
        "description": "With a seed in the request: names the answer. A stream has none.",
        "schema": {"type": "string"},
    },
    "X-Cache": {
        "description": "`hit`: the answer was kept from an equal request.",
        "schema": {"type": "string"},
    },
}
BINARY = {"schema": {"type": "string", "format": "binary"}}


def problem_response(status: int, description: str) -> Responses:
    """A problem with this status, and when it is sent."""
    return {status: {"description": description, "headers": REQUEST_ID, "content": PROBLEM}}


OK: Responses = {200: {"headers": REQUEST_ID}}
NOT_READY: Responses = {
    503: {
        **problem_response(
            503,
            "The server is starting, restarting, shutting down or full, or the model is being "
            "loaded; see Retry-After.",
        )[503],
        "headers": {**REQUEST_ID, **RETRY_AFTER},
    }
}


TOO_MANY: dict[str, Any] = {
    **problem_response(429, "The client has reached its own limits.")[429],
    "headers": {**REQUEST_ID, **RETRY_AFTER},
}
DOOR: Responses = {
    **problem_response(401, "The request has none of the server's API keys."),
    **problem_response(403, "A page of another site asks, or the key may not do this."),
    **problem_response(421, "Host is no name of this server."),
}
OUTDATED_KEY = (
    "The Idempotency-Key was used with a model, or on a kind of machine, that is no longer there."
)
STORAGE_FULL = problem_response(507, "There is no room in the storage of jobs.")
ERRORS: Responses = {
    **DOOR,
    **problem_response(406, "The server offers no representation that Accept allows."),
    **problem_response(408, "The body did not arrive in time."),
    **problem_response(413, "The body is too large."),
    **problem_response(415, "The body is not application/json."),
    **problem_response(422, "A field is invalid, or the answer would be too large."),
    429: TOO_MANY,
    **problem_response(500, "A bug in the server, or a model whose output is not a number."),
    **NOT_READY,
    **problem_response(504, "The request took longer than `Prefer: wait` or the server allows."),
}
KEYED_ERRORS: Responses = {
    **ERRORS,
    **problem_response(409, OUTDATED_KEY),
    **problem_response(
        422,
        "A field is invalid, the answer would be too large, or the Idempotency-Key was used with "
        "another request.",
    ),
    **STORAGE_FULL,
}
"""Where a request may have an Idempotency-Key, or be a job."""

UNCHANGED: Responses = {
    304: {
        "description": "If-None-Match names the answer: the client has it already.",
        "headers": {"ETag": KNOWN["ETag"]},
    }
}
