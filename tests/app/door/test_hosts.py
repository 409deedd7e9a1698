"""Names of the server, and pages of other sites."""

import pytest
from starlette.datastructures import Headers

from app.door.hosts import check_host, check_origin
from app.http.problems import Problem


def host_is_allowed(host: str | None, allowed: list[str] | None, own: str = "127.0.0.1") -> bool:
    headers = Headers({} if host is None else {"host": host})
    try:
        check_host(headers, allowed, [own])
    except Problem as problem:
        assert problem.status == 421 and "DDPM_ALLOWED_HOSTS" in problem.detail
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7",
     "gpu-box:8000", "ddpm.localhost", "localhost.:8000", "", "[", "127.0.0.1.", None],
)  # fmt: skip
def test_without_a_list_the_names_that_nobody_else_can_own_are_allowed(host: str | None) -> None:
    assert host_is_allowed(host, None)


@pytest.mark.parametrize(
    "host",
    ["rebind.attacker.example", "rebind.attacker.example:8000", "127.0.0.1.attacker.example",
     "localhost.attacker.example.", "lab.example.org", "a.b:x", "127.0.0.1:8000.attacker.example"],
)  # fmt: skip
def test_a_name_with_a_dot_is_not_as_dns_rebinding_would_use_it(host: str) -> None:
    assert not host_is_allowed(host, None)


def test_the_servers_own_names_are() -> None:
    assert host_is_allowed("Gpu.lab.example:80", None, own="gpu.lab.example")
    assert not host_is_allowed("x.gpu.lab.example", None, own="gpu.lab.example")


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("ddpm.example.org", True),
        ("DDPM.example.org:443", True),
        ("ddpm.example.org.", True),
        ("a.lab.example", True),
        ("a.b.lab.example", True),
        ("lab.example", False),
        ("evil-lab.example", False),
        ("example.org", False),
        ("localhost", False),
        ("[::1]:8000", True),
    ],
)
def test_with_a_list_those_in_it_are(host: str, is_allowed: bool) -> None:
    assert host_is_allowed(host, ["ddpm.example.org", "*.lab.example", "[::1]"]) == is_allowed


def test_a_star_is_every_name() -> None:
    assert host_is_allowed("anything.example", ["*"])


def page_is_allowed(method: str, origins: list[str], headers: dict[str, str]) -> bool:
    try:
        check_origin(method, Headers({"host": "127.0.0.1:8000", **headers}), origins)
    except Problem as problem:
        assert problem.status == 403 and "DDPM_CORS_ORIGINS" in problem.detail
        return False
    return True


FOREIGN = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_a_page_of_another_site_can_have_nothing_done(method: str) -> None:
    assert not page_is_allowed(method, [], FOREIGN)
    assert not page_is_allowed(method, ["https://lab.example"], FOREIGN)
    assert not page_is_allowed(method, [], {"sec-fetch-site": "same-site"})
    assert not page_is_allowed(method, [], {**FOREIGN, "origin": "null"})


def test_a_form_of_an_older_browser_cannot_either() -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:3000", "http://[", ""):
        assert not page_is_allowed("POST", [], {"origin": origin, "content-length": "0"})
    assert page_is_allowed("POST", [], {"origin": "http://127.0.0.1:8000"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"},
        {"sec-fetch-site": "none"},
        {"origin": "https://behind.a.proxy", "content-length": "2"},
    ],
    ids=["a program", "the page", "the user", "the page behind a proxy, by an older browser"],
)
def test_programs_and_the_servers_own_page_can(headers: dict[str, str]) -> None:
    assert page_is_allowed("POST", [], headers)


def test_pages_of_allowed_origins_can_use_it() -> None:
    assert page_is_allowed("POST", ["https://evil.example"], FOREIGN)
    assert page_is_allowed("DELETE", ["*"], FOREIGN)


def test_what_only_reads_is_left_to_the_browser() -> None:
    assert page_is_allowed("GET", [], FOREIGN) and page_is_allowed("OPTIONS", [], FOREIGN)
