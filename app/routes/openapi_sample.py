"""What the OpenAPI document says of POST /sample and POST /denoise-trajectory."""

from typing import Any

from app.routes.openapi import (
    BINARY,
    HEADER,
    KEY_OR_NONE,
    KEYED_ERRORS,
    KNOWN,
    LOWER_HALF,
    PNG,
    REQUEST_ID,
    SEED,
    SHA256,
    THREE,
    TIMING,
    UNCHANGED,
    Responses,
)
from app.routes.openapi_jobs import ACCEPTED

REQUEST_HEADERS = [
    {
        "name": "Prefer",
        "in": "header",
        "description": "`respond-async`: answer at once with a job, which may have more samples.",
        "schema": {"type": "string"},
        "example": "respond-async",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request that is repeated with the same key gives the same job, or the "
        "same seed and so the same images. The same key with another request is an error (422).",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETags of answers that the client has: 304 if one of them is this one.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Webhook-URL",
        "in": "header",
        "description": "With `respond-async`: the URL to which the server POSTs the job's signed "
        "status when it ends.",
        "schema": {"type": "string", "format": "uri", "maxLength": 2000},
    },
]


def _body(examples: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    named = {
        name: {"summary": summary, "value": value} for name, (summary, value) in examples.items()
    }
    content = {"application/json": {"examples": named}}
    return {"requestBody": {"content": content}, "parameters": REQUEST_HEADERS, **KEY_OR_NONE}


SAMPLE_BODY = _body(
    {
        "one": ("One image", {}),
        "digits": (
            "One of each label, fast",
            {"n": 10, "seed": 42, "sampler": "ddim", "steps": 50, "labels": list(range(10))},
        ),
        "guided": (
            "Guided, with DPM-Solver++",
            {
                "n": 4,
                "seed": 1,
                "sampler": "dpmpp",
                "steps": 20,
                "labels": 7,
                "guidance": 1.5,
                "guidance_interval": [800, 100],
            },
        ),
        "model": ("Of another model", {"model": "mnist", "seed": 1, "steps": 20}),
        "later": ("Samples 100 to 103 of a seed", {"n": 4, "seed": 1, "first_index": 100}),
        "variance": ("Algorithm 2 with sigma_t^2 = beta_t", {"seed": 1, "variance": "fixed_large"}),
        "eta": ("DDIM with noise", {"seed": 1, "sampler": "ddim", "steps": 100, "eta": 0.5}),
        "spacing": (
            "Few steps of UniPC",
            {"seed": 1, "sampler": "unipc", "steps": 8, "spacing": "log_snr"},
        ),
        "image": (
            "A picture changed: it is noised to t = 500",
            {
                "n": 4,
                "seed": 1,
                "sampler": "ddim",
                "start": {"image": THREE, "t": 500, "resize": True},
            },
        ),
        "mask": (
            "A picture's lower half made anew, by RePaint",
            {
                "n": 4,
                "seed": 1,
                "sampler": "ddim",
                "eta": 1,
                "start": {"image": THREE, "resize": True},
                "mask": LOWER_HALF,
                "resamplings": 5,
                "jump": 5,
            },
        ),
        "between": (
            "Five images between the noise of two seeds",
            {
                "n": 5,
                "sampler": "ddim",
                "start": {"seeds": [1, 2], "weight": [0, 0.25, 0.5, 0.75, 1]},
            },
        ),
    }
)
TRAJECTORY_BODY = _body(
    {
        "default": ("Eleven frames of Algorithm 2", {"seed": 42, "labels": 7}),
        "fast": ("Every step of a fast sampler", {"sampler": "dpmpp", "steps": 20, "frames": 21}),
        "image": (
            "From a picture on",
            {
                "seed": 1,
                "sampler": "ddim",
                "start": {"image": THREE, "t": 500, "resize": True},
            },
        ),
        "exact": ("At chosen t", {"seed": 42, "timesteps": [1000, 500, 250, 100, 50, 0]}),
    }
)
SAMPLE_RESPONSES: Responses = {
    200: {
        "description": "The images, in the representation that Accept asks for.",
        "headers": {**REQUEST_ID, **SEED, **KNOWN},
        "content": {
            "application/json": {
                "example": {
                    **HEADER,
                    "samples": [{"index": 0, "label": 7, "png": PNG, "sha256": SHA256}],
                    "timing": TIMING,
                }
            },
            "image/png": BINARY,
            "application/zip": BINARY,
            "application/x-npz": BINARY,
        },
    },
    **ACCEPTED,
    **UNCHANGED,
    **KEYED_ERRORS,
}
TRAJECTORY_RESPONSES: Responses = {
    200: {
        "description": "The trajectories, in the representation that Accept asks for.",
        "headers": {**REQUEST_ID, **SEED, **KNOWN},
        "content": {
            "application/json": {
                "example": {
                    **HEADER,
                    "trajectories": [
                        {
                            "index": 0,
                            "label": 7,
                            "frames": [
                                {"t": 1000, "x_t": PNG, "x0_hat": PNG},
                                {"t": 0, "x_t": PNG, "x0_hat": PNG},
                            ],
                        }
                    ],
                    "timing": TIMING,
                }
            },
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: frame\ndata: {"index":0,"t":1000,"x_t":"…","x0_hat":"…"}\n\n',
            },
            "image/png": BINARY,
            "image/gif": BINARY,
            "image/webp": BINARY,
            "image/apng": BINARY,
            "application/x-npz": BINARY,
        },
    },
    **ACCEPTED,
    **UNCHANGED,
    **KEYED_ERRORS,
}
