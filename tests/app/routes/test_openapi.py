"""The OpenAPI document against the running server: generated requests, every answer checked.

Status, content type, headers and body of each answer must be as documented, whatever was sent.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.generation.schemas.openai import ImagesRequest
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.main import create_app
from app.settings import Settings
from tests.app.server import Server
from tests.conftest import ServerFor

document = create_app(Settings(), on_unusable=print).openapi()
schema = schemathesis.openapi.from_dict(document)
KEY = "a key of sixteen letters or more"
NEED_A_KEY = ("/jobs", "/sample", "/denoise", "/encode", "/bound", "/v1")
KEYED = {"sample", "denoise_trajectory", "generate_images"}
"""Operations whose requests may have an Idempotency-Key."""
MAKING = {*KEYED, "encode", "bound"}
GUARDED = {path for path in document["paths"] if path.startswith(NEED_A_KEY)}
bounded = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@st.composite
def requests(draw: st.DrawFn, path: str) -> dict[str, object]:
    """What the tiny checkpoint and its server's limits allow."""
    n = draw(st.integers(1, 4))
    label = st.integers(0, 2)
    body: dict[str, object] = {"n": n, "steps": draw(st.integers(1, 8))}
    optional: dict[str, st.SearchStrategy[object]] = {
        "seed": st.none() | st.integers(0, 2**53 - 1),
        "first_index": st.integers(0, 2**53 - 5),
        "labels": label | st.lists(label, min_size=n, max_size=n),
    }
    sampler = draw(st.sampled_from(["ddpm", "ddim", "dpmpp", "unipc", "ipndm"]))
    if sampler == "ddim":
        optional["eta"] = st.floats(0, 1)
    if sampler == "ddpm":
        optional["variance"] = st.sampled_from(["fixed_small", "fixed_large", None])
    if path == "/denoise-trajectory":
        times = st.fixed_dictionaries(
            {"timesteps": st.lists(st.integers(0, 50), min_size=1, max_size=6)}
        )
        body |= draw(st.fixed_dictionaries({"frames": st.integers(2, 6)}) | times)
    body |= draw(st.fixed_dictionaries({"sampler": st.just(sampler)}, optional=optional))
    if "labels" in body:
        body["guidance"] = draw(st.floats(0, 20))
    return body


@pytest.fixture(scope="module")
def contract(server_for: ServerFor, tiny: Path) -> Server:
    flags = ["--max-samples=4", "--max-frames=6", "--max-request-bytes=100000"]
    return server_for(f"--checkpoint={tiny}", *flags)


@pytest.fixture(scope="module")
def guarded(server_for: ServerFor, tiny: Path) -> Server:
    """A server that needs an API key."""
    flags = ["--max-samples=4", "--max-frames=6", "--max-request-bytes=100000"]
    return server_for(f"--checkpoint={tiny}", *flags, keys=KEY)


def test_the_document_served_is_the_one_checked_here(contract: Server) -> None:
    assert contract.client.get("/openapi.json").json() == json.loads(json.dumps(document))


def operations(prefix: str = "/", but: str = "\0") -> Iterator[dict[str, Any]]:
    """What the document says of each method of each path."""
    for path, methods in document["paths"].items():
        if path.startswith(prefix) and not path.startswith(but):
            yield from methods.values()


def test_every_operation_has_a_short_name_of_its_own() -> None:
    assert sorted(operation["operationId"] for operation in operations()) == [
        "bound", "delete_job", "denoise_trajectory", "encode", "follow_job", "generate_images",
        "get_job", "get_job_result", "get_liveness", "get_metrics", "get_model", "get_models",
        "get_one_model", "get_readiness", "list_models", "load_model", "retrieve_model", "sample",
        "unload_model",
    ]  # fmt: skip


def test_every_error_is_the_one_schema_of_problems() -> None:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    errors = [
        answer["content"]
        for operation in operations(but="/v1/")
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert errors and all(error == {"application/problem+json": problem} for error in errors)


def test_the_errors_of_openais_api_are_the_schema_of_its_own() -> None:
    error = {"schema": {"$ref": "#/components/schemas/ApiErrorBody"}}
    errors = [
        answer["content"]
        for operation in operations("/v1/")
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert errors and all(found == {"application/json": error} for found in errors)


def test_a_problem_lists_the_fields_that_are_wrong() -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["required"] == ["type", "title", "status", "detail"]
    items = schemas["Problem"]["properties"]["errors"]["items"]
    assert items == {"$ref": "#/components/schemas/FieldError"}
    assert set(schemas["FieldError"]["properties"]) == {"field", "value", "message"}


def test_the_frameworks_own_errors_which_are_never_sent_are_not_in_it() -> None:
    assert "ValidationError" not in json.dumps(document)


@pytest.mark.parametrize("model", [SampleRequest, TrajectoryRequest, ImagesRequest])
def test_no_field_of_a_request_is_required_by_a_generated_type(model: type[SampleRequest]) -> None:
    described = document["components"]["schemas"][model.__name__]
    assert "required" not in described
    assert described["properties"].keys() == model.model_fields.keys()
    for name, field in described["properties"].items():
        # openapi-typescript has a field with a `default` named in every request.
        assert "default" not in field, name
        default = model.model_fields[name].default
        assert default is None or field["description"].endswith(f" Default: {default}."), name


def examples() -> Iterator[tuple[str, str, Any]]:
    """The path, name and body of each request that the document shows."""
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for name, example in content.get("application/json", {}).get("examples", {}).items():
            if not path.startswith("/models"):
                yield path, name, example["value"]


@pytest.mark.parametrize(("path", "name", "body"), list(examples()))
def test_every_request_that_it_shows_is_answered(
    server_for: ServerFor, path: str, name: str, body: dict[str, Any]
) -> None:
    server = server_for(engine=("tests.fake_engine", "0"))
    answer = server.post(path, body)
    assert answer.status_code == 200, f"{name}: {answer.text}"


@pytest.mark.parametrize(
    ("status", "answered_by"),
    [
        # an Idempotency-Key, or a job
        ("202", {"sample", "denoise_trajectory", "load_model", "unload_model"}),
        ("409", {*KEYED, "get_job_result"}),
        ("507", {*KEYED, "get_job_result", "delete_job"}),
        # a body
        ("408", {*MAKING, "load_model"}),
        ("413", {*MAKING, "load_model"}),
        ("415", {*MAKING, "load_model"}),
        # images that are made
        ("500", MAKING),
        ("504", MAKING),
        ("304", {*MAKING, "get_job_result"}),
        ("406", {*MAKING, "get_job_result"}),
    ],
)
def test_a_status_is_in_it_only_where_the_server_answers_so(
    status: str, answered_by: set[str]
) -> None:
    found = {each["operationId"] for each in operations() if status in each["responses"]}
    assert found == answered_by


@pytest.mark.parametrize("status", ["200", "304"])
def test_etags_are_in_it_where_answers_have_one(status: str) -> None:
    for path in ("/sample", "/denoise-trajectory", "/encode", "/bound", "/v1/images/generations"):
        assert "ETag" in document["paths"][path]["post"]["responses"][status]["headers"], path


def test_every_answer_names_its_request() -> None:
    for operation in operations():
        for status, answer in operation["responses"].items():
            assert "X-Request-ID" in answer["headers"], (operation["operationId"], status)


def test_every_reference_in_it_leads_somewhere() -> None:
    names = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
    assert set(names) <= document["components"]["schemas"].keys()


@pytest.mark.slow
@schema.parametrize()
@settings(bounded, max_examples=30)
def test_every_answer_is_as_documented(case: Case, contract: Server) -> None:
    # What a model or a limit refuses is valid by the document, which names neither.
    case.call_and_validate(base_url=contract.url, excluded_checks=[positive_data_acceptance])


@pytest.mark.slow
@schema.parametrize()
@settings(bounded, max_examples=15)
def test_with_keys_every_answer_to_a_holder_is_as_documented(case: Case, guarded: Server) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    case.call_and_validate(guarded.url, headers=headers, excluded_checks=[positive_data_acceptance])


@pytest.mark.slow
@schema.parametrize()
@settings(bounded, max_examples=15)
def test_with_keys_every_answer_to_others_is_as_documented(case: Case, guarded: Server) -> None:
    case.headers.pop("Authorization", None)
    answer = case.call_and_validate(guarded.url, excluded_checks=[positive_data_acceptance])
    if case.path in GUARDED:
        assert answer.status_code >= 400, "whatever was sent, nothing is told or done"


@pytest.mark.parametrize("path", ["/sample", "/denoise-trajectory"])
@settings(bounded, max_examples=40)
@given(data=st.data())
def test_a_valid_request_gets_the_representation_it_asks_for(
    contract: Server, path: str, data: st.DataObject
) -> None:
    operation = schema[path]["POST"]
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    accept = data.draw(st.sampled_from(sorted(content)))
    answer = contract.post(path, data.draw(requests(path)), accept)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == accept
    if accept != "text/event-stream":  # its schema is of the body; the checker takes it for events'
        operation.validate_response(answer)
