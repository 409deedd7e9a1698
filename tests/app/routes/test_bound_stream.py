"""A stream of terms on its own; tests/app/routes/test_bound.py has it over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from app.generation.bound import plan_bound
from app.generation.budget import Budget
from app.generation.schemas.bound import BoundRequest
from app.http.request_log import RequestRecord
from app.routes.bound_stream import BoundStream
from app.settings import Settings
from app.wire.messages import Done, Event, Failed, Measured
from diffusion.bound_sum import Terms
from tests.model_info import MODEL

X = np.zeros(MODEL.image_shape, np.float32).tobytes()
PLAN = plan_bound(
    BoundRequest(images="x", seed=1), [np.zeros(MODEL.image_shape, np.uint8)],
    Terms(2, (1, 9)), MODEL, Settings(),
)  # fmt: skip


def streamed(*events: Event) -> tuple[list[tuple[str, dict[str, Any]]], RequestRecord]:
    """What is sent for these events of the engine."""
    record = RequestRecord()

    async def from_engine() -> AsyncIterator[Event]:
        for event in events:
            yield event

    async def run() -> bytes:
        released = []
        with await Budget(1 << 20).take(1 << 16, "c") as room:
            stream = BoundStream(
                PLAN, MODEL.num_timesteps, cast(Any, from_engine()), room, ThreadPoolExecutor(1),
                record, lambda: released.append(True),
            )  # fmt: skip
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                await asyncio.sleep(100)

            await stream({"type": "http"}, receive, send)
            assert released == [True]
            return b"".join(message.get("body", b"") for message in sent)

    blocks = asyncio.run(run()).decode().strip().split("\n\n")
    parts = [block.partition("\ndata: ") for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data)) for name, _, data in parts], record


def term(index: int, t: int) -> Measured:
    return Measured("", index, t, 3.0 * t, 1.0, 2.0, X, X)


def test_terms_come_as_they_are_known_and_the_sums_in_the_end() -> None:
    sent, record = streamed(term(1, 9), term(0, 1), Done("", 0.5, 1.5))
    assert [name for name, _ in sent] == ["term", "term", "done"]
    assert [(data["index"], data["t"]) for _, data in sent[:2]] == [(0, 9), (0, 1)]
    assert all(data["x_t"] and data["x0_hat"] for _, data in sent[:2])
    done = sent[-1][1]
    assert (done["seed"], done["timing"]) == (1, {"queued_s": 0.5, "compute_s": 1.5})
    (found,) = done["images"]
    assert found["L_0"] == sent[1][1]["bits_per_dim"] and found["bits_per_dim"] is None
    assert "terms" not in found
    assert record.first_frame_seconds is not None


def test_a_job_that_fails_ends_it_with_an_error() -> None:
    sent, record = streamed(term(0, 1), Failed("", "why"))
    assert [name for name, _ in sent] == ["term", "error"]
    assert (sent[-1][1]["status"], sent[-1][1]["detail"]) == (500, "why")
    assert record.dropped == "internal_error"
