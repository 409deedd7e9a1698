"""A job in flight: what of it is given to the next engine."""

import dataclasses

from app.pool.inflight import Flight
from app.wire.messages import Finished, Submit

SUBMIT = Submit("job", 1, (4, 5, 6), (0, 1, 2), "ddim", 10, shown=(0, 10))


def test_the_next_engine_gets_what_is_not_finished_and_knows_how_long_it_has_waited() -> None:
    flight = Flight(SUBMIT)
    flight.accept(Finished("job", 5, b""))
    flight.since -= 60.0
    remainder = flight.remainder()
    assert remainder.waited >= 60.0
    expected = dataclasses.replace(SUBMIT, indices=(4, 6), labels=(0, 2), waited=remainder.waited)
    assert remainder == expected
