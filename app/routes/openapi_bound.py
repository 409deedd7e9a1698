"""What the OpenAPI document says of POST /bound."""

from typing import Any

from app.routes.openapi import (
    BINARY,
    ERRORS,
    HEADER,
    KEY_OR_NONE,
    KNOWN,
    PNG,
    REQUEST_ID,
    SEED,
    THREE,
    TIMING,
    UNCHANGED,
    Responses,
)

BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "examples": {
                    "one": {
                        "summary": "A picture",
                        "value": {"images": THREE, "resize": True, "seed": 1},
                    },
                    "some": {
                        "summary": "Some terms of a picture of a class",
                        "value": {
                            "images": [THREE], "resize": True, "labels": 3, "timesteps": [1, 100],
                        },
                    },
                }
            }
        }
    },
    **KEY_OR_NONE,
}  # fmt: skip
RESPONSES: Responses = {
    200: {
        "description": "The bound of each picture, in the representation that Accept asks for.",
        "headers": {**REQUEST_ID, **SEED, **KNOWN},
        "content": {
            "application/json": {
                "example": {
                    "id": HEADER["id"],
                    "model": "mnist",
                    "seed": 42,
                    "images": [
                        {
                            "label": 7,
                            "bits_per_dim": 0.98,
                            "standard_error": 0.02,
                            "L_T": 0.0001,
                            "L_0": 0.2,
                            "terms": [
                                {"t": 1, "bits_per_dim": 0.2, "weight": 1, "x_t": PNG,
                                 "x0_hat": PNG},
                            ],
                        }
                    ],
                    "timing": TIMING,
                }
            },
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: term\ndata: {"index":0,"t":40,"bits_per_dim":0.01,…}\n\n',
            },
            "application/x-npz": BINARY,
        },
    },
    **UNCHANGED,
    **ERRORS,
}  # fmt: skip
