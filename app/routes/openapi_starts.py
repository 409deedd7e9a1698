"""What the OpenAPI document says of requests that begin at pictures, and of encodings."""

from typing import Any

from app.routes.openapi import (
    BINARY,
    ERRORS,
    HEADER,
    KEY_OR_NONE,
    KNOWN,
    REQUEST_ID,
    THREE,
    TIMING,
    UNCHANGED,
    Responses,
)

ENCODE_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "examples": {
                    "one": {
                        "summary": "A picture",
                        "value": {"image": THREE, "resize": True, "steps": 50},
                    },
                    "labels": {
                        "summary": "Of a class, and not all the way",
                        "value": {"image": [THREE], "resize": True, "labels": 3, "t": 500},
                    },
                }
            }
        }
    },
    **KEY_OR_NONE,
}
ENCODE_RESPONSES: Responses = {
    200: {
        "description": "The states, in the representation that Accept asks for.",
        "headers": {**REQUEST_ID, **KNOWN},
        "content": {
            "application/json": {
                "example": {
                    "id": HEADER["id"],
                    "model": "mnist",
                    "steps": 50,
                    "t": 1000,
                    "x_t": "k05VTVBZAQB2AHsn…",
                    "timing": TIMING,
                }
            },
            "application/x-npz": BINARY,
        },
    },
    **UNCHANGED,
    **ERRORS,
}
