"""Accept headers, RFC 9110 section 12.5.1."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from app.http.negotiation import accept_header, choose
from app.http.problems import Problem

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


@settings(derandomize=True, database=None, deadline=None)
@given(accept=st.text(st.sampled_from("*/;,q=.0159 \tainopgj-+\x00é"), max_size=60))
def test_whatever_the_header_the_answer_is_offered_or_refused(accept: str) -> None:
    try:
        assert choose(accept, OFFERED) in OFFERED
    except Problem as problem:
        assert problem.status == 406


@pytest.mark.parametrize("q", ["nan", "inf", "-1", "1e0", "0x1", "", "1_0", "\u0661"])
def test_a_quality_that_is_no_number_is_none(q: str) -> None:
    with pytest.raises(Problem):
        choose(f"image/png;q={q}", OFFERED)


def test_several_headers_say_what_they_say_together() -> None:
    headers = Headers(raw=[(b"accept", b"text/html"), (b"accept", b"image/png")])
    assert choose(accept_header(headers), OFFERED) == "image/png"
