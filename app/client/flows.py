"""The client's operations as flows, which are generators of effects without input or output.

`Client` and `AsyncClient` only perform the effects. So retries and resuming are written once, and
tested without a network or a clock. Those of jobs are in `job_flows`, of models in `model_flows`.
"""

from collections import Counter
from dataclasses import replace

import httpx

from app.client import reading
from app.client.calls import EVENT_STREAM, NPZ, answered, next_events, post, seed_of, unreachable
from app.client.effects import Answer, Emit, Flow
from app.client.errors import OverLimit, Unavailable, from_problem
from app.client.events import Event, EventReader
from app.client.patience import Patience
from app.client.requests import EncodeRequest, SampleRequest, TrajectoryRequest, check_request
from app.client.results import Encoding, Frame, Samples, Trajectories


def sample(request: SampleRequest, patience: Patience) -> Flow[Samples]:
    """POST /sample."""
    check_request(request, "sample")
    answer = yield from answered(post("/sample", request), patience)
    yield Emit(reading.read_samples(answer.content))


def trajectory(request: TrajectoryRequest, patience: Patience) -> Flow[Trajectories]:
    """POST /denoise-trajectory, as one answer."""
    check_request(request, "trajectory")
    call = post("/denoise-trajectory", request, {"Accept": NPZ})
    answer = yield from answered(call, patience)
    yield Emit(reading.read_trajectories(answer.content, seed_of(answer)))


def encode(request: EncodeRequest, patience: Patience) -> Flow[Encoding]:
    """POST /encode."""
    if not isinstance(request, EncodeRequest):
        raise ValueError(f"request: {request!r} is not allowed: encode takes an EncodeRequest")
    answer = yield from answered(post("/encode", request, {"Accept": NPZ}), patience)
    yield Emit(reading.read_encoding(answer.content))


def stream(request: TrajectoryRequest, patience: Patience) -> Flow[Frame]:
    """POST /denoise-trajectory, each frame as it arrives.

    After a broken connection the request is sent again, with the seed that the first answer named:
    the frames are the same, and those that are known already are left out.
    """
    check_request(request, "stream")
    known: Counter[int] = Counter()
    was_reached = False
    while True:
        call = post("/denoise-trajectory", request, {"Accept": EVENT_STREAM})
        answer = yield from answered(replace(call, stream=True), patience, was_reached)
        was_reached = True
        request = replace(request, seed=seed_of(answer))
        try:
            yield from _new_frames(answer, known, patience)
            return
        except httpx.TransportError as error:
            yield from patience.wait(unreachable(error))
        except (OverLimit, Unavailable) as error:  # the server ends it: full, or shutting down
            yield from patience.wait(error)


def _new_frames(answer: Answer, known: Counter[int], patience: Patience) -> Flow[Frame]:
    """Emit an answer's frames up to its `done` event, but those that are known: of each image, by
    its index, the first so many, since they come in order. Raises TransportError when the stream
    breaks."""
    reader, seed, seen = EventReader(), seed_of(answer), Counter[int]()
    while True:
        for event in (yield from next_events(reader)):
            _check(event, answer)
            if event.name == "done":
                return
            frame = reading.read_frame(event.data, seed)
            seen[frame.index] += 1
            if seen[frame.index] > known[frame.index]:
                known[frame.index] += 1
                patience.reset()
                yield Emit(frame)


def _check(event: Event, answer: Answer) -> None:
    """Raise the problem that an `error` event tells of."""
    if event.name == "error":
        request_id = answer.headers.get("x-request-id")
        raise from_problem(reading.read_object(event.data), request_id)
