"""The receiver of webhooks: kind in some ways, and bad in others."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app.jobs.webhook import sign
from benchmarks.soak.seen import Seen
from benchmarks.soak.webhooks import SECRET, Receiver

pytestmark = pytest.mark.anyio


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(Seen()) as made:
        yield made


async def call(url: str, *, secret: str = SECRET, status: str = "finished") -> int:
    """What a server does when a job has ended; the answer's status."""
    body = f'{{"id": "j", "status": "{status}"}}'.encode()
    signature = {"X-Webhook-Timestamp": "5", "X-Webhook-Signature": sign(secret, 5, body)}
    async with httpx.AsyncClient(timeout=1.0) as http:
        return (await http.post(url, content=body, headers=signature)).status_code


async def test_a_kind_receiver_tells_who_waits(receiver: Receiver) -> None:
    url = receiver.url("kind", "t")
    waiting = asyncio.create_task(receiver.arrival("t", "j"))
    assert await call(url) == 204
    await asyncio.wait_for(waiting, 5)
    assert receiver.seen.problems == []


async def test_a_moody_receiver_wants_to_be_called_again(receiver: Receiver) -> None:
    url = receiver.url("moody", "t")
    assert [await call(url), await call(url), await call(url)] == [500, 204, 204]
    assert receiver.seen.counts["webhooks that came again"] == 1


@pytest.mark.parametrize(("secret", "status"), [("another secret", "finished"), (SECRET, "failed")])
async def test_a_call_with_another_signature_or_of_an_unfinished_job_is_wrong(
    receiver: Receiver, secret: str, status: str
) -> None:
    await call(receiver.url("kind", "t"), secret=secret, status=status)
    assert receiver.seen.counts["wrong"] == 1


async def test_a_call_of_another_job_is_wrong(receiver: Receiver) -> None:
    url = receiver.url("kind", "t")
    waiting = asyncio.create_task(receiver.arrival("t", "another"))
    await asyncio.sleep(0)
    await call(url)
    await waiting
    assert receiver.seen.counts["wrong"] == 1


async def test_bad_receivers_refuse_redirect_hang_drip_and_close(receiver: Receiver) -> None:
    assert await call(receiver.url("fails", "t")) == 500
    assert await call(receiver.url("redirects", "t")) == 302
    for way in ("hangs", "drips"):
        with pytest.raises(httpx.ReadTimeout):
            await call(receiver.url(way, "t"))
    with pytest.raises(httpx.RemoteProtocolError):
        await call(receiver.url("closes", "t"))
