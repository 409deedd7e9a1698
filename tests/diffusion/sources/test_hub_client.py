"""What the Hub is asked for: a list, and a file that must be what was listed."""

import hashlib
import io
import re

import pytest

from diffusion.sources.errors import CheckpointError, Unreachable
from diffusion.sources.hub_client import Client, HubFile, is_offline
from diffusion.sources.hub_id import HubId
from tests.fake_hub import COMMIT, REPOSITORY, FakeHub, git_digest

MODEL, PINNED = HubId(REPOSITORY), HubId(REPOSITORY, COMMIT)
WEIGHTS, CONFIG = "unet/diffusion_pytorch_model.safetensors", "unet/config.json"


@pytest.fixture
def client(fake: FakeHub, pauses: list[float]) -> Client:
    return Client(fake.url, pause=pauses.append)


def fetched(client: Client, name: str, start: bytes = b"") -> tuple[bytes, list[int]]:
    """A file whose first bytes are there, and the counts of bytes that were told."""
    target, told = io.BytesIO(), list[int]()
    target.write(start)
    listed = client.list(PINNED)[1][name]
    client.fetch(PINNED, name, listed, target, told.append)
    return target.getvalue(), told


def test_a_list_has_the_commit_and_each_files_size_and_digest(
    client: Client, fake: FakeHub
) -> None:
    commit, files = client.list(MODEL)
    weights, config = (fake.commits[COMMIT][name] for name in (WEIGHTS, CONFIG))
    assert commit == COMMIT and files.keys() == fake.commits[COMMIT].keys()
    assert files[WEIGHTS] == HubFile(len(weights), hashlib.sha256(weights).hexdigest())
    assert files[CONFIG] == HubFile(len(config), git_digest(config))


@pytest.mark.parametrize(
    "entry",
    [
        {"size": -1, "blobId": "0" * 40},
        {"size": 4.0, "blobId": "0" * 40},
        {"size": True, "blobId": "0" * 40},
        {"blobId": "0" * 40},
        {"size": 4, "blobId": "0" * 64},
        {"size": 4, "lfs": {"sha256": "0" * 40, "size": 4}},
        {"size": 4},
    ],
    ids=str,
)
def test_a_file_without_size_or_digest_is_left_out(
    entry: dict[str, object], client: Client, fake: FakeHub
) -> None:
    fake.entries = [{"rfilename": "a", **entry}, {"rfilename": "b", "size": 4, "blobId": "0" * 40}]
    files = client.list(MODEL)[1]
    assert "a" not in files and files["b"] == HubFile(4, "0" * 40)


def test_a_branch_with_a_slash_is_one_name_in_the_address(client: Client, fake: FakeHub) -> None:
    fake.branches["refs/pr/1"] = COMMIT
    assert client.list(HubId(REPOSITORY, "refs/pr/1"))[0] == COMMIT


@pytest.mark.parametrize(
    ("failures", "tries", "waits"), [(0, 4, []), (1, 4, [1]), (3, 4, [1, 2, 4])]
)
def test_each_try_waits_twice_as_long(
    failures: int, tries: int, waits: list[float], client: Client, fake: FakeHub,
    pauses: list[float],
) -> None:  # fmt: skip
    fake.failures = failures
    assert client.list(MODEL, tries)[0] == COMMIT
    assert pauses == waits and len(fake.asked) == failures + 1


def test_the_last_try_fails_at_once(client: Client, fake: FakeHub, pauses: list[float]) -> None:
    fake.failures = 100
    with pytest.raises(Unreachable, match="HTTP status 503"):
        client.list(MODEL, tries=3)
    assert pauses == [1, 2] and len(fake.asked) == 3


def test_who_works_offline_does_not_wait(
    client: Client, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert is_offline()
    with pytest.raises(Unreachable):
        client.list(MODEL)
    assert pauses == []


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_comes_as_it_was_listed(name: str, client: Client, fake: FakeHub) -> None:
    content, told = fetched(client, name)
    assert content == fake.commits[COMMIT][name]
    assert sum(told) == len(content)


def test_only_what_is_missing_is_asked_for(client: Client, fake: FakeHub) -> None:
    whole = fake.commits[COMMIT][WEIGHTS]
    content, told = fetched(client, WEIGHTS, whole[:1000])
    assert content == whole and sum(told) == len(whole) - 1000
    fake.asked.clear()
    content, told = fetched(client, WEIGHTS, whole)
    assert content == whole and told == [] and fake.fetched() == []


def test_without_ranges_all_comes_again_and_the_count_goes_back(
    client: Client, fake: FakeHub
) -> None:
    fake.has_ranges = False
    whole = fake.commits[COMMIT][WEIGHTS]
    content, told = fetched(client, WEIGHTS, b"x" * 1000)
    assert content == whole
    assert told[0] == -1000 and sum(told) == len(whole) - 1000


def test_another_beginning_is_noticed_by_the_digest(client: Client) -> None:
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: what came is not the file that the Hub"):
        fetched(client, WEIGHTS, b"x" * 1000)


def test_a_token_is_not_shown() -> None:
    assert not re.search("hf_secret", repr(Client("http://hub", token="hf_secret")))
