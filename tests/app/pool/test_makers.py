"""Who makes the same bytes has the same name, whatever its model is called."""

import dataclasses
from typing import Any

import pytest

from app.pool.makers import can_go_on, has_weights_of, maker, names
from tests.model_info import MODEL


def test_whoever_makes_the_same_bytes_has_the_same_name() -> None:
    first, second = (dataclasses.replace(MODEL, device=f"cuda:{i}") for i in range(2))
    assert maker(first) == maker(second)
    assert maker(dataclasses.replace(MODEL, name="other")) == maker(MODEL)


@pytest.mark.parametrize(
    "field", ["sha256", "fingerprint", "runtime", "precision", "device", "machine"]
)
def test_whoever_makes_other_bytes_goes_on_with_nothing(field: str) -> None:
    changed: dict[str, Any] = {field: "other"}
    other = dataclasses.replace(MODEL, **changed)
    assert maker(other) != maker(MODEL)
    assert not can_go_on(maker(MODEL), other)
    assert can_go_on(maker(MODEL), MODEL)
    is_machine = field in ("device", "machine")
    assert has_weights_of(maker(MODEL), other) == is_machine


def test_rows_of_older_servers_say_nothing_of_the_machine_and_before_that_of_the_fingerprint() -> (
    None
):
    assert names(MODEL) == (maker(MODEL), "0 0 eager float32 cpu", "m 0 eager float32 cpu")
    for made_by in names(MODEL):
        assert has_weights_of(made_by, MODEL)
        assert can_go_on(made_by, MODEL)
    assert can_go_on("0 0 eager float32 cpu", dataclasses.replace(MODEL, machine="other"))


def test_what_anybody_may_make_everybody_can_go_on_with() -> None:
    assert can_go_on(None, MODEL)
