"""What is decided from a request's head alone, before its body is read: who asks, and may they?"""

import base64
import socket
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.door.clients import Client, Clients
from app.door.hosts import check_host, check_origin
from app.door.rates import Rates
from app.http.problems import Problem
from app.http.request_log import RequestRecord
from app.settings import Settings

PROBES = "probes"
OPEN = {
    "/livez": PROBES,
    "/readyz": PROBES,
    "/": "page",
    "/playground/": "page",
    "/docs": "docs",
    "/openapi.json": "docs",
    "/static-offline-docs/": "docs",
    "/model": "model",
    "/models": "model",
    "/models/": "model",
    "/metrics": "metrics",
}
"""Paths that need no API key unless their part of the server is one of `settings.protected`, which
probes never are. A longer path that ends with a slash stands for all that is below it. Every other
path needs a key where the server has keys."""
CHANGES = ("DELETE", "POST")
"""Methods with which a path below /models/ needs a key."""
PAGES = ("page", "docs")
BROWSERS = 'Basic realm="ddpm", charset="UTF-8"'
"""The challenge on which a browser asks its user for a password, which is then the key. It comes
for PAGES alone: what a page asks by itself would bring up the question again and again."""


class Door:
    """ASGI middleware that lets in who may come in; handlers find the client by `client_of`.

    Raises Problem 421 for another server's name, 403 for another site's page, 401 without a key,
    403 with one that may not do this, and 429 for too many requests.
    """

    def __init__(self, app: ASGIApp, settings: Settings, clients: Clients) -> None:
        self.app = app
        self._clients = clients
        self._origins = settings.origins
        self._hosts = settings.hosts or (["*"] if settings.needs_key else None)
        self._own_names = {settings.host.lower(), socket.gethostname().lower()}
        self._protected = settings.protected
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._check(scope)
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_change = path.startswith("/models/") and scope["method"] in CHANGES
        part = None if is_change else _part(path)
        if part != PROBES:  # whose callers know the server by any name
            check_host(headers, self._hosts, self._own_names)
            check_origin(scope["method"], headers, self._origins)
        client = self._find(scope, headers, part)
        scope.setdefault("state", {})["client"] = client
        if client is None:
            self._refuse_stranger(part)
            return
        RequestRecord.of(scope).key_name = client.key_name
        if part == "metrics" and part in self._protected and not client.is_admin:
            raise Problem(403, "the metrics of this server need an API key with `admin = true`")
        if part is None:
            self._count(client)

    def _find(self, scope: Scope, headers: Headers, part: str | None) -> Client | None:
        """The client; None where the server has keys and the request has none of them."""
        if not self._clients.need_key:
            address, _ = scope.get("client") or (None, 0)
            return self._clients.by_address(address)
        given = headers.get("authorization", "")
        # A browser sends a password with whatever any page asks: it opens what changes nothing.
        key = _bearer(given) or (_password(given) if part else None)
        return None if key is None else self._clients.by_key(key)

    def _refuse_stranger(self, part: str | None) -> None:
        if part is None or part in self._protected:
            detail = "Authorization: this server needs one of its API keys as a Bearer token"
            challenge = BROWSERS if part in PAGES else "Bearer"
            raise Problem(401, detail, headers={"WWW-Authenticate": challenge})

    def _count(self, client: Client) -> None:
        rate = client.limits.max_client_rate
        seconds = self._rates.take(client.name, rate) if rate else None
        if seconds is not None:
            detail = f"this server answers {rate} requests of one client in a minute"
            headers = {"Retry-After": str(seconds)}
            raise Problem(429, detail, headers=headers, reason="client_over_rate")


def client_of(state: Mapping[str, object]) -> Client:
    """The client that the door has found, in the state of a request's scope.

    Raises LookupError where there is none: then the path is one of those in OPEN.
    """
    client = state.get("client")
    if not isinstance(client, Client):
        raise LookupError("the door has let in a request without a client")
    return client


def _part(path: str) -> str | None:
    """The open part of the server to which a path belongs; None: it needs a key."""
    if path in OPEN:
        return OPEN[path]
    trees = (tree for tree in OPEN if len(tree) > 1 and tree.endswith("/"))
    return next((OPEN[tree] for tree in trees if path.startswith(tree)), None)


def _bearer(authorization: str) -> str | None:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _password(authorization: str) -> str | None:
    """The password of Basic authentication (RFC 7617); the user's name may be anything."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        return None
    return text.partition(":")[2]
