"""Results in an object store, a real S3 server, when it fails: what is written is whole or is not
there, nothing is taken for lost that is not, and a call has an end."""

import threading
import time
from collections.abc import Callable

import pytest
from fsspec.config import conf

from app.jobs import file_systems
from app.jobs.errors import StorageUnavailable
from app.jobs.file_systems import ATTEMPTS, TRIES, file_system
from app.jobs.result_store import ResultStore
from tests.s3 import Answer, Asked, Cut, Door, error

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def store(door: Door) -> ResultStore:
    made = ResultStore(door.s3.new_bucket())
    made.open()
    return made


def at_first(times: int, answer: Answer) -> Callable[[Asked], Answer | None]:
    """The store answers this to the first so many requests."""
    left = iter(range(times))
    return lambda _: answer if next(left, None) is not None else None


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_a_store_that_is_busy_is_asked_again(
    status: int, code: str, store: ResultStore, door: Door
) -> None:
    door.before = at_first(1, error(status, code))
    store.write("job", 3, CONTENT)
    door.before = at_first(1, error(status, code))
    assert store.read("job", 3) == CONTENT


@pytest.mark.slow
def test_a_store_that_stays_busy_is_not_asked_for_ever_and_says_why(
    store: ResultStore, door: Door
) -> None:
    asked: list[Asked] = []

    def refuse(request: Asked) -> Answer:
        asked.append(request)
        return error(503, "SlowDown")

    door.before = refuse
    with pytest.raises(StorageUnavailable, match=r"cannot be used: .*SlowDown: said the store"):
        store.write("job", 3, CONTENT)
    assert len(asked) <= TRIES * ATTEMPTS
    door.before = lambda _: None
    assert store.read("job", 3) is None
    store.write("job", 3, CONTENT)
    assert store.read("job", 3) == CONTENT


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_given_up(
    store: ResultStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(file_systems.S3["config_kwargs"], "read_timeout", 0.2)  # type: ignore[index]
    store = ResultStore(store.url)
    is_over = threading.Event()

    def hang(_: Asked) -> None:
        is_over.wait(60)

    door.before = hang
    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match="timeout"):
        store.read("job", 3)
    assert time.monotonic() - started < 30, "nobody waits for the minute of the defaults"
    is_over.set()


@pytest.mark.slow
def test_an_upload_that_breaks_leaves_nothing_and_is_done_again(
    store: ResultStore, door: Door
) -> None:
    def cut(_: Asked) -> None:
        raise Cut

    door.before = cut
    with pytest.raises(StorageUnavailable):
        store.write("job", 3, CONTENT)
    door.before = lambda _: None
    assert (store.read("job", 3), store.sizes("job")) == (None, {})
    broken = iter([True])

    def break_once(_: Asked) -> None:
        if next(broken, False):
            raise Cut

    door.after = break_once  # the object is there, and its writer does not know
    store.write("job", 3, CONTENT)
    assert store.read("job", 3) == CONTENT


def test_a_download_that_breaks_is_done_again(store: ResultStore, door: Door) -> None:
    store.write("job", 3, CONTENT)
    broken = iter([True])

    def break_once(_: Asked) -> None:
        if next(broken, False):
            raise Cut

    door.before = break_once  # type: ignore[assignment]
    assert store.read("job", 3) == CONTENT


@pytest.mark.parametrize(("status", "code"), [(400, "ExpiredToken"), (403, "AccessDenied")])
def test_credentials_that_have_ended_are_read_again(
    status: int, code: str, store: ResultStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("job", 3, CONTENT)
    door.keys.clear()
    door.refusal = error(status, code)
    with pytest.raises(StorageUnavailable, match=code):
        store.read("job", 3)
    door.keys.add("another")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert store.read("job", 3) == CONTENT


def test_credentials_that_are_missing_at_first_are_read_when_they_are_there(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    store = ResultStore(door.s3.new_bucket())
    with pytest.raises(StorageUnavailable, match="credentials"):
        store.open()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, door.variables[name])
    store.open()


def test_a_bucket_that_is_not_there_is_not_made_and_no_sample_is_taken_for_lost(
    door: Door,
) -> None:
    store = ResultStore("s3://nobody-made-this/jobs")
    with pytest.raises(StorageUnavailable, match="bucket does not exist"):
        store.open()
    with pytest.raises(StorageUnavailable, match="bucket does not exist"):
        store.read("job", 3)
    assert door.s3.ask("GET", "/nobody-made-this").status == 404


def test_what_another_server_wrote_is_seen_and_removed(store: ResultStore) -> None:
    other = ResultStore(store.url)
    store.write("job", 1, b"one")
    assert store.sizes("job") == {"000001": 3}
    other.write("job", 2, b"other")
    assert store.sizes("job") == {"000001": 3, "000002": 5}
    store.remove("job")
    assert (other.sizes("job"), other.is_empty()) == ({}, True)


def test_fsspecs_own_configuration_goes_before_ours(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conf, "s3", {"max_concurrency": 7})
    files, root = file_system(door.s3.new_bucket())
    assert files.max_concurrency == 7
    assert root.endswith("/jobs")
