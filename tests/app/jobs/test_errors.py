"""What the client is told of a job that is refused."""

import pytest

from app.jobs.errors import (
    MAX_TEXT,
    BadHeader,
    BadKey,
    BadWebhook,
    StorageError,
    StorageFull,
    StorageUnavailable,
)


@pytest.mark.parametrize(
    ("kind", "header"), [(BadKey, "Idempotency-Key"), (BadWebhook, "X-Webhook-URL")]
)
def test_a_bad_header_is_named_with_its_value_and_the_reason(
    kind: type[BadHeader], header: str
) -> None:
    error = kind("é", "it has no host")
    assert str(error) == f'{header}: "\\u00e9" is not allowed: it has no host'


def test_of_a_long_value_only_the_beginning_is_repeated() -> None:
    whole = "x" * (MAX_TEXT - 2)  # with its quotes as long as is repeated
    assert str(BadKey(whole, "why")) == f'Idempotency-Key: "{whole}" is not allowed: why'
    cut = str(BadKey(whole + "x", "why")).removeprefix("Idempotency-Key: ")
    assert cut.removesuffix(" is not allowed: why") == f'"{whole[:-2]}...'


def test_whoever_needs_the_storage_catches_one_error() -> None:
    assert issubclass(StorageFull, StorageError)
    assert issubclass(StorageUnavailable, StorageError)
