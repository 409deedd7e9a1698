"""Names as people, and hostile archives, choose them."""

import pytest

from diffusion.data.names import as_bytes, printable


@pytest.mark.parametrize("name", ["cat/0.png", "été", "猫/0.png", "a b", "", "😀", r"a\b"])
def test_a_name_that_can_be_shown_is_shown_as_it_is(name: str) -> None:
    assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", r"a\nb"), ("\x1b[31m", r"\x1b[31m"), ("\x7f\x85", r"\x7f\x85"),
        ("\udce9t\udce9", r"\udce9t\udce9"), ("\u202egnp.exe", r"\u202egnp.exe"),
    ],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_an_escape(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(name).isprintable()


def test_every_name_has_bytes() -> None:
    assert as_bytes("été") == "été".encode()
    assert as_bytes("\udce9") == rb"\udce9"
