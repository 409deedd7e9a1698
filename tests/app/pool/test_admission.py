"""What the queue has room for, and when to come again."""

import pytest

from app.pool.admission import Admission, Bounds, Limits
from app.pool.errors import ClientOverLimit, Overloaded
from app.pool.tally import Queue
from app.wire.messages import Submit

LIMITS = Limits(server=Bounds(10, 100), client=Bounds(4, 40))


def job(n: int, client: str = "a", steps: int = 1) -> Submit:
    return Submit("j", "m#1", 0, tuple(range(n)), None, "ddim", steps, client=client)


def queued(*jobs: Submit) -> Admission:
    """One step takes a second."""
    queue = Queue()
    for submit in jobs:
        queue.everybody.join(submit, len(submit.indices))
        queue.share(submit.client).join(submit, len(submit.indices))
    return Admission(LIMITS, queue, lambda tally: float(tally.steps))


def test_an_empty_queue_has_room_up_to_its_bounds() -> None:
    queued().check_queue(job(10, steps=10))
    queued().check_share(job(4, steps=10), None)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (job(5), r"the queue has room for 4 of the 5 samples asked for \(it holds 10\)"),
        (job(4, steps=25), r"the queue has room for 94 of the 100 steps asked for"),
    ],
)
def test_a_full_queue_says_what_it_has_room_for_and_when(asked: Submit, told: str) -> None:
    with pytest.raises(Overloaded, match=told) as refused:
        queued(job(3, "a"), job(3, "b")).check_queue(asked)
    assert refused.value.retry_after == 6


def test_a_client_has_its_own_part_or_what_its_key_says() -> None:
    admission = queued(job(3, "a"), job(3, "b"))
    admission.check_share(job(1, "a"), None)
    with pytest.raises(ClientOverLimit, match="your part of the queue has room for 1") as refused:
        admission.check_share(job(2, "a"), None)
    assert refused.value.retry_after == 6, "two clients take turns"
    admission.check_share(job(2, "a"), Bounds(5, 40))
    admission.check_share(job(4, "c"), None)
