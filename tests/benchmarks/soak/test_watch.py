"""What is held while the soak runs, and what is left at its end."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.soak.seen import Seen
from benchmarks.soak.supervisor import Supervisor
from benchmarks.soak.watch import SPARE, Rest, Watch, files_in
from tests.benchmarks.soak.fakes import faked

pytestmark = pytest.mark.anyio


def test_pools_may_grow_a_little_and_leaks_may_not() -> None:
    before = Rest(20, 8, 9, 26)
    assert not Rest(20 + SPARE, 8, 9, 26).exceeds(before)
    assert Rest(20, 8, 9 + SPARE + 1, 26).exceeds(before)


def test_hidden_files_and_empty_folders_are_left_over_too(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / ".000001.partial").touch()
    assert files_in(tmp_path) == ["job", "job/.000001.partial"]
    assert files_in(tmp_path / "nowhere") == []


@pytest.mark.slow
async def test_a_server_is_sampled_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.soak.watch.SAVE_SECONDS", 0.0)
    saved = asyncio.Event()
    async with Supervisor(faked(), tmp_path / "log", Seen()) as server:
        watch = Watch(server)
        rest = await watch.at_rest()
        watching = asyncio.create_task(watch.run(60.0, server.seen, saved.set))
        await asyncio.wait_for(saved.wait(), 30)
        watching.cancel()
        assert not (await watch.at_rest(rest)).exceeds(rest)
    assert rest.api_files > 3 and rest.engine_threads >= 1
    assert watch.peak >= max(holding.rss for holding in watch.api) - 2**20
    assert {holding.pid for holding in watch.api} != {holding.pid for holding in watch.engine}
