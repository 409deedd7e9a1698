"""Which URLs can be a webhook's, and which addresses of their hosts are called."""

import asyncio
import ipaddress
import re
import socket
from concurrent.futures import Executor
from typing import Any

import httpx

from app.jobs.errors import BadAddress, BadWebhook

MAX_LENGTH = 2000
"""Characters of a webhook's URL."""
MAX_HOST = 253
"""Characters of a host's name (RFC 1035)."""
MAX_PORT = 65535
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A part of a host's name, after IDNA (RFC 1123)."""
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last part that makes of a name an old form of an IPv4 address: 127.1, 0x7f.1, 2130706433."""
INTERNET = ipaddress.IPv6Network("2000::/3")
"""All IPv6 addresses of the internet. Those that stand for IPv4 ones (RFC 6052) are outside."""


def check_url(url: str, *, private: bool) -> None:
    """Raises BadWebhook unless the URL can be a webhook's; `private` allows private addresses."""
    if len(url) > MAX_LENGTH:
        raise BadWebhook(url, f"it has {len(url)} characters; {MAX_LENGTH} are allowed")
    try:
        parsed = httpx.URL(url)
        host = parsed.host and parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BadWebhook(url, str(error)) from None
    if parsed.scheme not in ("http", "https") or not host:
        raise BadWebhook(url, "it must be http://HOST… or https://HOST…")
    if parsed.userinfo:
        raise BadWebhook(url, "it must not have a user name or password")
    if parsed.port is not None and not 1 <= parsed.port <= MAX_PORT:
        raise BadWebhook(url, f"its port is {parsed.port}; 1..{MAX_PORT} are allowed")
    if reason := _objection(host, private=private):
        raise BadWebhook(url, reason)


def host_of(url: str) -> str:
    """The host of a URL that has passed `check_url`: whose webhooks are called beside each other's
    only to a certain number."""
    return httpx.URL(url).raw_host.decode("ascii").removesuffix(".")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is reached over the internet. An IPv6 address that stands for an IPv4 one
    is as public as that, or not at all."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour or address.teredo or address not in INTERNET:
            return False
    return address.is_global and not address.is_multicast


async def resolve(target: httpx.URL, threads: Executor, *, private: bool) -> str:
    """The first address of the URL's host, if all of its addresses are allowed; looked up in one of
    the threads. Raises BadAddress."""
    port = target.port or (443 if target.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(threads, _look_up, target.host, port)
    except OSError as error:
        raise BadAddress(f"{target.host} cannot be looked up: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        # An IPv6 address may end in a zone, "%eth0", which ipaddress does not judge.
        if not private and not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise BadAddress(f"{target.host} is the private address {address}")
    return addresses[0]


def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _objection(host: str, *, private: bool) -> str | None:
    """Why the host, a name or an address, cannot be a webhook's; None if it can."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _objection_to_name(host.removesuffix("."), private=private)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "its address must have no zone"
    return None if private or is_public(address) else "it is a private address"


def _objection_to_name(name: str, *, private: bool) -> str | None:
    """As `_objection`. What the name stands for is looked up when it is called."""
    labels = name.split(".")
    if len(name) > MAX_HOST:
        return f"its host has {len(name)} characters; {MAX_HOST} are allowed"
    if not all(LABEL.fullmatch(label) for label in labels):
        return "the parts of its host must each be 1..63 letters, digits and inner hyphens"
    if NUMBER.fullmatch(labels[-1]):
        return "its host must be a name, or an IPv4 address of four decimal numbers"
    if not private and labels[-1] == "localhost":
        return "it is a private address"
    return None
