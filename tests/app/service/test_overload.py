"""A server with more asked of it than its queue holds: answered or refused, nothing else."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.app.server import Server

BODY = {"n": 3, "steps": 50}
BURST = 48


@pytest.mark.slow
def test_a_burst_is_answered_or_told_when_to_come_back(plain: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={plain}", "--max-queue-samples=4"]
    with Server(tmp_path / "server.log", *flags) as server, ThreadPoolExecutor(BURST) as pool:

        def ask(i: int) -> httpx.Response:
            if i % 2:
                return server.post("/denoise-trajectory", BODY, "text/event-stream")
            return server.post("/sample", BODY)

        # Requests that arrive while the process sleeps are all read in one turn of its loop.
        server.process.send_signal(signal.SIGSTOP)
        answers = [pool.submit(ask, i) for i in range(BURST)]
        time.sleep(0.5)
        server.process.send_signal(signal.SIGCONT)
        for answer in (future.result() for future in answers):
            if answer.status_code == 503:
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["retry-after"]) >= 1
                continue
            assert answer.status_code == 200, answer.text
            if answer.headers["content-type"].startswith("text/event-stream"):
                *_, last, nothing = answer.text.split("\n\n")
                assert nothing == "" and last.startswith(("event: done\n", "event: error\n"))
        assert {future.result().status_code for future in answers} == {200, 503}
        assert server.post("/sample", BODY).status_code == 200
