"""GET /docs: Swagger UI, all of whose files this server has."""

import base64
import hashlib
import re

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

FILES = "/static-offline-docs"
"""Where FastAPIOffline has mounted Swagger UI's files."""
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Serve the reference at /docs. Its policy lets it load and ask nothing but this server."""

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title} - Swagger UI",
            swagger_js_url=f"{root}{FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{FILES}/favicon.png",
        )
        page.headers["Content-Security-Policy"] = policy(bytes(page.body).decode())
        page.headers["Cache-Control"] = "no-cache"
        return page


def policy(html: str) -> str:
    """A Content-Security-Policy under which the page's own scripts run, known by their hashes."""
    hashes = [hashlib.sha256(script.encode()).digest() for script in SCRIPT.findall(html)]
    scripts = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes]
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *scripts]),
            "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles by its script
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
