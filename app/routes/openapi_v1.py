"""What the OpenAPI document says of the paths for clients of OpenAI's API."""

from typing import Any

from app.generation.schemas.openai import ApiErrorBody
from app.routes.openapi import (
    HEADER,
    KEY_OR_NONE,
    KNOWN,
    OUTDATED_KEY,
    PNG,
    REQUEST_ID,
    RETRY_AFTER,
    SEED,
    TIMING,
    UNCHANGED,
    Responses,
)

MODEL_EXAMPLE = {"id": "mnist", "object": "model", "created": 0, "owned_by": "mnist"}


def error_response(status: int, description: str, *, is_passing: bool = False) -> Responses:
    """An error in the form of that API, and when it is sent; `is_passing`: with Retry-After."""
    headers = {**REQUEST_ID, **RETRY_AFTER} if is_passing else REQUEST_ID
    return {status: {"description": description, "headers": headers, "model": ApiErrorBody}}


DOOR: Responses = {
    **error_response(401, "The request has none of the server's API keys."),
    **error_response(403, "A page of another site asks."),
    **error_response(421, "Host is no name of this server."),
    **error_response(429, "The client has reached its own limits.", is_passing=True),
}
UNKNOWN = error_response(404, "The server has no model of this name.")
MODELS: Responses = {
    200: {
        "description": "The models, the default first.",
        "headers": REQUEST_ID,
        "content": {"application/json": {"example": {"object": "list", "data": [MODEL_EXAMPLE]}}},
    },
    **DOOR,
}
MODEL: Responses = {
    200: {
        "description": "The model.",
        "headers": REQUEST_ID,
        "content": {"application/json": {"example": MODEL_EXAMPLE}},
    },
    **DOOR,
    **UNKNOWN,
}
IMAGES: Responses = {
    200: {
        "description": "The images.",
        "headers": {**REQUEST_ID, **SEED, **KNOWN},
        "content": {
            "application/json": {
                "example": {
                    **HEADER,
                    "created": 1767268800,
                    "size": "28x28",
                    "timing": TIMING,
                    "data": [{"b64_json": PNG, "index": 0, "label": 7}],
                }
            }
        },
    },
    **UNCHANGED,
    **DOOR,
    **UNKNOWN,
    **error_response(
        400,
        "A field is invalid, the answer would be too large, or the Idempotency-Key was used with "
        "another request.",
    ),
    **error_response(406, "Accept does not allow JSON."),
    **error_response(408, "The body did not arrive in time."),
    **error_response(409, OUTDATED_KEY),
    **error_response(413, "The body is too large."),
    **error_response(415, "The body is not application/json."),
    **error_response(500, "A bug in the server, or a model whose output is not a number."),
    **error_response(
        503,
        "The server is starting, restarting, shutting down or full, or the model is being loaded.",
        is_passing=True,
    ),
    **error_response(504, "The request took longer than `Prefer: wait` or the server allows."),
    **error_response(507, "There is no room in the storage of jobs for the Idempotency-Key."),
}
IMAGES_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "examples": {
                    "class": {"summary": "Of a class", "value": {"prompt": "7", "n": 2}},
                    "large": {
                        "summary": "Larger, with fields of /sample",
                        "value": {"prompt": "", "size": "280x280", "sampler": "ddim", "seed": 1},
                    },
                }
            }
        }
    },
    **KEY_OR_NONE,
}
