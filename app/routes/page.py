"""GET /: the playground, whose files are served as they are."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app.http.ranges import WithoutRanges

FILES = Path(__file__).parent.parent / "playground"
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # pictures from event streams, and chosen files
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
        "require-trusted-types-for 'script'",
    ]
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",
}


class Assets(StaticFiles):
    """The page's scripts and styles. A browser checks each again whenever it loads the page, so it
    never mixes files of two versions."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


class WholeFile(FileResponse):
    """A file that is sent whole: the framework's answers to bad ranges are no problems."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await WithoutRanges(super().__call__)(scope, receive, send)


def install(app: FastAPI, root_path: str = "") -> None:
    """Serve the page at / and its files under /playground.

    Its addresses are relative: it works behind a proxy that strips `root_path`.
    """

    # At / itself, where people look; the files elsewhere, away from the names of endpoints.
    @app.get("/", include_in_schema=False)
    async def playground() -> Response:
        if root_path:
            return page_below(root_path)
        return WholeFile(FILES / "index.html", headers=PAGE_HEADERS)

    app.mount("/playground", Assets(directory=FILES), name="playground")
    for route in app.routes:  # those of the documentation, too
        if isinstance(route, Mount) and isinstance(route.app, StaticFiles):
            route.app = WithoutRanges(route.app)


def page_below(root_path: str) -> Response:
    """The page, which says where it is: a browser may have asked for it without the last slash, and
    relative addresses would then lead elsewhere."""
    html = (FILES / "index.html").read_text(encoding="utf-8")
    html = html.replace("<head>", f'<head>\n  <base href="{root_path}/">', 1)
    policy = CONTENT_SECURITY_POLICY.replace("base-uri 'none'", "base-uri 'self'")
    return HTMLResponse(html, headers={**PAGE_HEADERS, "Content-Security-Policy": policy})
