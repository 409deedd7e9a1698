"""Who may use the server."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_keys_are_needed_where_there_are_any() -> None:
    assert not Settings().needs_key
    assert Settings(api_keys="a" * 16).needs_key
    assert Settings(api_keys_file="keys.toml").needs_key


@pytest.mark.parametrize(
    "protect", ["livez", "metrics;docs", "Metrics"], ids=["probes", "separator", "letters"]
)
def test_only_parts_that_are_open_can_be_protected(protect: str) -> None:
    with pytest.raises(ValidationError, match="is none of docs, metrics, model, page"):
        Settings(api_keys="a" * 16, protect=protect)


def test_nothing_can_be_protected_without_keys() -> None:
    assert Settings(api_keys="a" * 16, protect="docs, page").protected == ["docs", "page"]
    with pytest.raises(ValidationError, match="it needs API keys"):
        Settings(protect="docs")


def test_hosts_are_names_as_the_header_has_them() -> None:
    names = "localhost, *.example.org,[::1], 10.0.0.1, *"
    assert Settings(allowed_hosts=names).hosts == names.replace(" ", "").split(",")


@pytest.mark.parametrize(
    "name", ["Example.org", "example.org:80", "http://a", "*example", "a.*", "::1"]
)
def test_what_no_header_has_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="nor a name in small letters without a port"):
        Settings(allowed_hosts=f"localhost,{name}")
