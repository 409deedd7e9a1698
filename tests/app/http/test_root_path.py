"""A proxy's prefix: what the application sees of the path, whether the proxy strips it or not."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from app.http.root_path import RootPath


def seen(path: str, raw_path: bytes | None = None) -> Scope:
    """The scope of the application, for a request that arrives with this path."""
    found: list[Scope] = []

    async def note(scope: Scope, _: Receive, __: Send) -> None:
        found.append(scope)

    scope = {"type": "http", "path": path, "raw_path": raw_path or path.encode(), "root_path": ""}
    asyncio.run(RootPath(note, "/ddpm")(scope, None, None))  # type: ignore[arg-type]
    assert found[0] is scope, "those outside find the route in it"
    return scope


@pytest.mark.parametrize("path", ["/jobs/1", "/ddpm/jobs/1"], ids=["stripped", "left"])
def test_the_path_is_the_clients_and_the_prefix_is_known(path: str) -> None:
    scope = seen(path)
    assert (scope["root_path"], scope["path"]) == ("/ddpm", "/ddpm/jobs/1")
    assert scope["raw_path"] == b"/ddpm/jobs/1"


@pytest.mark.parametrize("path", ["/ddpm", "/ddpm/"])
def test_the_prefix_alone_is_the_page(path: str) -> None:
    scope = seen(path)
    assert (scope["path"], scope["raw_path"]) == ("/ddpm/", b"/ddpm/")


def test_a_path_that_only_begins_like_the_prefix_is_another() -> None:
    assert seen("/ddpmx")["path"] == "/ddpm/ddpmx"


def test_escapes_stay_as_they_were_sent() -> None:
    scope = seen("/a b", b"/a%20b")
    assert (scope["path"], scope["raw_path"]) == ("/ddpm/a b", b"/ddpm/a%20b")


def test_what_is_no_request_is_passed_on() -> None:
    found: list[Scope] = []

    async def note(scope: Scope, _: Receive, __: Send) -> None:
        found.append(scope)

    scope = {"type": "lifespan"}
    asyncio.run(RootPath(note, "/ddpm")(scope, None, None))  # type: ignore[arg-type]
    assert found == [{"type": "lifespan"}]
