"""OpenAI's own Python client against a real server: it generates, fails and is refused."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
import openai
import pytest
from PIL import Image

from tests.app.http.test_metrics import eventually
from tests.app.server import Server
from tests.app.service.test_limits import ALICE, bearer
from tests.conftest import ServerFor

FAST: dict[str, Any] = {"sampler": "ddim", "steps": 5, "seed": 1}


class ClientOf(Protocol):
    def __call__(self, server: Server, key: str = "any") -> openai.OpenAI: ...


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Makes clients, which are closed at the test's end."""
    with ExitStack() as clients:

        def client_of(server: Server, key: str = "any") -> openai.OpenAI:
            made = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
            return clients.enter_context(made)

        yield client_of


def pictures(answer: openai.types.ImagesResponse) -> list[np.ndarray]:
    def decoded(image: openai.types.Image) -> np.ndarray:
        assert image.b64_json is not None and image.url is None
        with Image.open(io.BytesIO(base64.b64decode(image.b64_json))) as picture:
            return np.asarray(picture)

    return [decoded(image) for image in answer.data or []]


def test_it_generates_what_sample_does(client_of: ClientOf, server: Server) -> None:
    answer = client_of(server).images.generate(
        prompt="7", n=2, model="mnist", response_format="b64_json", extra_body=FAST
    )
    with np.load(
        io.BytesIO(
            server.post("/sample", {**FAST, "n": 2, "labels": 7}, "application/x-npz").content
        )
    ) as npz:
        assert np.array_equal(np.stack(pictures(answer)), npz["images"][..., 0])
    assert answer.created > 1.7e9
    assert answer.model_extra is not None and answer.model_extra["seed"] == 1


def test_a_larger_size_repeats_pixels(client_of: ClientOf, server: Server) -> None:
    images = client_of(server).images
    (small,) = pictures(images.generate(prompt="", extra_body=FAST))
    (large,) = pictures(images.generate(prompt="", size="84x84", extra_body=FAST))
    assert np.array_equal(large, small.repeat(3, 0).repeat(3, 1))


def test_it_lists_the_models(client_of: ClientOf, server: Server) -> None:
    client = client_of(server)
    assert [model.id for model in client.models.list()] == ["mnist"]
    found = client.models.retrieve("mnist")
    assert (found.id, found.object, found.owned_by) == ("mnist", "model", "mnist")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("dall-e-3")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"prompt": "dog"}, "prompt", "a class by name or number: 0, 1, 2"),
        ({"size": "256x256"}, "size", "auto or 28x28, times 1..146"),
        ({"response_format": "url"}, "response_format", "no pictures at URLs"),
        ({"n": 1000}, "n", "1..64 images a request"),
        ({"quality": "hd"}, "quality", "'auto' or 'standard'"),
        ({"extra_body": {"steps": 2000}}, "steps", "T = 1000"),
        ({"extra_body": {"foo": 1}}, "foo", "unknown field"),
        ({"prompt": "7", "extra_body": {"labels": 7}}, "labels", "give one of them"),
        ({"n": 64, "size": "4088x4088"}, None, "ask for fewer images or a smaller size"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(
    client_of: ClientOf, server: Server, fields: dict[str, Any], param: str | None, told: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=told) as caught:
        client_of(server).images.generate(**{"prompt": "", **fields})
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert caught.value.request_id


def test_an_unknown_model_is_not_found(client_of: ClientOf, server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has mnist") as caught:
        client_of(server).images.generate(prompt="7", model="dall-e-3")
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_an_answer_that_takes_too_long_is_given_up(client_of: ClientOf, server: Server) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client_of(server).images.generate(prompt="", n=64, extra_headers={"Prefer": "wait=0"})
    assert (caught.value.status_code, caught.value.type) == (504, "server_error")


def test_an_answer_that_the_client_has_is_not_made_again(server: Server) -> None:
    body = {**FAST, "prompt": "7"}
    etag = server.post("/v1/images/generations", body).headers["etag"]
    assert etag != server.post("/sample", {**FAST, "labels": 7}).headers["etag"]
    headers = {"If-None-Match": etag}
    again = server.client.post("/v1/images/generations", json=body, headers=headers)
    assert again.status_code == 304
    other = server.client.post(
        "/v1/images/generations", json={**body, "size": "56x56"}, headers=headers
    )
    assert other.status_code == 200


@pytest.mark.slow
def test_with_keys_it_is_let_in_refused_and_told_to_wait(
    client_of: ClientOf, server_for: ServerFor
) -> None:
    keyed = server_for("--max-client-samples=4", keys=ALICE)
    for wrong in ("any", "a wrong key of sixteen letters"):
        with pytest.raises(openai.AuthenticationError, match="one of its API keys") as caught:
            client_of(keyed, wrong).images.generate(prompt="7")
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client_of(keyed, wrong).models.list()
    client = client_of(keyed, ALICE)
    assert [model.id for model in client.models.list()] == ["mnist"]
    with ThreadPoolExecutor(1) as pool:
        body = {"n": 4, "steps": 1000}
        running = pool.submit(keyed.client.post, "/sample", json=body, headers=bearer(ALICE))
        eventually(keyed, lambda found: found["ddpm_queued_samples",] == 4)
        with pytest.raises(openai.RateLimitError, match="your part of the queue") as limited:
            client.images.generate(prompt="7")
        assert int(limited.value.response.headers["retry-after"]) >= 1
        assert running.result().status_code == 200


def test_other_paths_and_methods_are_refused_in_the_same_form(server_for: ServerFor) -> None:
    keyed = server_for(keys=ALICE)
    assert keyed.client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
    nowhere = keyed.client.get("/v1/engines", headers=bearer(ALICE))
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")
    assert keyed.client.put("/v1/models", headers=bearer(ALICE)).status_code == 405
