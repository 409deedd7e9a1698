"""Flows against a script of replies: without a network or a clock."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from PIL import Image

from app.client import ClientError, SampleRequest, TrajectoryRequest, flows, job_flows
from app.client.effects import Answer, Call, Emit, Flow, Read, Reply, Sleep, resume
from app.client.patience import Patience

FULL = Answer(503, {"retry-after": "7"}, b'{"title": "Not available", "detail": "full"}')
OVER = Answer(429, {"retry-after": "2"}, b'{"title": "Too much", "detail": "yours"}')
RESET = httpx.ReadError("the connection was reset")
REFUSED = httpx.ConnectError("refused")
HEADER = {"id": "a", "model": "tiny", "seed": 3, "sampler": "ddpm", "steps": 50}
OPEN = Answer(200, {"x-seed": "3", "x-request-id": "r1"})
JOB = {
    **HEADER, "kind": "sample", "status": "running", "detail": None, "total": 9, "done": 4,
    "rate": None, "left_s": None, "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-08T00:00:00Z",
}  # fmt: skip


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = picture()
SAMPLE = {
    "index": 0,
    "label": None,
    "png": base64.b64encode(PNG).decode(),
    "sha256": hashlib.sha256(PNG).hexdigest(),
}


def samples(*entries: dict[str, Any]) -> Answer:
    timing = {"queued_s": 0.0, "compute_s": 1.0}
    return Answer(200, {}, json.dumps({**HEADER, "samples": entries, "timing": timing}).encode())


def event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_line}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def frame(t: int) -> bytes:
    return event("frame", {"index": 0, "t": t, "x_t": SAMPLE["png"], "x0_hat": SAMPLE["png"]})


class Run:
    """A flow against a script of replies: what it did, what it emitted, what it raised."""

    def __init__(self, flow: Flow[Any], script: Sequence[Reply]) -> None:
        self.calls: list[Call] = []
        self.slept: list[float] = []
        self.emitted: list[Any] = []
        self.raised: ClientError | None = None
        replies = list(script)
        reply: Reply = None
        try:
            while (effect := resume(flow, reply)) is not None:
                reply = None
                match effect:
                    case Emit(value):
                        self.emitted.append(value)
                    case Sleep(seconds):
                        self.slept.append(seconds)
                    case Call() | Read():
                        if isinstance(effect, Call):
                            self.calls.append(effect)
                        reply = replies.pop(0)
        except ClientError as raised:
            self.raised = raised
        assert not replies, "it ended before its script"


def sample(*script: Reply, seconds: float = 60) -> Run:
    return Run(flows.sample(SampleRequest(labels=(1, 2), n=2), Patience(seconds)), script)


def stream(*script: Reply) -> Run:
    return Run(flows.stream(TrajectoryRequest(), Patience(60)), script)


def watch(*script: Reply) -> Run:
    return Run(job_flows.watch("a/b", Patience(60)), script)
