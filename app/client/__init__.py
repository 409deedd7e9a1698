"""A client for the service: `Client`, and `AsyncClient` for asyncio.

    from app.client import Client, SampleRequest

    with Client("http://127.0.0.1:8000") as client:
        client.sample(SampleRequest(n=10, labels=range(10), seed=42)).grid.save("digits.png")

It needs httpx, numpy, pillow and tqdm, but neither the server's packages nor torch.
"""

from app.client.async_client import AsyncClient
from app.client.bound import Bound, BoundRequest, Bounds, Term
from app.client.client import Client
from app.client.errors import (
    BadGateway,
    BrokenAnswer,
    ClientError,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotAcceptable,
    NotFound,
    OverLimit,
    ProblemError,
    RangeNotSatisfiable,
    ServerError,
    StorageFull,
    TimedOut,
    TooLarge,
    TooLate,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from app.client.requests import EncodeRequest, SampleRequest, TrajectoryRequest
from app.client.results import Encoding, Frame, Sample, Samples, Trajectories
from app.client.starts import Start
from app.client.status import Job, Model, ServedModel

__all__ = [
    "AsyncClient",
    "BadGateway",
    "Bound",
    "BoundRequest",
    "Bounds",
    "BrokenAnswer",
    "Client",
    "ClientError",
    "Conflict",
    "EncodeRequest",
    "Encoding",
    "Forbidden",
    "Frame",
    "Gone",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Model",
    "NotAcceptable",
    "NotFound",
    "OverLimit",
    "ProblemError",
    "RangeNotSatisfiable",
    "Sample",
    "SampleRequest",
    "Samples",
    "ServedModel",
    "ServerError",
    "Start",
    "StorageFull",
    "Term",
    "TimedOut",
    "TooLarge",
    "TooLate",
    "Trajectories",
    "TrajectoryRequest",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
]
