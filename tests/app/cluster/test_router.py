"""Calls go to the replica that they name."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's, when it is imported


def replica(name: str) -> Any:
    return SimpleNamespace(replica_id=SimpleNamespace(unique_id=name))


def chosen(asked: str, *names: str) -> list[str]:
    pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")
    from app.cluster.router import ByName, name_of

    router = ByName.__new__(ByName)
    call: Any = SimpleNamespace(kwargs={"replica": asked})
    (rank,) = asyncio.run(router.choose_replicas([replica(name) for name in names], call))
    return [name_of(each) for each in rank]


def test_a_call_goes_to_the_replica_that_it_names() -> None:
    assert chosen("b", "a", "b") == ["b"]
    assert chosen("c", "a", "b") == []


def test_a_call_that_names_none_goes_to_any() -> None:
    assert chosen("", "a", "b") == ["a", "b"]
