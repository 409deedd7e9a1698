"""Names of models on the Hub."""

import pytest

from diffusion.sources.hub_id import HubId, check_pattern


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("google/ddpm-cifar10-32", "google/ddpm-cifar10-32", None),
        ("hf:google/ddpm-cifar10-32", "google/ddpm-cifar10-32", None),
        ("a/b.c_d@main", "a/b.c_d", "main"),
        ("a/b@refs/pr/3", "a/b", "refs/pr/3"),
        ("a/b@v1.0-rc", "a/b", "v1.0-rc"),
    ],
)
def test_an_id_has_an_owner_a_name_and_maybe_a_revision(
    text: str, repository: str, revision: str | None
) -> None:
    assert HubId.parse(text) == HubId(repository, revision)


@pytest.mark.parametrize(
    "text",
    [
        "mnist", "a/b/c", "/a/b", "./a/b", "../b", "a/..", "a/b..c", "a--b/c", "a/b.git", "a/.b",
        "a/b-", "a /b", "a/b@", "a/b@../x", "a/b@x/../../y", "a/b@-x", "a/b@.x", "a/b@x//y",
        "ä/b", "a/" + "b" * 97, "a/b@" + "c" * 201, "hf:", "https://huggingface.co/a/b", "a/b\n",
    ],
)  # fmt: skip
def test_any_other_text_is_no_id(text: str) -> None:
    assert HubId.parse(text) is None


def test_only_a_whole_commit_is_pinned() -> None:
    assert HubId("a/b", "0123456789" * 4).is_pinned
    assert not HubId("a/b", "0123456").is_pinned
    assert not HubId("a/b", "main").is_pinned
    assert not HubId("a/b").is_pinned


@pytest.mark.parametrize("pattern", ["google/*", "a/b", "*/ddpm-?"])
def test_a_pattern_is_owner_and_name_with_wildcards(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["*", "google", "a/b/c", "a/ b", "a/[bc]"])
def test_any_other_text_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a pattern of the Hub's models"):
        check_pattern(pattern)
