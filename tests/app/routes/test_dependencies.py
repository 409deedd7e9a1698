"""What the routes are given: the client, its wait, its Idempotency-Key."""

import asyncio
import hashlib
from types import SimpleNamespace

import pytest
from fastapi import Request
from fastapi.security import HTTPAuthorizationCredentials

from app.generation.schemas import SampleRequest
from app.http.problems import Problem
from app.jobs.keys import Key
from app.routes.dependencies import (
    get_client,
    get_wait_seconds,
    idempotency_key,
    preferences,
    refuse_webhook,
)
from app.routes.errors import problem_of
from app.settings import Settings

API_KEY = "a key of this server"


def request(path: str = "/sample", settings: Settings | None = None, **headers: str) -> Request:
    """A request to a server with these settings."""
    services = SimpleNamespace(settings=settings or Settings())
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    app = SimpleNamespace(state=SimpleNamespace(services=services))
    client = ("10.0.0.1", 1234)
    return Request({"type": "http", "path": path, "headers": raw, "app": app, "client": client})


def test_a_client_is_its_address_or_its_key() -> None:
    keyed = Settings(api_keys=API_KEY)
    bearer = HTTPAuthorizationCredentials(scheme="Bearer", credentials=API_KEY)
    assert asyncio.run(get_client(request(), None)) == "address 10.0.0.1"
    assert asyncio.run(get_client(request(settings=keyed), bearer)).startswith("key ")
    with pytest.raises(Problem) as error:
        asyncio.run(get_client(request(settings=keyed), None))
    assert error.value.status == 401


@pytest.mark.parametrize(("prefer", "seconds"), [("wait=5", 5), ("wait=100", 60), ("", 60)])
def test_a_client_waits_as_long_as_it_likes_up_to_the_servers_limit(
    prefer: str, seconds: int
) -> None:
    asked = request(settings=Settings(max_wait_seconds=60), prefer=prefer)
    assert asyncio.run(get_wait_seconds(asked)) == seconds


def test_a_job_is_asked_for_with_prefer() -> None:
    assert preferences(request(prefer="respond-async")).respond_async
    assert not preferences(request()).respond_async


def test_a_webhook_is_refused_where_there_is_no_job() -> None:
    refuse_webhook(request())
    with pytest.raises(Problem, match="X-Webhook-URL"):
        refuse_webhook(request(x_webhook_url="https://example.org"))


def key_of(path: str = "/sample", n: int = 1, client: str = "me", **headers: str) -> Key | None:
    return idempotency_key(request(path, None, **headers), SampleRequest(n=n), client)


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
        key_of(idempotency_key="k", prefer="respond-async"),
    ]
    assert len(set(keys)) == len(keys)


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
    spaced = SampleRequest(spacing="karras")
    other = idempotency_key(request("/sample", None, idempotency_key="k"), spaced, "a client")
    assert other is not None and other.fingerprint != found.fingerprint
