"""Which models make room: the least recently used of those that nobody needs."""

from app.pool.memory import Holder, mib, victims


def holder(key: str, size: int = 10, used_at: float = 0.0, *, is_idle: bool = True) -> Holder:
    return Holder(key, size, used_at, is_idle)


def test_nothing_goes_where_there_is_room() -> None:
    assert victims([holder("a"), holder("b")], 10, 30) == []


def test_the_least_recently_used_go_first_as_many_as_it_takes() -> None:
    held = [holder("a", used_at=3), holder("b", used_at=1), holder("c", used_at=2)]
    assert victims(held, 10, 30) == ["b"]
    assert victims(held, 20, 30) == ["b", "c"]


def test_of_those_that_were_never_used_the_last_goes_first() -> None:
    held = [holder("first"), holder("second"), holder("third", used_at=1)]
    assert victims(held, 10, 30) == ["second"]


def test_of_those_that_were_never_used_what_another_engine_has_goes_first() -> None:
    held = [Holder("first", 10, 0.0, True, is_elsewhere=True), holder("second")]
    assert victims(held, 10, 20) == ["first"]
    held = [Holder("first", 10, 2.0, True, is_elsewhere=True), holder("second", used_at=1.0)]
    assert victims(held, 10, 20) == ["second"]


def test_what_somebody_needs_stays() -> None:
    held = [holder("a", is_idle=False), holder("b", used_at=5)]
    assert victims(held, 10, 20) == ["b"]
    assert victims(held, 20, 20) is None


def test_bytes_are_told_in_mib() -> None:
    assert [mib(1), mib(10 << 20), mib(1500 << 20)] == ["1 MiB", "10 MiB", "1500 MiB"]
