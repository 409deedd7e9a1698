"""Files that people take for a file of tensors, because a download left them in its place."""

LFS = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype html", b"<html")
START_BYTES = 64
"""Of a file; they tell what it is."""


def mistaken(start: bytes) -> str | None:
    """Say what a file is that begins so, and how to get the one that was meant; None where it is
    nothing that is known."""
    if start.startswith(LFS):
        return (
            "a pointer of Git LFS, which only stands for the file: `git lfs pull` in its folder "
            "fetches that"
        )
    if start.lstrip().lower().startswith(PAGES):
        return (
            "a web page, not the file: its address needs a login, or leads to a page about the file"
        )
    return None
