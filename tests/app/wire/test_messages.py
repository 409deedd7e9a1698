"""The wire between the API process and the engine."""

import dataclasses

import msgpack
import pytest

from app.wire.messages import (
    HEADER,
    MAX_BYTES,
    Cancel,
    Counts,
    Done,
    Failed,
    Finished,
    Frame,
    Limited,
    Load,
    Loaded,
    Message,
    ProtocolError,
    Starting,
    Submit,
    Unload,
    Unloaded,
    Unusable,
    body_size,
    decode,
    encode,
)
from tests.model_info import MODEL

MESSAGES: list[Message] = [
    Load("m#1", "models/mnist", "m"),
    Load("m#1", "models/mnist", "m", sha256="0" * 64, max_batch=8),
    Unload("m#1"),
    Submit(
        "a", "m#1", 2**53 - 1, (0, 2**52), (1, 2), "ddim", 50, eta=0.5, guidance=1.0, shown=(0, 50)
    ),
    Submit("b", "m#1", 0, (0,), None, "ddpm", 1000, variance="fixed_large"),
    Submit("c", "m#1", 0, (0,), (1,), "unipc", 3, guidance=1.0, kept=(4, 69, 99), guided=(1, 2)),
    Cancel("a"),
    Frame("a", 3, 10, b"\0\1", b"\2\3"),
    Finished("a", 3, b"\0" * 8),
    Done("a", 0.5, 2.0),
    Failed("a", "why"),
    Starting("m#1", "loading"),
    Starting("m#1", "measuring, round", 3, 8),
    Loaded("m#1", MODEL, 12.5, 3 << 30),
    Unusable("m#1", "why", has_changed=True),
    Unloaded("m#1"),
    Limited("m#1", 4),
    Counts("m#1", 8, 3, 20, 0.5, 1),
]


def test_every_message_survives_the_wire() -> None:
    for message in MESSAGES:
        wire = encode(message)
        (size,) = HEADER.unpack_from(wire)
        assert size == len(wire) - HEADER.size
        assert decode(wire[HEADER.size :]) == message


def test_the_cost_of_a_job_is_known_before_it_runs() -> None:
    assert Submit("a", "m#1", 1, (0, 1), (1, 1), "ddim", 50, guidance=1.0).cost == 2 * 50 * 2
    assert Submit("a", "m#1", 1, (0, 1), None, "ddpm", 1000).cost == 2000
    some = Submit("a", "m#1", 1, (0, 1), (1, 1), "ddim", 50, guidance=1.0, guided=(10, 30))
    assert (some.chain_rows, some.cost) == (50 + 20, 2 * 70)


def test_a_part_of_a_job_has_what_belongs_to_its_samples() -> None:
    whole = Submit("a", "m#1", 1, (4, 5, 6), (0, 1, 2), "ddim", 10, client="x")
    assert whole.only((0, 2)) == dataclasses.replace(whole, indices=(4, 6), labels=(0, 2))
    assert dataclasses.replace(whole, labels=None).only((1,)).labels is None


def test_what_an_engine_does_to_load_a_model_is_told_in_words() -> None:
    loading = Starting("m#1", "loading the checkpoint mnist")
    assert str(loading) == "loading the checkpoint mnist"
    measuring = Starting("m#1", "measuring its speed, round", 3, 8)
    assert str(measuring) == "measuring its speed, round 3 of 8"


def test_counts_of_one_model_and_size_add_up() -> None:
    first, second = Counts("m#1", 8, 3, 20, 0.5, 1), Counts("m#1", 8, 1, 8, 0.25)
    assert first + second == Counts("m#1", 8, 4, 28, 0.75, 1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a message"),
        (b"\xc1", "not a message"),
        (b"\x91" * 100_000, "not a message"),
        (msgpack.packb({"kind": "Sumbit"}), "Sumbit"),
        (msgpack.packb({"kind": "Cancel"}), "id"),
        (msgpack.packb({"kind": "Cancel", "id": 3}), "id: 3 is not allowed; it must be a text"),
        (msgpack.packb({"kind": "Cancel", "id": "a", "more": 1}), "more: unknown field"),
        (
            msgpack.packb(
                {"kind": "Loaded", "model": "m", "info": None, "seconds": 1.0, "memory_bytes": 1}
            ),
            "info: None is not allowed",
        ),
        (msgpack.packb([1]), "not a message"),
    ],
)
def test_what_is_no_message_is_told_from_one(body: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        decode(body)


def test_a_message_is_refused_by_its_length_before_it_is_read() -> None:
    assert body_size(HEADER.pack(MAX_BYTES)) == MAX_BYTES
    with pytest.raises(ProtocolError, match="at most 1073741824 are allowed"):
        body_size(HEADER.pack(MAX_BYTES + 1))
