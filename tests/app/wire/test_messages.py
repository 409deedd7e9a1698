"""The wire between the API process and the engine."""

from app.wire.messages import (
    HEADER,
    Cancel,
    Done,
    Failed,
    Finished,
    Frame,
    Message,
    Ready,
    Starting,
    Submit,
    decode,
    encode,
)
from tests.model_info import MODEL

MESSAGES: list[Message] = [
    Submit("a", 2**53 - 1, (0, 2**52), (1, 2), "ddim", 50, eta=0.5, guidance=1.0, shown=(0, 50)),
    Submit("b", 0, (0,), None, "ddpm", 1000, variance="fixed_large"),
    Cancel("a"),
    Frame("a", 3, 10, b"\0\1", b"\2\3"),
    Finished("a", 3, b"\0" * 8),
    Done("a", 0.5, 2.0),
    Failed("a", "why"),
    Starting("loading"),
    Starting("measuring, round", 3, 8),
    Ready(MODEL),
]


def test_every_message_survives_the_wire() -> None:
    for message in MESSAGES:
        wire = encode(message)
        (size,) = HEADER.unpack_from(wire)
        assert size == len(wire) - HEADER.size
        assert decode(wire[HEADER.size :]) == message


def test_the_cost_of_a_job_is_known_before_it_runs() -> None:
    assert Submit("a", 1, (0, 1), (1, 1), "ddim", 50, guidance=1.0).cost == 2 * 50 * 2
    assert Submit("a", 1, (0, 1), None, "ddpm", 1000).cost == 2000


def test_what_an_engine_does_while_it_starts_is_told_in_words() -> None:
    assert str(Starting("loading the checkpoint mnist")) == "loading the checkpoint mnist"
    assert str(Starting("measuring its speed, round", 3, 8)) == "measuring its speed, round 3 of 8"
