"""What the routes are given: the client, its wait, its Idempotency-Key."""

import asyncio
import hashlib
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import Request

from app.door.clients import Client
from app.generation.errors import InvalidField
from app.generation.schemas.requests import SampleRequest
from app.http.problems import Problem
from app.jobs.keys import Key
from app.pool.admission import Bounds
from app.pool.version import Source
from app.routes.dependencies import (
    Services,
    bounds_of,
    get_client,
    get_wait_seconds,
    idempotency_key,
    model_of,
    preferences,
    refuse_webhook,
)
from app.routes.errors import problem_of
from app.settings import Settings
from tests.served import models_of


def request(path: str = "/sample", settings: Settings | None = None, **headers: str) -> Request:
    """A request to a server with these settings, which the door has let in."""
    services = SimpleNamespace(settings=settings or Settings())
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    app = SimpleNamespace(state=SimpleNamespace(services=services))
    state = {"client": Client("me", services.settings)}
    return Request({"type": "http", "path": path, "headers": raw, "app": app, "state": state})


def test_it_is_ready_once_the_models_are_loaded_and_the_storage_of_jobs_is_known() -> None:
    jobs, (models, engine) = SimpleNamespace(is_opening=True), models_of(is_slow=True)
    parts = cast(Services, SimpleNamespace(jobs=jobs, models=models))

    async def run() -> None:
        waiting = asyncio.create_task(Services.until_ready(parts))
        engine.finish("m#1")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        jobs.is_opening = False
        await asyncio.wait_for(waiting, 10)

    asyncio.run(run())


def test_the_client_is_the_one_that_the_door_has_let_in() -> None:
    asked = request()
    client = asyncio.run(get_client(asked, None))
    assert client is asked.scope["state"]["client"]
    del asked.scope["state"]["client"]
    with pytest.raises(LookupError):
        asyncio.run(get_client(asked, None))


def test_the_queue_holds_as_much_of_a_client_as_its_own_limits_say() -> None:
    client = Client("me", Settings(max_client_samples=5, max_client_steps=70))
    assert bounds_of(client) == Bounds(5, 70)


@pytest.mark.parametrize(("prefer", "seconds"), [("wait=5", 5), ("wait=100", 60), ("", 60)])
def test_a_client_waits_as_long_as_it_likes_up_to_the_servers_limit(
    prefer: str, seconds: int
) -> None:
    asked = request(settings=Settings(max_wait_seconds=60), prefer=prefer)
    assert asyncio.run(get_wait_seconds(asked)) == seconds


def test_a_request_of_a_model_that_there_is_not_names_those_that_there_are() -> None:
    models, _ = models_of(Source("a", "a"), Source("b", "b"))
    services = cast(Services, SimpleNamespace(models=models))
    assert model_of(SampleRequest(), services).name == "a"
    assert model_of(SampleRequest(model="b"), services).name == "b"
    with pytest.raises(InvalidField, match="^model: this server has a, b$"):
        model_of(SampleRequest(model="c"), services)


def test_a_job_is_asked_for_with_prefer() -> None:
    assert preferences(request(prefer="respond-async")).respond_async
    assert not preferences(request()).respond_async


def test_a_webhook_is_refused_where_there_is_no_job() -> None:
    refuse_webhook(request())
    with pytest.raises(Problem, match="X-Webhook-URL"):
        refuse_webhook(request(x_webhook_url="https://example.org"))


def key_of(
    path: str = "/sample", n: int = 1, client: str = "me", is_job: bool = False, **headers: str
) -> Key | None:
    asked = request(path, None, **headers)
    return idempotency_key(asked, SampleRequest(n=n), client, is_job=is_job)


def test_a_key_is_the_same_for_the_same_request() -> None:
    assert key_of() is None
    assert key_of(idempotency_key="k") == key_of(idempotency_key="k")


def test_a_key_stands_for_the_client_the_path_the_fields_and_the_kind_of_answer() -> None:
    keys = [
        key_of(idempotency_key="k"),
        key_of(idempotency_key="l"),
        key_of(idempotency_key="k", client="another"),
        key_of("/denoise-trajectory", idempotency_key="k"),
        key_of(n=2, idempotency_key="k"),
        key_of(idempotency_key="k", is_job=True),
    ]
    assert len(set(keys)) == len(keys)


def test_a_preference_that_is_not_honoured_changes_no_key() -> None:
    plain = key_of("/v1/images/generations", idempotency_key="k")
    assert plain == key_of("/v1/images/generations", idempotency_key="k", prefer="respond-async")


@pytest.mark.parametrize("key", ["", " ", "a ", "x" * 256, "é", "a\tb"])
def test_a_key_that_is_not_printable_ascii_is_refused(key: str) -> None:
    with pytest.raises(Exception, match="Idempotency-Key") as error:
        key_of(idempotency_key=key)
    assert isinstance(error.value, Exception) and problem_of(error.value).status == 422


def test_a_field_that_older_servers_do_not_know_leaves_the_fingerprints_of_before() -> None:
    """Fingerprints are kept for a week: a client that repeats a request across an upgrade must get
    its answer again."""
    found = key_of(idempotency_key="k")
    assert found is not None
    body = (
        '{"n":1,"seed":null,"first_index":0,"sampler":"ddpm","steps":null,"eta":0.0,'
        '"variance":null,"labels":null,"guidance":0.0}'
    )
    assert found.fingerprint == hashlib.sha256(f"/sample False {body}".encode()).hexdigest()
    for newer in (
        SampleRequest(spacing="karras"),
        SampleRequest(guidance_interval=[9, 1]),
        SampleRequest(model="m"),
    ):
        other = idempotency_key(request("/sample", None, idempotency_key="k"), newer, "a client")
        assert other is not None and other.fingerprint != found.fingerprint
