"""A GET request to the Hub, with limits on the answer."""

import time
from collections.abc import Callable, Iterator

import pytest

from diffusion.sources.errors import CheckpointError, Unreachable
from diffusion.sources.hub_http import Answer, get
from diffusion.sources.hub_id import HubId
from tests.fake_hub import COMMIT, REPOSITORY, FakeHub

MODEL = HubId(REPOSITORY)
CONFIG = "unet/config.json"
LATER = float("inf")


def address(fake: FakeHub) -> str:
    return f"{fake.url}/{REPOSITORY}/resolve/{COMMIT}/{CONFIG}"


class Response:
    """An answer whose body comes in parts, and breaks off with an error."""

    def __init__(self, *parts: bytes, error: Exception | None = None) -> None:
        self.body, self.error = parts, error

    def iter_bytes(self) -> Iterator[bytes]:
        yield from self.body
        if self.error:
            raise self.error


@pytest.mark.parametrize("start", [0, 10])
def test_an_answer_is_what_comes_after_the_start(start: int, fake: FakeHub) -> None:
    with get(MODEL, address(fake), None, start) as answer:
        assert answer.start == start
        body = b"".join(answer.parts(1 << 20, LATER))
    assert body == fake.commits[COMMIT][CONFIG][start:]


def test_a_hub_without_ranges_answers_from_the_start(fake: FakeHub) -> None:
    fake.has_ranges = False
    with get(MODEL, address(fake), None, 10) as answer:
        assert answer.start == 0
        assert b"".join(answer.parts(1 << 20, LATER)) == fake.commits[COMMIT][CONFIG]


def test_the_users_token_is_sent_unless_another_is_given(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_users")
    for token in (None, "hf_given"):
        with get(MODEL, address(fake), token) as answer:
            list(answer.parts(1 << 20, LATER))
    assert fake.tokens == ["Bearer hf_users", "Bearer hf_given"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with get(MODEL, address(fake), None):
        assert fake.tokens[-1] is None


@pytest.mark.parametrize(
    ("status", "code", "error", "said"),
    [
        (500, "", Unreachable, "the Hub answered with the HTTP status 500"),
        (429, "", Unreachable, "status 429"),
        (408, "", Unreachable, "status 408"),
        (425, "", Unreachable, "status 425"),
        (404, "RevisionNotFound", CheckpointError, "tests/tiny: .* but not the revision"),
        (404, "EntryNotFound", CheckpointError, "lists a file that it does not have"),
        (403, "", CheckpointError, "only to those who were granted access"),
        (401, "GatedRepo", CheckpointError, "only to those who were granted access"),
        (401, "", CheckpointError, "no such model; or it is private"),
        (404, "", CheckpointError, "no such model; or it is private"),
        (418, "", CheckpointError, "status 418"),
    ],
)
def test_a_status_says_whether_another_try_may_succeed(
    status: int, code: str, error: type[Exception], said: str, fake: FakeHub
) -> None:
    fake.status = (status, code)
    with pytest.raises(error, match=said), get(MODEL, address(fake), None):
        pass


def test_a_body_that_is_too_long_is_cut_off() -> None:
    parts = Answer(Response(b"1234", b"5"), 0).parts(4, LATER)
    assert next(parts) == b"1234"
    with pytest.raises(CheckpointError, match="more than the 4 bytes expected"):
        next(parts)


def test_a_body_that_is_too_slow_is_given_up() -> None:
    past = time.monotonic() - 1
    with pytest.raises(Unreachable, match="too slow: 4 bytes came in time"):
        next(Answer(Response(b"1234"), 0).parts(4, past))


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_a_body_that_breaks_off_is_told_by_the_kind_of_error_alone(
    error: Callable[[str], Exception],
) -> None:
    """Its text may have an address with a secret."""
    broken = Response(b"12", error=error("https://user:secret@host"))
    with pytest.raises(Unreachable) as given_up:
        list(Answer(broken, 0).parts(9, LATER))
    assert str(given_up.value) == f"the Hub cannot be reached ({error.__name__})"  # type: ignore[attr-defined]


def test_a_hub_that_does_not_listen_is_unreachable() -> None:
    with (
        pytest.raises(Unreachable, match="cannot be reached"),
        get(MODEL, "http://127.0.0.1:9", None),
    ):
        pass


def test_offline_nothing_is_sent(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unreachable, match="HF_HUB_OFFLINE is set"), get(MODEL, address(fake), None):
        pass
    assert fake.asked == []
