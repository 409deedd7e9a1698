"""Range headers (RFC 9110, section 14)."""

import pytest

from app.http.problems import Problem
from app.http.ranges import parse


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=5-", (5, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-700", (0, 100)),
        ("bytes=90-500", (90, 100)),
        ("Bytes=0-0", (0, 1)),
        ("bytes=9-5", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("lines=0-1", None),
        pytest.param(f"bytes=0-{'9' * 5000}", (0, 100), id="a last position of 5000 digits"),
        pytest.param(f"bytes=-{'9' * 5000}", (0, 100), id="a suffix of 5000 digits"),
        pytest.param(f"bytes={'0' * 5000}5-9", (5, 10), id="5000 zeros before"),
        pytest.param(f"bytes={'9' * 5000}-5", None, id="from 5000 digits back"),
        ("bytes=\u0664-\u0665", None),
    ],
)
def test_one_range_is_cut_to_what_there_is_and_others_are_ignored(
    header: str, expected: tuple[int, int] | None
) -> None:
    assert parse(header, 100) == expected


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=200-300", "bytes=-0", f"bytes={'9' * 5000}-"]
)
def test_a_range_outside_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(Problem) as error:
        parse(header, 100)
    assert error.value.status == 416
    assert len(error.value.detail) < 200
    assert error.value.headers == {"Content-Range": "bytes */100"}
