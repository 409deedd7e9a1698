"""What every answer tells browsers, whatever it is: who may look into it, keep it, or frame it."""

import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # pages of allowed origins ask by CORS
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Those of an answer that says nothing else: it is data of one client, and no page."""
YEAR = 365 * 24 * 3600


class SecurityHeaders:
    """ASGI middleware that adds HEADERS to each answer, where it has not its own; over HTTPS also
    Strict-Transport-Security, except for names that stand for the browser's own machine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_strict = scope.get("scheme") == "https" and not _is_local(Headers(scope=scope))

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if is_strict:
                    headers["Strict-Transport-Security"] = f"max-age={YEAR}"
            await send(message)

        await self.app(scope, receive, guarded_send)


def _is_local(headers: Headers) -> bool:
    """Is Host a name of the browser's own machine, or a number? Browsers would apply the header to
    all servers there, and to none."""
    name = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
