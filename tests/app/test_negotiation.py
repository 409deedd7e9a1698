"""Accept headers, RFC 9110 section 12.5.1."""

import pytest

from app.negotiation import choose
from app.problems import Problem

OFFERED = ["application/json", "image/png", "application/zip"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/json"),
        ("text/html, image/png;q=0.5, */*;q=0.1", "image/png"),
        ("application/json;q=0.2, application/zip;q=0.9", "application/zip"),
        ("*/*, application/json;q=0", "image/png"),
        ("image/png; charset=x ; q=0.3, application/zip;q=0.4", "application/zip"),
        ("nonsense, application/zip", "application/zip"),
    ],
)
def test_the_best_offered_representation_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/png;q=0", "*/*;q=0", "x"])
def test_none_that_is_offered_is_406(accept: str) -> None:
    with pytest.raises(Problem) as error:
        choose(accept, OFFERED)
    assert error.value.status == 406
    assert "image/png" in error.value.detail
