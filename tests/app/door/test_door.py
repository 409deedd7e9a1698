"""The door: who may come in is decided from the head, before any of the body is read."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.door.clients import Clients
from app.door.door import Door, client_of
from app.http.problems import Problem
from app.http.request_log import RequestRecord
from app.settings import Settings

ALICE, ADMIN = "alice's long secret key", "the admin's long secret key"
KEYED: dict[str, Any] = {"api_keys": ALICE}


async def reached(scope: Scope, _: Receive, __: Send) -> None:
    scope["reached"] = True


async def no_body() -> Message:
    raise AssertionError("the body is read")


async def no_answer(_: Message) -> None:
    raise AssertionError("the door answers by an exception")


def make(**settings: Any) -> Door:
    made = Settings(**settings)
    return Door(reached, made, Clients(made))


def knock(
    door: Door, path: str = "/sample", headers: dict[str, str] | None = None, **more: Any
) -> Scope:
    """The scope of a request that has come in. Raises Problem."""
    given = {"host": "localhost", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": raw,
             "client": ("10.0.0.1", 1), **more}  # fmt: skip
    asyncio.run(door(scope, no_body, no_answer))
    assert scope["reached"]
    return scope


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def refused(door: Door, *args: Any, **more: Any) -> Problem:
    with pytest.raises(Problem) as error:
        knock(door, *args, **more)
    return error.value


def test_without_keys_a_client_is_its_address() -> None:
    client = client_of(knock(make())["state"])
    assert client.name == "address 10.0.0.1"
    assert client_of(knock(make(), client=None)["state"]).name == "address unknown"


def test_with_a_key_a_client_is_its_holder_and_the_record_has_its_name() -> None:
    scope = knock(make(**KEYED), headers=bearer(ALICE))
    client = client_of(scope["state"])
    assert client.name.startswith("key ")
    assert RequestRecord.of(scope).key_name == client.key_name
    assert ALICE not in repr(scope["state"])


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("somebody else's long key"), {"authorization": f"Digest {ALICE}"},
     {"authorization": ALICE}, {"authorization": "Bearer"}, basic(f"alice:{ALICE}")],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/sample", "/jobs/1", "/", "/anything", "//livez", "/livez/", "/playground", "/docs/x"]
)
def test_without_one_only_what_is_listed_as_open_can_be_reached(
    path: str, headers: dict[str, str]
) -> None:
    if path == "/":
        assert knock(make(**KEYED), path, headers)
        return
    problem = refused(make(**KEYED), path, headers)
    assert (problem.status, problem.headers) == (401, {"WWW-Authenticate": "Bearer"})


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/", "/playground/main.js", "/docs", "/openapi.json", "/model",
     "/metrics", "/static-offline-docs/swagger-ui.css"],
)  # fmt: skip
def test_what_tells_no_secret_is_open_unless_it_is_protected(path: str) -> None:
    assert knock(make(**KEYED), path)
    protected = make(**KEYED, protect="metrics,docs,page,model")
    if path in ("/livez", "/readyz"):
        assert knock(protected, path)
        return
    problem = refused(protected, path)
    assert problem.status == 401
    is_page = path not in ("/model", "/metrics")  # which pages ask for, and not their users
    assert str(problem.headers).count("Basic realm=") == is_page


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_models_are_shown_to_everybody_and_changed_with_a_key(method: str) -> None:
    door = make(**KEYED, root_path="/below")
    for path in ("/models", "/models/mnist"):
        assert knock(door, path, method="GET")
        assert refused(make(**KEYED, protect="model"), path, method="GET").status == 401
    for path in ("/models/mnist", "/below/models/mnist"):
        asked = {"method": method, "root_path": path.partition("/models")[0]}
        assert refused(door, path, **asked).status == 401
        assert refused(door, path, basic(f"anybody:{ALICE}"), **asked).status == 401
        assert knock(door, path, bearer(ALICE), **asked)
    assert knock(door, "/models/mnist", method="PUT"), "which is no method of it"


def test_a_browsers_password_opens_pages_and_nothing_that_makes_anything() -> None:
    door = make(**KEYED, protect="page,docs")
    for path in ("/", "/playground/main.js", "/docs"):
        assert knock(door, path, basic(f"anybody:{ALICE}"))
        assert knock(door, path, bearer(ALICE))
    for wrong in ("anybody:wrong", ALICE, ":"):
        assert refused(door, "/", basic(wrong)).status == 401
    assert refused(door, "/", {"authorization": "Basic é"}).status == 401
    assert refused(door, "/sample", basic(f"anybody:{ALICE}")).status == 401


def test_protected_metrics_need_an_admins_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f'[[keys]]\nname = "alice"\nkey = "{ALICE}"\n'
        f'[[keys]]\nname = "root"\nkey = "{ADMIN}"\nadmin = true\n'
    )
    door = make(api_keys_file=str(keys), protect="metrics")
    assert knock(door, "/metrics", bearer(ADMIN))
    assert refused(door, "/metrics", bearer(ALICE)).status == 403
    assert knock(make(api_keys_file=str(keys)), "/metrics")


def test_below_a_proxys_path_the_same_is_open() -> None:
    door = make(**KEYED)
    assert knock(door, "/lab/livez", root_path="/lab")
    assert refused(door, "/lab/sample", root_path="/lab").status == 401


def test_a_client_that_asks_too_often_is_told_when_to_come_again() -> None:
    door = make(max_client_rate=2)
    assert knock(door) and knock(door)
    problem = refused(door)
    assert (problem.status, problem.headers) == (429, {"Retry-After": "30"})
    assert problem.reason == "client_over_rate"
    assert knock(door, "/livez") and knock(door, "/"), "probes and pages are not counted"
    assert knock(door, client=("10.0.0.2", 1))


def test_a_thousand_addresses_each_have_their_own_rate_and_one_network_has_one() -> None:
    door = make(max_client_rate=1)
    for number in range(1000):
        assert knock(door, client=(f"10.1.{number // 250}.{number % 250}", 1))
    assert knock(door, client=("2001:db8::1", 1))
    for number in range(2, 50):
        assert refused(door, client=(f"2001:db8::{number:x}", 1)).status == 429


def test_without_keys_only_names_that_nobody_else_can_own_are_answered() -> None:
    rebound = {"host": "rebind.attacker.example:8000"}
    assert refused(make(), "/model", rebound).status == 421
    assert refused(make(), "/sample", rebound).status == 421
    assert knock(make(), "/readyz", rebound), "who probes may use any name"
    assert knock(make(**KEYED), "/sample", {**rebound, **bearer(ALICE)})
    allowed = make(allowed_hosts="rebind.attacker.example")
    assert knock(allowed, "/model", rebound)


def test_a_page_of_another_site_can_have_nothing_made() -> None:
    page = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert refused(make(), "/sample", page).status == 403
    assert knock(make(cors_origins="https://evil.example"), "/sample", page)


def test_a_handler_that_needs_a_client_is_never_without() -> None:
    scope = knock(make(**KEYED), "/model")
    with pytest.raises(LookupError):
        client_of(scope["state"])
