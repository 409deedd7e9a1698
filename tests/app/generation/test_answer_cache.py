"""Answers that are kept: bounded, and the least recently used goes first."""

from app.generation.answer_cache import ENTRY_BYTES, SAMPLE_BYTES, AnswerCache, Made, size
from app.generation.encoding import Encoded


def made(content: bytes) -> Made:
    return Made(Encoded(len(content), [content]), 1, {"id": "a"}, {})


LARGE = made(bytes(10_000))
EACH = 10_000 + ENTRY_BYTES + SAMPLE_BYTES


def test_it_gives_what_it_was_given() -> None:
    cache = AnswerCache(2 * EACH)
    cache.put("a", LARGE)
    assert cache.get("a") is LARGE and cache.get("b") is None
    assert cache.taken == EACH == size(LARGE)


def test_the_least_recently_used_makes_room() -> None:
    cache = AnswerCache(3 * EACH)
    for name in "abc":
        cache.put(name, LARGE)
    assert cache.get("a") is LARGE
    cache.put("d", LARGE)
    assert [cache.get(name) is None for name in "abcd"] == [False, True, False, False]
    assert cache.taken == 3 * EACH <= cache.total
    assert len(cache) == 3


def test_what_is_larger_than_all_of_it_is_not_kept_and_puts_nothing_out() -> None:
    cache = AnswerCache(EACH)
    cache.put("a", LARGE)
    cache.put("b", made(bytes(10_001)))
    assert cache.get("b") is None and cache.get("a") is LARGE


def test_the_same_answer_is_kept_once() -> None:
    cache = AnswerCache(5 * EACH)
    cache.put("a", LARGE)
    cache.put("a", made(b"again"))
    assert cache.get("a") is LARGE and cache.taken == EACH


def test_without_room_nothing_is_kept() -> None:
    cache = AnswerCache(0)
    cache.put("a", made(b""))
    assert cache.get("a") is None and cache.taken == 0
