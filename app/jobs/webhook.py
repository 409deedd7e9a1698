"""Calls of a client's URL when its job has ended: signed, and only to public addresses.

X-Webhook-Timestamp: Unix seconds
X-Webhook-Signature: sha256=HMAC-SHA256(secret, "<timestamp>.<body>"), hex
"""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import time

import httpx

from app.jobs.errors import BadAddress, BadWebhook

PAUSE_SECONDS = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)
"""Pauses after failed calls, in order; a call that fails after the last pause is the last one."""
TIMEOUT_SECONDS = 10.0
MAX_LENGTH = 2000
"""Characters of a webhook's URL."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that stand for IPv4 ones (RFC 6052)."""


def check_url(url: str, *, private: bool) -> None:
    """Raises BadWebhook unless the URL can be a webhook's; `private` allows private addresses."""
    if len(url) > MAX_LENGTH:
        raise BadWebhook(url, f"it has {len(url)} characters; {MAX_LENGTH} are allowed")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadWebhook(url, str(error)) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadWebhook(url, "it must be http://HOST… or https://HOST…")
    if parsed.userinfo:
        raise BadWebhook(url, "it must not have a user name or password")
    try:
        address = ipaddress.ip_address(parsed.host)
    except ValueError:
        return  # a name: what it stands for is looked up when it is called
    if not private and not is_public(address):
        raise BadWebhook(url, "it is a private address")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is reached over the internet. An IPv6 address that stands for an IPv4 one
    is as public as that, or not at all."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour or address.teredo or address in NAT64:
            return False
    return address.is_global and not address.is_multicast


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of X-Webhook-Signature for a body that is sent at `timestamp`, in Unix seconds."""
    message = str(timestamp).encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


async def call(url: str, body: bytes, *, secret: str, private: bool) -> None:
    """POST the body once. Raises BadAddress or httpx.HTTPError unless it is answered with 2xx.

    The name is looked up once and the address that was checked is the one connected to, so that a
    name server cannot answer differently the second time. Redirects are not followed.
    """
    target = httpx.URL(url)
    address = await _resolve(target, private=private)
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Host": target.netloc.decode("ascii"),
        "X-Webhook-Timestamp": str(timestamp),
        "X-Webhook-Signature": sign(secret, timestamp, body),
    }
    # A proxy of the environment would connect to an address that was not checked.
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        request = client.build_request(
            "POST",
            target.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": target.host},  # the certificate is the name's
        )
        response = await client.send(request, stream=True)  # its body is not read
        await response.aclose()
        response.raise_for_status()


async def _resolve(target: httpx.URL, *, private: bool) -> str:
    """The first address of the host, if all of its addresses are allowed. Raises BadAddress."""
    port = target.port or (443 if target.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BadAddress(f"{target.host} cannot be looked up: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        # An IPv6 address may end in a zone, "%eth0", which ipaddress does not judge.
        if not private and not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise BadAddress(f"{target.host} is the private address {address}")
    return addresses[0]
