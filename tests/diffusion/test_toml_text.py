"""Text that is written as TOML is read again as it was."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.toml_text import toml_comment, toml_string


@settings(derandomize=True)
@given(st.text())
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    assert tomllib.loads(f"a = {toml_string(text)} # {toml_comment(text)}\nb = 1") == {
        "a": text, "b": 1,
    }  # fmt: skip


def test_control_characters_and_quotes_are_escaped_and_nothing_else() -> None:
    assert toml_string('a"\\b\n\x01\x7f😀é') == r'"a\"\\b\n\u0001\u007f😀é"'


def test_what_is_no_text_is_refused_and_only_hinted_at_in_a_comment() -> None:
    with pytest.raises(UnicodeEncodeError):
        toml_string("\udce9")
    assert toml_comment("a\udce9\nb") == r"a\udce9\nb"
