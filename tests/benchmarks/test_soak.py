"""benchmarks.soak: a short run on a tiny checkpoint, with an engine killed; and what it notices."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.load import Request
from benchmarks.servers import ours, running
from benchmarks.soak_report import Plan
from tests.tiny import save_tiny


def test_a_short_run_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", num_classes=10, null_label=True)
    out = tmp_path / "soak.json"
    status = soak.main(
        ["--minutes=0.05", "--clients=3", "--requests=11", "--kill-every=1", "--disconnects=0.3",
         "--leave-within=0.05", f"--checkpoint={checkpoint}", "--runtime=eager", f"--out={out}"]
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert (status, report["problems"]) == (0, [])
    assert report["counts"]["right"] > 0
    assert report["counts"]["killed"] > 0
    assert "| answers lost | 0 |" in capsys.readouterr().out


def test_an_answer_with_other_bytes_is_wrong_and_one_with_an_error_lost(tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny")
    pool = [Request("/sample", {"n": 1, "seed": 1}), Request("/sample", {"n": 0})]
    plan = Plan(0.0, 1, 2, 30.0, 0.0, 1.0, 0)
    kind = ours(str(checkpoint), "--runtime=eager")
    with running(kind, tmp_path / "server.log") as server:
        looking = soak.Soak(server, plan, pool, ["not its fingerprint", ""])

        async def check() -> None:
            async with soak.new_client(server.url) as http:
                for which in range(len(pool)):
                    await looking.check(http, which)

        asyncio.run(check())
    assert looking.seen.counts == {"wrong": 1, "lost": 1}
    assert "status 422" in looking.seen.problems[1]
