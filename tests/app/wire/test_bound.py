"""What a job is told of the bound goes over the wire as it is."""

from app.wire.bound import Bound
from app.wire.codec import HEADER, decode, encode
from app.wire.messages import Measured, Submit

BOUND = Bound((b"\0" * 12, b"\1" * 12), 3, (1, 5, 9))
SUBMIT = Submit("a", "m#1", 1, tuple(range(6)), None, "ddpm", 1, shown=(0,), bound=BOUND)


def test_it_comes_back_whole_and_in_parts() -> None:
    assert decode(encode(SUBMIT)[HEADER.size :]) == SUBMIT
    part = SUBMIT.only([1, 4])
    assert (part.indices, part.bound) == ((1, 4), BOUND)


def test_terms_of_the_bound_come_back_whole() -> None:
    term = Measured("a", 4, 5, 0.25, 10.0, 1e-3, b"\0" * 48, b"\1" * 48)
    assert decode(encode(term)[HEADER.size :]) == term
