"""What the OpenAPI document says beyond the types: examples of every field and representation."""

from typing import Any

from app.schemas import ProblemBody

Responses = dict[int | str, dict[str, Any]]

PNG = "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAA…"
PROBLEM = {"application/problem+json": {"schema": ProblemBody.model_json_schema()}}
HEADER = {
    "id": "5f0c4ad2a8d64c1c9d3f0a5c9b2f7e11",
    "model": "mnist",
    "seed": 42,
    "sampler": "ddim",
    "steps": 50,
}
TIMING = {"queued_s": 0.004, "compute_s": 0.31}
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def _body(examples: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    named = {
        name: {"summary": summary, "value": value} for name, (summary, value) in examples.items()
    }
    return {"requestBody": {"content": {"application/json": {"examples": named}}}}


SAMPLE_BODY = _body(
    {
        "one": ("One image", {}),
        "digits": (
            "One of each label, fast",
            {"n": 10, "seed": 42, "sampler": "ddim", "steps": 50, "labels": list(range(10))},
        ),
        "guided": (
            "Guided, with DPM-Solver++",
            {"n": 4, "seed": 1, "sampler": "dpmpp", "steps": 20, "labels": 7, "guidance": 1.5},
        ),
        "later": ("Samples 100..103 of a seed", {"n": 4, "seed": 1, "first_index": 100}),
        "variance": ("Algorithm 2 with sigma_t^2 = beta_t", {"seed": 1, "variance": "fixed_large"}),
        "eta": ("DDIM with noise", {"seed": 1, "sampler": "ddim", "steps": 100, "eta": 0.5}),
    }
)
TRAJECTORY_BODY = _body(
    {
        "default": ("Eleven frames of Algorithm 2", {"seed": 42, "labels": 7}),
        "fast": ("Every step of a fast sampler", {"sampler": "dpmpp", "steps": 20, "frames": 21}),
        "exact": ("Exact t", {"seed": 42, "timesteps": [1000, 500, 250, 100, 50, 0]}),
    }
)

REQUEST_ID = {
    "X-Request-ID": {
        "description": "The client's own, or one made by the server; log lines name it.",
        "schema": {"type": "string"},
        "required": True,
    }
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}
}
_SEED = {"X-Seed": {"description": "The seed.", "schema": {"type": "integer"}, "required": True}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "headers": REQUEST_ID, "content": PROBLEM}


OK: Responses = {200: {"headers": REQUEST_ID}}
NOT_READY: Responses = {
    503: {
        **_problem("Starting, restarting, draining or full; try again after Retry-After."),
        "headers": {**REQUEST_ID, **_RETRY_AFTER},
    }
}
ERRORS: Responses = {
    406: _problem("Accept names no representation offered."),
    408: _problem("The body was not there in time."),
    413: _problem("The body is too large."),
    415: _problem("The body is not application/json."),
    422: _problem("A field is invalid, or the answer too large."),
    500: _problem("A bug, or a model that computes what is not a number."),
    **NOT_READY,
}

SAMPLE_RESPONSES: Responses = {
    200: {
        "description": "The images, in the representation that Accept asks for.",
        "headers": {**REQUEST_ID, **_SEED},
        "content": {
            "application/json": {
                "example": {
                    **HEADER,
                    "samples": [{"index": 0, "label": 7, "png": PNG, "sha256": SHA256}],
                    "timing": TIMING,
                }
            },
            "image/png": _BINARY,
            "application/zip": _BINARY,
            "application/x-npz": _BINARY,
        },
    },
    **ERRORS,
}
TRAJECTORY_RESPONSES: Responses = {
    200: {
        "description": "The trajectories, in the representation that Accept asks for.",
        "headers": {**REQUEST_ID, **_SEED},
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
            "image/png": _BINARY,
            "image/gif": _BINARY,
            "image/webp": _BINARY,
            "image/apng": _BINARY,
            "application/x-npz": _BINARY,
        },
    },
    **ERRORS,
}
