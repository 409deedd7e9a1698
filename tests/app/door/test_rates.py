"""Requests in a minute: a token bucket for each client."""

from app.door.rates import MAX_BUCKETS, Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_client_may_ask_as_often_as_its_rate_says_and_no_more() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert [rates.take("me", 3) for _ in range(4)] == [None, None, None, 20]
    assert rates.take("another", 3) is None
    clock.now = 19.9
    assert rates.take("me", 3) == 1
    clock.now = 20.1
    assert rates.take("me", 3) is None
    assert rates.take("me", 3) == 20


def test_nobody_saves_up_more_than_a_minute() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.take("me", 2)
    clock.now = 3600.0
    assert [rates.take("me", 2) for _ in range(3)] == [None, None, 30]


def test_a_lower_rate_holds_at_once() -> None:
    rates = Rates(Clock())
    assert rates.take("me", 100) is None
    assert [rates.take("me", 1) for _ in range(2)] == [None, 60]


def test_however_many_clients_come_few_are_remembered_and_those_that_ask_are() -> None:
    rates = Rates(Clock())
    for number in range(2 * MAX_BUCKETS):
        rates.take(f"address {number}", 1)
        refused = rates.take("busy", 1) is not None
        assert refused == (number > 0)
    assert len(rates) == MAX_BUCKETS
