"""Why the pool does not run a job: every reason can be told to the client, and caught as one."""

import pytest

from app.pool.errors import ClientOverLimit, NotReady, Overloaded, Refused, TooLate


@pytest.mark.parametrize("kind", [NotReady, Overloaded, ClientOverLimit, TooLate])
def test_every_refusal_says_why_and_when_to_try_again_if_that_is_known(kind: type[Refused]) -> None:
    with pytest.raises(Refused, match="^why$") as caught:
        raise kind("why", retry_after=3)
    assert caught.value.retry_after == 3
    assert kind("why").retry_after is None
