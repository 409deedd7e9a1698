"""Messages as bytes, and bytes that are none."""

import msgpack
import pytest

from app.wire.codec import HEADER, MAX_BYTES, ProtocolError, body_size, decode, encode
from app.wire.messages import (
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
    Starting,
    Submit,
    Unload,
    Unloaded,
    Unusable,
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
