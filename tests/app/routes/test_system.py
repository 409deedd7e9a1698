"""What the server says of itself, and its documentation without any outside network."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from app.wire.messages import Starting
from tests.app.server import Server


def test_it_is_alive_and_ready(server: Server) -> None:
    assert server.client.get("/livez").json() == {"status": "alive"}
    assert server.client.get("/readyz").json() == {"status": "ready", "reasons": []}


def test_while_it_starts_it_says_what_it_does() -> None:
    app = create_app(Settings(), on_unusable=print)  # whose engines nobody starts
    services = app.state.services
    services.models.start()
    services.pool.engines[0].progress.now = Starting("mnist#1", "measuring its speed, round", 3, 8)

    async def ask(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    answer = asyncio.run(ask("/readyz"))
    doing = "measuring its speed, round 3 of 8"
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["reasons"] == [
        f"engine 0 is starting: {doing}", "model mnist has not been loaded yet"
    ]  # fmt: skip
    assert answer.json()["loading"] == ["mnist"]
    refused = asyncio.run(ask("/model"))
    assert refused.json()["detail"] == f"the model mnist is being loaded: {doing}"
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "20")
    (entry,) = asyncio.run(ask("/models")).json()["models"]
    assert (entry["state"], entry["detail"], entry["model"]) == ("loading", doing, None)


def test_a_server_whose_engines_start_when_they_are_needed_is_ready_without_one() -> None:
    app = create_app(Settings(), on_unusable=print)
    models = app.state.services.models
    app.state.services.jobs._background._reason = None  # the storage is open

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return (await client.get("/readyz")).status_code

    models.may_rest = True
    assert asyncio.run(ask()) == 503, "what its models are like is not known yet"
    models.has_been_ready.set()
    assert asyncio.run(ask()) == 200


def test_a_server_is_not_ready_before_it_is_known_whether_jobs_can_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_app(Settings(), on_unusable=print)
    jobs, engine = app.state.services.jobs, app.state.services.pool.engines[0]
    app.state.services.models.has_been_ready.set()
    monkeypatch.setattr(type(engine), "is_ready", True)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/readyz")

    monkeypatch.setattr(type(jobs), "is_opening", True)
    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert answer.json()["reasons"][-1] == "the storage of jobs is being opened"
    monkeypatch.setattr(type(jobs), "is_opening", False)
    assert asyncio.run(ask()).status_code == 200


def test_the_docs_page_and_its_assets_come_from_this_server(server: Server) -> None:
    page = server.client.get("/docs")
    assert page.status_code == 200
    links = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(links) >= 2
    for link in links:
        assert link.startswith("/"), f"{link} is from another server"
        assert server.client.get(link).status_code == 200
    assert "http://" not in page.text and "https://" not in page.text


def test_the_openapi_document_has_an_example_of_every_field_and_representation(
    server: Server,
) -> None:
    document = server.client.get("/openapi.json").json()
    for path, schema in (
        ("/sample", "SampleRequest"),
        ("/denoise-trajectory", "TrajectoryRequest"),
    ):
        operation = document["paths"][path]["post"]
        body = operation["requestBody"]["content"]["application/json"]
        values: list[dict[str, Any]] = [example["value"] for example in body["examples"].values()]
        used = {name for value in values for name in value}
        fields = document["components"]["schemas"][schema]["properties"]
        sample_fields = document["components"]["schemas"]["SampleRequest"]["properties"]
        own = set(fields) - set(sample_fields) if schema == "TrajectoryRequest" else set(fields)
        assert used >= own
        for value in values:  # the examples are real requests; short ones are sent
            if value.get("steps", 1000) <= 20:
                assert server.post(path, value).status_code == 200
    trajectory = document["paths"]["/denoise-trajectory"]["post"]["responses"]["200"]["content"]
    assert trajectory.keys() == {
        "application/json", "text/event-stream", "image/png", "image/gif", "image/webp",
        "image/apng", "application/x-npz",
    }  # fmt: skip
    sample = document["paths"]["/sample"]["post"]["responses"]["200"]["content"]
    assert sample.keys() == {
        "application/json", "image/png", "application/zip", "application/x-npz"
    }  # fmt: skip
