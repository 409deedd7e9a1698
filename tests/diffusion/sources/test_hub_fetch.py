"""A model of the Hub, from its name to a folder: against a server that speaks the protocol."""

import logging
import re
import shutil
from pathlib import Path

import pytest

from diffusion.checkpoint import open_checkpoint
from diffusion.sources.errors import CheckpointError
from diffusion.sources.find import find_checkpoint
from diffusion.sources.hub_client import Client
from diffusion.sources.hub_fetch import Hub
from diffusion.sources.hub_id import HubId
from tests.fake_hub import COMMIT, REPOSITORY, SECOND, FakeHub, serve

MODEL = HubId(REPOSITORY)
PINNED = HubId(REPOSITORY, COMMIT)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def refusal(hub: Hub, hub_id: HubId = MODEL) -> str:
    with pytest.raises(CheckpointError) as refused:
        hub.fetch(hub_id)
    return str(refused.value)


def unreachable(hub: Hub) -> Hub:
    """The same cache, and a Hub that does not listen."""
    return Hub(Client("http://127.0.0.1:9", pause=lambda _: None), hub.cache)


def left_over(hub: Hub) -> list[Path]:
    """Files of the cache that are in no snapshot."""
    linked = {path.resolve() for path in hub.cache.folder.glob("*/snapshots/*/**/*")}
    return [path for path in hub.cache.folder.glob("*/blobs/*") if path.resolve() not in linked]


def kept(fake: FakeHub) -> list[bytes]:
    """The files that make the checkpoint."""
    others = ("README.md", "unet/diffusion_pytorch_model.bin")
    return [content for name, content in fake.commits[COMMIT].items() if name not in others]


def test_a_model_is_fetched_at_a_commit_and_can_be_opened(hub: Hub, fake: FakeHub) -> None:
    location = find_checkpoint(REPOSITORY, hub=hub)
    assert (location.origin, location.revision) == (REPOSITORY, COMMIT)
    checkpoint = open_checkpoint(location)
    assert (checkpoint.source, checkpoint.revision) == (REPOSITORY, COMMIT)
    assert checkpoint.load() is not None
    assert all(f"/resolve/{COMMIT}/" in path for path in fake.asked[1:])


def test_pickles_and_other_files_are_not_fetched(hub: Hub, fake: FakeHub) -> None:
    hub.fetch(MODEL)
    assert sorted(fake.fetched()) == [
        "model_card.json", "model_index.json", "scheduler/scheduler_config.json",
        "unet/config.json", WEIGHTS,
    ]  # fmt: skip
    assert fake.fetched()[-1] == WEIGHTS


def test_a_folder_of_the_cache_tells_where_it_came_from(hub: Hub) -> None:
    folder, _ = hub.fetch(MODEL)
    opened = open_checkpoint(str(folder))
    assert (opened.source, opened.revision) == (REPOSITORY, COMMIT)


def test_a_model_without_a_card_has_the_name_of_its_repository(hub: Hub, fake: FakeHub) -> None:
    del fake.commits[COMMIT]["model_card.json"]
    folder, _ = hub.fetch(MODEL)
    assert open_checkpoint(folder).name == "tiny"


def test_the_second_time_only_the_list_is_asked_for(hub: Hub, fake: FakeHub) -> None:
    hub.fetch(MODEL)
    fake.asked.clear()
    hub.fetch(MODEL)
    assert fake.asked == [f"GET /api/models/{REPOSITORY}"]


def test_a_commit_that_is_cached_is_not_asked_for(hub: Hub, fake: FakeHub) -> None:
    hub.fetch(PINNED)
    fake.asked.clear()
    hub.fetch(PINNED)
    assert fake.asked == []


def test_a_branch_that_moved_is_fetched_again_and_only_what_changed(
    hub: Hub, fake: FakeHub
) -> None:
    hub.fetch(MODEL)
    fake.commits[SECOND] = {**fake.commits[COMMIT], "model_card.json": b'{"name": "other"}'}
    fake.branches["main"] = SECOND
    folder, commit = hub.fetch(MODEL)
    assert commit == SECOND
    assert open_checkpoint(folder).name == "other"
    assert hub.fetch(PINNED)[0] != folder, "the first commit is still there"


def test_a_branch_is_cached_and_used_when_the_hub_is_down(
    hub: Hub, fake: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    fake.branches["v1"] = COMMIT
    folder, _ = hub.fetch(HubId(REPOSITORY, "v1"))
    with caplog.at_level(logging.WARNING):
        assert unreachable(hub).fetch(HubId(REPOSITORY, "v1")) == (folder, COMMIT)
    assert re.search(rf"tests/tiny@v1: .*cannot be reached.*{COMMIT} is used", caplog.text)
    assert "not in the cache" in refusal(unreachable(hub)), "main was never asked for"


def test_without_the_hub_the_message_tells_what_is_cached(hub: Hub) -> None:
    hub.fetch(MODEL)
    said = refusal(unreachable(hub), HubId("google/ddpm-cifar10-32"))
    assert "google/ddpm-cifar10-32: the Hub cannot be reached" in said
    assert f"{hub.cache.folder}, which has, whole or in part, tests/tiny@{COMMIT}" in said


def test_a_hub_that_fails_for_a_moment_is_asked_again(
    hub: Hub, fake: FakeHub, pauses: list[float]
) -> None:
    fake.failures = 3
    assert hub.fetch(MODEL)[1] == COMMIT
    assert pauses == [1, 2, 4]


def test_a_hub_that_stays_broken_is_given_up(hub: Hub, fake: FakeHub) -> None:
    fake.failures = 100
    assert "the Hub answered with the HTTP status 503" in refusal(hub)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", "no such model; or it is private, and HF_TOKEN"),
        (404, "RepoNotFound", "no such model"),
        (403, "GatedRepo", "granted access.*HF_TOKEN"),
        (401, "GatedRepo", "granted access.*HF_TOKEN"),
        (404, "RevisionNotFound", "has this model, but not the revision"),
        (400, "", "HTTP status 400"),
    ],
)
def test_what_the_hub_refuses(
    status: int, code: str, said: str, hub: Hub, fake: FakeHub, pauses: list[float]
) -> None:
    fake.status = (status, code)
    assert re.search(said, refusal(hub))
    assert pauses == [], "another try would not help"


def test_a_revision_that_is_not_there(hub: Hub) -> None:
    assert "not the revision" in refusal(hub, HubId(REPOSITORY, "nowhere"))


def test_too_large_weights_are_refused_before_they_come(hub: Hub, fake: FakeHub) -> None:
    fake.sizes[WEIGHTS] = 5 << 30
    assert "its weights have 5368709120 bytes; at most 4294967296" in refusal(hub)
    assert fake.fetched() == []


def test_a_full_disk_is_noticed_before(
    hub: Hub, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1 << 20))
    assert f"no room for its {sum(map(len, kept(fake)))} bytes" in refusal(hub)
    assert fake.fetched() == []


def test_a_cache_that_cannot_be_written_to(hub: Hub) -> None:
    hub.cache.folder.write_text("a file")
    assert "which HF_HOME or HF_HUB_CACHE can move: Not a directory" in refusal(hub)


def test_a_download_that_breaks_off_goes_on_where_it_was(hub: Hub, fake: FakeHub) -> None:
    fake.breaks_after = 1000
    folder, _ = hub.fetch(MODEL)
    assert open_checkpoint(folder)
    assert len(fake.fetched()) == 6, "one file was asked for twice"


def test_without_ranges_it_begins_anew(hub: Hub, fake: FakeHub) -> None:
    fake.breaks_after, fake.has_ranges = 1000, False
    assert open_checkpoint(hub.fetch(MODEL)[0])


def test_a_file_that_is_not_what_was_listed_is_not_kept(hub: Hub, fake: FakeHub) -> None:
    true = fake.commits[COMMIT][WEIGHTS]
    fake.sends[WEIGHTS] = true[:-1] + bytes([true[-1] ^ 1])
    assert "what came is not the file that the Hub lists" in refusal(hub)
    assert left_over(hub) == []
    assert hub.cache.find(MODEL) is None
    assert hub.cache.find(PINNED) is None


def test_a_file_larger_than_listed_is_cut_off(hub: Hub, fake: FakeHub) -> None:
    fake.sends[WEIGHTS] = fake.commits[COMMIT][WEIGHTS] + bytes(1 << 20)
    assert "the Hub sends more than the" in refusal(hub)
    assert left_over(hub) == []


def test_a_file_smaller_than_listed_is_not_kept(hub: Hub, fake: FakeHub) -> None:
    fake.sends[WEIGHTS] = fake.commits[COMMIT][WEIGHTS][:-10]
    fake.has_ranges = False
    assert re.search(r"the Hub sent \d+ of \d+ bytes", refusal(hub))
    assert left_over(hub) == []


def test_a_slow_hub_is_given_up(hub: Hub, fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion.sources.hub_client.LIST_SECONDS", 0.2)
    monkeypatch.setattr("diffusion.sources.hub_client.LEAST_RATE", 1 << 30)
    fake.byte_seconds = 0.02
    assert "the Hub is too slow" in refusal(hub)
    assert left_over(hub) == []


def test_names_that_lead_elsewhere_are_no_paths(hub: Hub, fake: FakeHub, tmp_path: Path) -> None:
    evil = "../../../../evil.safetensors"
    fake.entries = [
        {"rfilename": name, "size": 4, "blobId": "0" * 40}
        for name in (evil, f"unet/{evil}", "/tmp/evil.json")
    ]
    hub.fetch(MODEL)
    assert len(fake.fetched()) == 5
    assert not list(tmp_path.glob("**/*evil*"))


@pytest.mark.parametrize(
    "listed",
    [
        {"sha": "../../../x"},
        {"sha": None},
        {"sha": 7},
        {"siblings": None},
        {"siblings": [1]},
        {"siblings": [{"rfilename": ["x"]}]},
        {"siblings": [{"rfilename": "unet/config.json", "lfs": 3}]},
    ],
)
def test_a_list_that_is_none_is_refused(listed: dict[str, object], hub: Hub, fake: FakeHub) -> None:
    fake.listed = listed
    assert re.search("what answered is not the Hub|the Hub names no commit", refusal(hub))


@pytest.mark.parametrize("digest", ["../../evil", "A" * 40, 5, None])
def test_a_digest_that_is_none_makes_no_file(digest: object, hub: Hub, fake: FakeHub) -> None:
    name = "unet/config.json"
    fake.entries = [{"rfilename": name, "size": 4, "blobId": digest}]
    assert "neither unet/config.json" in refusal(hub)


def test_another_commit_than_asked_for_is_refused(hub: Hub, fake: FakeHub) -> None:
    fake.listed = {"sha": SECOND}
    assert "answered with another commit" in refusal(hub, PINNED)


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: Hub, fake: FakeHub) -> None:
    with serve(FakeHub(fake.commits)) as store:
        fake.elsewhere = store.url
        client = Client(fake.url, token="hf_secret", pause=lambda _: None)
        Hub(client, hub.cache).fetch(MODEL)
    assert set(fake.tokens) == {"Bearer hf_secret"}
    assert len(store.asked) == 5
    assert set(store.tokens) == {None}
    assert "hf_secret" not in repr(client)
