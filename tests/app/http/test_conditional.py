"""If-None-Match, as clients and proxies write it."""

import pytest

from app.http.conditional import is_known, named


def test_what_has_a_tag_may_be_kept_by_its_client_alone_who_asks_again_before_each_use() -> None:
    assert named('"abc"') == {
        "ETag": '"abc"', "Cache-Control": "private, no-cache", "Vary": "Accept",
    }  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        ['"abc"'],
        ['"x", "abc"'],
        ['"x"', '"abc"'],
        ['W/"abc"'],
        ['W/"x",W/"abc"'],
        ["*"],
        [" * "],
        ['"a,b", "abc"'],
    ],
)
def test_a_tag_that_the_client_has_is_known(values: list[str]) -> None:
    assert is_known(values, '"abc"')


@pytest.mark.parametrize(
    "values", [[], [""], ['"x"'], ["abc"], ['"ABC"'], ['"*"'], ['"ab", "c"'], ['"abcd"']]
)
def test_another_one_is_not(values: list[str]) -> None:
    assert not is_known(values, '"abc"')
