"""One call of a client's URL when its job has ended: signed, and only to public addresses.

X-Webhook-Timestamp: Unix seconds
X-Webhook-Signature: sha256=HMAC-SHA256(secret, "<timestamp>.<body>"), hex
"""

import asyncio
import functools
import hashlib
import hmac
import ssl
import time
from concurrent.futures import Executor

import httpx

from app.jobs.webhook_url import resolve

CALL_SECONDS = 10.0
"""How long a call may take, from the look-up of the name to the end of the answer's headers."""


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of X-Webhook-Signature for a body that is sent at `timestamp`, in Unix seconds."""
    message = str(timestamp).encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


async def call(url: str, body: bytes, threads: Executor, *, secret: str, private: bool) -> None:
    """POST the body once. Raises BadAddress or httpx.HTTPError unless it is answered with 2xx, and
    TimeoutError after CALL_SECONDS, however busy the receiver keeps the connection.

    The name is looked up once, in one of the threads, and the address that was checked is the one
    connected to, so that a name server cannot answer differently the second time. Redirects are not
    followed. The answer's headers may have 100 KiB (h11's limit); its body is not read.
    """
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await _call(httpx.URL(url), body, threads, secret, private)
    except TimeoutError:
        raise TimeoutError(f"no answer within {CALL_SECONDS:g} seconds") from None


async def _call(
    target: httpx.URL, body: bytes, threads: Executor, secret: str, private: bool
) -> None:
    address = await resolve(target, threads, private=private)
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Host": target.netloc.decode("ascii"),
        "X-Webhook-Timestamp": str(timestamp),
        "X-Webhook-Signature": sign(secret, timestamp, body),
    }
    # The one timeout is that of the whole call. A proxy of the environment would connect to an
    # address that was not checked.
    async with httpx.AsyncClient(  # nosec B113
        timeout=None, trust_env=False, verify=_tls()
    ) as client:
        request = client.build_request(
            "POST",
            target.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": target.host},  # the certificate is the name's
        )
        response = await client.send(request, stream=True)
        await response.aclose()
        response.raise_for_status()


@functools.cache
def _tls() -> ssl.SSLContext:
    """The authorities that certificates are checked against: read once, because that takes long."""
    return httpx.create_ssl_context(trust_env=False)
