"""A supervisor starts its server again, whatever ended it."""

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.soak.seen import Seen
from benchmarks.soak.supervisor import Supervisor
from tests.benchmarks.soak.fakes import faked

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    seen = Seen()
    async with Supervisor(faked(), tmp_path / "log", seen) as server:
        for how in (signal.SIGKILL, signal.SIGTERM):
            begun = time.monotonic()
            assert not server.was_out_since(begun)
            await server.kill(how)
            assert server.was_out_since(begun)
        await server.ready()
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/livez")).status_code == 200
        assert len(server.engines()) == 1
    assert server.starts == 3
    assert (seen.problems, seen.counts["processes left over"]) == ([], 0)


@pytest.mark.slow
async def test_a_server_that_ends_by_itself_is_a_problem(tmp_path: Path) -> None:
    seen = Seen()
    async with Supervisor(faked(), tmp_path / "log", seen) as server:
        assert server.process is not None
        server.process.kill()  # by somebody else
        async with asyncio.timeout(60):
            while server.starts < 2:
                await asyncio.sleep(0.1)
        await server.ready()
    assert seen.counts["servers that ended badly"] == 1
    assert "by itself, status -9" in seen.problems[0]
