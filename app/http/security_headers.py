"""What every answer tells browsers, whatever it is: who may look into it, keep it, or frame it."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.host_header import is_local_or_number, name_of

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # pages of allowed origins ask by CORS
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Those of an answer that says nothing else: it is data of one client, and no page. An answer with
an ETag says that its client may keep it (`http.conditional`)."""
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
        is_strict = scope.get("scheme") == "https" and not _is_local(scope)

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if is_strict:
                    headers["Strict-Transport-Security"] = f"max-age={YEAR}"
            await send(message)

        await self.app(scope, receive, guarded_send)


def _is_local(scope: Scope) -> bool:
    """Is Host a name of the browser's own machine, or a number? Browsers would apply the header to
    all servers there, and to none."""
    return is_local_or_number(name_of(Headers(scope=scope).get("host", "")))
