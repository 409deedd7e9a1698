"""What the OpenAPI document says of the models of a server."""

from typing import Any

from app.routes.openapi import DOOR, KEY_OR_NONE, NOT_READY, OK, Responses, problem_response

STATUS = {
    "name": "cifar10",
    "default": False,
    "state": "loading",
    "detail": "measuring its speed, round 3 of 8",
    "replacement": None,
    "load_seconds": None,
    "memory_bytes": None,
    "used_at": None,
    "engines": [],
    "model": None,
}
MODEL: Responses = {**OK, **DOOR, **NOT_READY}
LIST: Responses = {
    200: {
        **OK[200],
        "description": "The models, the default first.",
        "content": {"application/json": {"example": {"models": [STATUS], "loadable": ["mnist"]}}},
    },
    **DOOR,
}
UNKNOWN = problem_response(404, "The server has no model of this name.")
ENTRY: Responses = {
    200: {
        **OK[200],
        "description": "The model.",
        "content": {"application/json": {"example": STATUS}},
    },
    **DOOR,
    **UNKNOWN,
}
_ACCEPTED: Responses = {
    202: {
        **OK[200],
        "description": "What the model is now; it goes on in the background.",
        "content": {"application/json": {"example": STATUS}},
    },
    **DOOR,
    **problem_response(403, "The client has no API key with `admin = true`."),
}
LOAD: Responses = {
    **_ACCEPTED,
    **problem_response(408, "The body did not arrive in time."),
    **problem_response(413, "The body is too large."),
    **problem_response(415, "The body is not application/json."),
    **problem_response(422, "The server may not load this checkpoint, or has too many models."),
}
LOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "examples": {
                    "again": {"summary": "Its checkpoint again", "value": {}},
                    "other": {
                        "summary": "Another checkpoint", "value": {"checkpoint": "cifar10"}
                    },
                }
            }
        }
    },
    **KEY_OR_NONE,
}  # fmt: skip
UNLOAD: Responses = {**_ACCEPTED, **UNKNOWN}
