"""Behind a proxy that offers the server under a prefix: whatever a client is told leads back."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin

import httpx
import pytest

from app.client import Client, SampleRequest, TrajectoryRequest
from tests.app.proxy import Proxy
from tests.app.server import Server
from tests.conftest import ServerFor

PREFIX = "/lab/ddpm"
BODY = {"n": 2, "seed": 4, "steps": 5, "labels": 3}


@pytest.fixture(scope="module")
def behind(server_for: ServerFor) -> Server:
    """The server itself, as the proxy alone sees it."""
    return server_for(f"--root-path={PREFIX}")


@pytest.fixture(scope="module", params=[True, False], ids=["strips", "leaves"])
def url(behind: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The server's address for clients; the proxy strips the prefix, or leaves it."""
    with Proxy(behind.port, PREFIX, strips=request.param) as proxy:
        yield proxy.url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """Knows the proxy's machine, not the prefix: paths are those that answers name."""
    with httpx.Client(base_url=url.removesuffix(PREFIX), timeout=60) as client:
        yield client


def links(html: str, page: str) -> set[str]:
    """What a browser loads or leads to from a page: addresses without host, resolved as it would.

    A frame's fragment and a query of the page's own are left out.
    """
    base = re.search(r'<base href="([^"]+)"', html)
    found = re.findall(r"(?:href|src)=\"([^\"#]+)\"", html.replace(base[0], "") if base else html)
    start = urljoin(page, base[1]) if base else page
    return {urljoin(start, link) for link in found if not link.startswith(("?", "data:"))}


@pytest.mark.parametrize("page", [PREFIX, f"{PREFIX}/"])
def test_the_page_and_all_that_it_loads_are_found(client: httpx.Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200 and "<title>DDPM playground</title>" in answer.text
    found = links(answer.text, page)
    assert len(found) >= 6
    for link in found:
        assert client.get(link).status_code == 200, link


def test_the_reference_loads_its_document_and_asks_below_the_prefix(client: httpx.Client) -> None:
    page = f"{PREFIX}/docs"
    html = client.get(page).text
    for link in links(html, page) | set(re.findall(r"url: '([^']+)'", html)):
        assert client.get(link).status_code == 200, link
    document = client.get(f"{PREFIX}/openapi.json").json()
    assert document["servers"] == [{"url": PREFIX}]


def test_a_jobs_address_leads_to_it_and_its_result(client: httpx.Client) -> None:
    headers = {"Prefer": "respond-async"}
    answer = client.post(f"{PREFIX}/sample", json=BODY, headers=headers)
    assert answer.status_code == 202
    location = answer.headers["location"]
    assert location == f"{PREFIX}/jobs/{answer.json()['id']}"
    assert "event: done" in client.get(f"{location}/events").text
    assert client.get(location).json()["status"] == "finished"
    assert client.head(location).status_code == 200
    images = client.get(f"{location}/result", headers={"Accept": "application/zip"})
    assert images.content.startswith(b"PK")
    assert client.delete(location).status_code == 204


def test_a_stream_comes_through(client: httpx.Client) -> None:
    body = {**BODY, "n": 1, "frames": 3}
    headers = {"Accept": "text/event-stream"}
    path = f"{PREFIX}/denoise-trajectory"
    with client.stream("POST", path, json=body, headers=headers) as answer:
        events = [line for line in answer.iter_lines() if line.startswith("event:")]
    assert events == ["event: frame"] * 3 + ["event: done"]


def test_an_error_names_the_path_that_the_client_asked_for(client: httpx.Client) -> None:
    answer = client.get(f"{PREFIX}/nowhere")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith(f"GET {PREFIX}/nowhere: ")
    assert client.delete(f"{PREFIX}/sample").headers["allow"] == "POST"


def test_a_key_means_the_same_request_on_either_way(client: httpx.Client, behind: Server) -> None:
    body = {"n": 1, "steps": 3}
    headers = {"Idempotency-Key": str(client.base_url)}
    there = client.post(f"{PREFIX}/sample", json=body, headers=headers)
    here = behind.client.post("/sample", json=body, headers=headers)
    assert there.json()["samples"] == here.json()["samples"]


def test_the_python_client_takes_an_address_with_a_prefix(url: str) -> None:
    with Client(url) as client:
        images = client.sample(SampleRequest(n=2, seed=4, steps=5, labels=3))
        assert images.array.shape == (2, 28, 28, 1)
        assert len(list(client.stream(TrajectoryRequest(steps=5, frames=3)))) == 3
        job = client.wait(client.submit(SampleRequest(n=2, seed=4, steps=5, labels=3)))
        assert (client.result(job).array == images.array).all()


def test_probes_on_the_machine_itself_need_no_prefix(behind: Server) -> None:
    assert behind.client.get("/readyz").status_code == 200
    assert behind.client.get("/livez").status_code == 200


def test_metrics_and_log_lines_count_by_route_whatever_the_prefix(
    client: httpx.Client, behind: Server
) -> None:
    client.get(f"{PREFIX}/model")
    assert 'ddpm_requests_total{path="/model",status="200"}' in behind.client.get("/metrics").text


@pytest.mark.slow
def test_the_page_and_the_reference_work_in_a_browser(url: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from tests.browser import FLAGS, find_chromium

    with sync_api.sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            pytest.skip("no Chromium found: `make test-browser` installs one")
        with playwright.chromium.launch(executable_path=path, args=list(FLAGS)) as browser:
            page = browser.new_page()
            failed: list[str] = []
            page.on("response", lambda got: failed.append(got.url) if got.status >= 400 else None)
            page.on("pageerror", lambda error: failed.append(str(error)))
            page.on("console", lambda line: failed.append(line.text) if line.type == "error" else 0)
            page.goto(f"{url}?n=3&labels=1")
            sync_api.expect(page.locator("#tiles img")).to_have_count(3, timeout=60_000)
            sync_api.expect(page.locator("#generate-downloads")).to_be_visible(timeout=60_000)
            assert page.url.startswith(f"{url}"), page.url
            assert f"curl -s {url}/" in page.locator("#code-curl").text_content()
            page.goto(f"{url}/docs")
            sync_api.expect(page.locator("#operations-generation-sample")).to_be_visible(
                timeout=60_000
            )
            assert failed == []
