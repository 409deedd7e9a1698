"""Which names of the server, and which sites' pages, a browser may use.

A page of another site can have a browser ask any address, this machine's too. What it cannot do is
choose the headers Host, Origin and Sec-Fetch-Site.
"""

from collections.abc import Collection, Sequence

from starlette.datastructures import Headers

from app.http.host_header import is_local_or_number, name_of
from app.http.problems import Problem, shorten

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""


def check_host(headers: Headers, allowed: Sequence[str] | None, own: Collection[str]) -> None:
    """Raise Problem 421 unless Host is one of the `allowed` names.

    None: any name that nobody else can own. With DNS rebinding, a page of another site makes its
    own name lead here; that name has a dot, and is neither a number nor one of the server's `own`.
    """
    given = headers.get("host")
    if given is None:  # HTTP/1.0: no browser
        return
    name = name_of(given)
    if allowed is None:
        is_allowed = "." not in name or is_local_or_number(name) or name in own
    else:
        is_allowed = any(_matches(name, pattern) for pattern in allowed)
    if not is_allowed:
        detail = f"Host: {shorten(given)} is not a name of this server; DDPM_ALLOWED_HOSTS has them"
        raise Problem(421, detail)


def check_origin(method: str, headers: Headers, origins: Sequence[str]) -> None:
    """Raise Problem 403 for what a page of another site than `origins` asks the server to do.

    What it only reads, the browser keeps from it. `*`: the pages of every site may.
    """
    origin = headers.get("origin")
    if method in READING or "*" in origins or (origin is not None and origin in origins):
        return
    site = headers.get("sec-fetch-site")
    if site is None:  # an older browser, or plain HTTP
        # For anything but a POST without a body, it asks first (CORS): JSON is no form's type.
        is_form = method == "POST" and headers.get("content-length", "0") == "0"
        is_foreign = origin is not None and is_form and not _is_same(origin, headers)
    else:
        is_foreign = site not in ("same-origin", "none")
    if is_foreign:
        whose = f"from {shorten(origin)}" if origin else "of another site"
        raise Problem(
            403, f"a page {whose} may not use this server; DDPM_CORS_ORIGINS allows pages"
        )


def _matches(name: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _is_same(origin: str, headers: Headers) -> bool:
    return origin.partition("://")[2] == headers.get("host", "").lower()
