"""JSON of strangers: read, or refused with the reason, at little cost."""

import json
import os
from pathlib import Path

import pytest

from diffusion.fields import ConfigError
from diffusion.json_file import MAX_BYTES, MAX_DEPTH, read_object, read_text


def nested(depth: int) -> str:
    return '{"a": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_an_object_is_read_with_all_that_json_has(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    values = {"a": [1, 2.5, None, True], "b": {"c": "ä"}, "n": -(2**63) + 1, "": "\u0000"}
    path.write_text(json.dumps(values), "utf-8")
    assert read_object(path) == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not readable JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 9_999, "not readable JSON"),
        ("[" * 100_000, "more than 10000 lists and objects"),
        (nested(MAX_DEPTH + 2), f"a: lists and objects in one another, more than {MAX_DEPTH} deep"),
        ('{"a": [NaN]}', "a: nan is not a finite number"),
        ('{"a": 1e999}', "a: inf is not a finite number"),
        ('{"a": 9223372036854775808}', "a: a whole number that does not fit 64 bits"),
        ('{"a": ' + "9" * 5000 + "}", "not readable JSON"),
        ('{"a": "\\ud800"}', "a: half a surrogate pair"),
        ('{"\\ud800": 1}', "half a surrogate pair"),
    ],
    ids=lambda value: value[:30],
)
def test_what_cannot_be_passed_on_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_object(tmp_path / "a.json")
    assert reason in str(caught.value)
    assert str(caught.value).encode(), "it can be printed"


def test_what_is_no_small_text_file_is_refused(tmp_path: Path) -> None:
    pipe, large, latin = tmp_path / "pipe", tmp_path / "large", tmp_path / "latin"
    os.mkfifo(pipe)
    large.touch()
    os.truncate(large, 1 << 40)  # it takes no room on the disk
    latin.write_bytes("ä".encode("latin-1"))
    for path, reason in (
        (pipe, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "not a regular file"),
        (large, f"too large: more than {MAX_BYTES} bytes"),
        (latin, "not text in UTF-8"),
    ):
        with pytest.raises(ConfigError, match=reason):
            read_text(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothing")
