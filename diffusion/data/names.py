"""The names of files and classes, which people and hostile archives choose as they like."""


def printable(text: str) -> str:
    """Write what a terminal would obey, or could not show, as an escape: one line remains one.

    Line breaks, control characters, and bytes of names that are not UTF-8 are meant.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_bytes(name: str) -> bytes:
    """Return a name's bytes, to be hashed: UTF-8, and escapes for what has none."""
    return name.encode(errors="backslashreplace")
