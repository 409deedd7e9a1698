"""Text in TOML: the standard library reads this format, and does not write it."""

import re

ESCAPES = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r", '"': r"\"", "\\": r"\\"}
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SPECIAL = re.compile(r'[\x00-\x1f\x7f"\\]')


def toml_string(text: str) -> str:
    """Write a basic string, from which `tomllib` reads the same text.

    Raises UnicodeEncodeError where it is no text, as a file's name that is not UTF-8: TOML holds
    nothing else.
    """
    text.encode()
    return f'"{SPECIAL.sub(_escape, text)}"'


def toml_comment(text: str) -> str:
    """Write a text so that it fits into a comment's line: control characters are escaped."""
    return CONTROL.sub(_escape, text).encode(errors="backslashreplace").decode()


def _escape(found: re.Match[str]) -> str:
    return ESCAPES.get(found[0], f"\\u{ord(found[0]):04x}")
