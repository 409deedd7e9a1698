"""What downloads leave in the place of a file of tensors."""

import pytest

from diffusion.mistaken import mistaken


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\r\n  <HTML lang=en>", "a web page"),
    ],
)
def test_it_is_told_by_its_first_bytes(start: bytes, what: str) -> None:
    assert (mistaken(start) or "").startswith(what)


@pytest.mark.parametrize("start", [b"", b"PK\x03\x04", b"\x80\x02}", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_let_be(start: bytes) -> None:
    assert mistaken(start) is None
