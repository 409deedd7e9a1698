"""What the OpenAPI document adds to the types: examples, headers, representations and errors."""

from typing import Any

from app.generation.schemas.problems import ProblemBody
from app.generation.schemas.status import JobStatus
from app.http.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

PNG = "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAA…"
THREE = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAUUlEQVR42l3NsQ2AMBBD0afLAIxAxkjJaGzASpSMkYIBrqSk"
    "CIIF7+wvmx+mVehLsJSkYm9QRMYAQolBV1QR1e4joLzlR/0NvbClsLeMX2vbytAES2oHBllAAAAAElFTkSuQmCC"
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


KEY_OR_NONE: dict[str, Any] = {"security": [{}]}
"""Makes the API key optional in the document: only a server with keys needs one."""


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with the schema of problems, which it does not know of, instead of those
    of its own errors, which this server never sends."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            unsent = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in unsent:
                del operation["responses"]["422"]
    problem = ProblemBody.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
    schemas.update(problem.pop("$defs"), Problem=problem)
    return document


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
ERRORS: Responses = {
    **DOOR,
    **problem_response(406, "The server offers no representation that Accept allows."),
    **problem_response(408, "The body did not arrive in time."),
    **problem_response(409, "The Idempotency-Key was used with a model that is no longer served."),
    **problem_response(413, "The body is too large."),
    **problem_response(415, "The body is not application/json."),
    **problem_response(
        422,
        "A field is invalid, the answer would be too large, or the Idempotency-Key was used with "
        "another request.",
    ),
    429: TOO_MANY,
    **problem_response(500, "A bug in the server, or a model whose output is not a number."),
    **NOT_READY,
    **problem_response(504, "The request took longer than `Prefer: wait` or the server allows."),
    **problem_response(507, "There is no room for the job's results."),
}  # fmt: skip

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
        "headers": {"Location": {"description": "/jobs/{id}", "schema": {"type": "string"}}},
        "content": {
            "application/json": {"example": {**JOB, "status": "waiting", "done": 0, "rate": None,
                                             "left_s": None, "started_at": None}}
        },
    }
}  # fmt: skip
UNCHANGED: Responses = {
    304: {"description": "If-None-Match names the answer: the client has it already."}
}
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
RESULT_RESPONSES: Responses = {
    200: {
        "description": "The result, in the representation that Accept asks for: any of the "
        "synchronous answer's, except text/event-stream.",
        "headers": SEED,
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
    },
    **problem_response(406, "The server offers no representation that Accept allows."),
    **problem_response(409, "The job is not finished yet, or it failed."),
    **problem_response(410, "The job has expired."),
    **problem_response(416, "The result has no bytes in this range."),
    **problem_response(422, "A picture of the whole result would be too large."),
    **NO_JOB,
    503: {
        **problem_response(
            503,
            "No room for the answer, no storage, or lost images are made again; see Retry-After.",
        )[503],
        "headers": {**REQUEST_ID, **RETRY_AFTER},
    },
}

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
    **ERRORS,
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
    **ERRORS,
}
