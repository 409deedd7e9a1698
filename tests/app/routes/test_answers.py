"""The same request again: known by its ETag, made once for all who wait for it, or kept."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.http.test_metrics import eventually, read
from tests.app.server import Server
from tests.app.service.test_limits import ALICE, BOB, bearer
from tests.conftest import ServerFor
from tests.tiny import save_tiny

SEEDED: dict[str, Any] = {"seed": 1, "n": 2, "steps": 5}
LONG: dict[str, Any] = {"n": 4, "steps": 50}  # 1.5 seconds
FORMATS = ["application/json", "image/png", "application/zip", "application/x-npz"]


@pytest.fixture(scope="module")
def shared(server_for: ServerFor, plain: Path) -> Server:
    """A server with keys, and room for 10 samples of each of their holders."""
    flags = ("--max-client-samples=10", "--max-queue-samples=12")
    engine = ("tests.fake_engine", "0.03")
    return server_for(f"--checkpoint={plain}", *flags, keys=f"{ALICE}, {BOB}", engine=engine)


def ask(server: Server, body: dict[str, Any], key: str = ALICE, **headers: str) -> httpx.Response:
    return server.client.post("/sample", json=body, headers={**bearer(key), **headers})


def reused(server: Server, how: str) -> float:
    return read(server)["ddpm_reused_answers_total", how]


def finished(server: Server) -> float:
    return read(server)["ddpm_samples_total", "tiny", "finished"]


@contextmanager
def running(server: Server, body: dict[str, Any], **headers: str) -> Iterator[Future[Any]]:
    """Have Alice's request in the engine."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, body, **headers)
        eventually(server, lambda found: found["ddpm_queued_samples",] == body["n"])
        yield first


@pytest.mark.slow
@pytest.mark.parametrize("accept", FORMATS)
def test_an_answer_that_the_client_has_is_not_made_again(shared: Server, accept: str) -> None:
    answer = ask(shared, SEEDED, accept=accept)
    etag = answer.headers["etag"]
    assert etag.startswith('"') and etag.endswith('"'), "strong"
    assert answer.headers["cache-control"] == "private, no-cache"
    before, known = finished(shared), reused(shared, "known")
    for value in (etag, f'"other", W/{etag}', "*"):
        again = ask(shared, SEEDED, accept=accept, **{"If-None-Match": value})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        for name in ("cache-control", "vary", "x-seed"):
            assert again.headers[name] == answer.headers[name], "what the answer itself had"
    assert (finished(shared), reused(shared, "known")) == (before, known + 3)
    other = ask(shared, SEEDED, accept=accept, **{"If-None-Match": '"other"'})
    assert other.status_code == 200 and other.headers["etag"] == etag


@pytest.mark.slow
def test_each_format_and_each_request_has_its_own_etag_and_defaults_may_be_named(
    shared: Server,
) -> None:
    etags = [ask(shared, SEEDED, accept=accept).headers["etag"] for accept in FORMATS]
    etags += [
        ask(shared, {**SEEDED, **fields}).headers["etag"]
        for fields in ({"seed": 2}, {"n": 1}, {"steps": 4}, {"first_index": 1}, {"sampler": "ddim"})
    ]
    assert len(set(etags)) == len(etags)
    named = ask(shared, {**SEEDED, "first_index": 0, "labels": None, "eta": 0, "model": "tiny"})
    assert named.headers["etag"] == etags[0]


def test_a_trajectory_has_one_too_and_a_stream_and_a_drawn_seed_have_none(shared: Server) -> None:
    def etag(body: dict[str, Any], path: str = "/sample", accept: str = "*/*") -> str | None:
        headers = {**bearer(ALICE), "Accept": accept, "If-None-Match": '"x"'}
        return shared.client.post(path, json=body, headers=headers).headers.get("etag")

    assert etag(SEEDED, "/denoise-trajectory") not in (None, etag(SEEDED))
    assert etag(SEEDED, "/denoise-trajectory", "text/event-stream") is None
    assert etag({"steps": 5}) is None
    drawn = ask(shared, {"steps": 5}, **{"If-None-Match": "*"})
    assert drawn.status_code == 200, "nobody can have it"


@pytest.mark.slow
def test_it_is_the_same_after_a_restart(plain: Path, tmp_path: Path, shared: Server) -> None:
    with Server(tmp_path / "again.log", f"--checkpoint={plain}") as again:
        assert again.post("/sample", SEEDED).headers["etag"] == ask(shared, SEEDED).headers["etag"]


def test_equal_requests_at_once_are_computed_once(shared: Server) -> None:
    body, before, count = {**LONG, "seed": 10}, finished(shared), reused(shared, "shared")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, shared, body, key) for key in (ALICE, BOB, ALICE, BOB)]
        contents = {answer.result().content for answer in answers}
        ids = {answer.result().headers["x-request-id"] for answer in answers}
    assert len(contents) == 1 and len(ids) == 4
    assert finished(shared) - before == body["n"]
    assert reused(shared, "shared") - count == 3


def test_requests_without_a_seed_are_never_equal(shared: Server) -> None:
    body, before = {"n": 2, "steps": 20}, finished(shared)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, shared, body) for _ in range(3)]
        assert len({answer.result().headers["x-seed"] for answer in answers}) == 3
    assert finished(shared) - before == 6


def test_each_caller_is_admitted_as_if_alone_and_the_queue_holds_the_work_once(
    shared: Server,
) -> None:
    body = {"seed": 11, "n": 8, "steps": 50}
    with running(shared, body) as first, ThreadPoolExecutor(1) as pool:
        refused = ask(shared, body)
        assert refused.status_code == 429, "it would be 16 of her 10 samples"
        assert "your part of the queue has room for 2 of the 8" in refused.json()["detail"]
        second = pool.submit(ask, shared, body, BOB)
        eventually(shared, lambda found: found["ddpm_reused_answers_total", "shared"] > 0)
        time.sleep(0.1)
        assert read(shared)["ddpm_queued_samples",] == 8
        full = ask(shared, {"n": 3, "steps": 2}, BOB)
        assert full.status_code == 429, "it counts as his, too"
        assert ask(shared, {"n": 2, "steps": 2}, BOB).status_code == 200
        assert first.result().content == second.result().content


def test_whoever_leaves_stops_nothing_for_the_others(shared: Server) -> None:
    body = {**LONG, "seed": 12}
    before = read(shared)["ddpm_samples_total", "tiny", "cancelled"]
    with httpx.Client(base_url=shared.url, timeout=0.3, headers=bearer(ALICE)) as hasty:
        with ThreadPoolExecutor(2) as pool:
            leaving = pool.submit(hasty.post, "/sample", json=body)
            eventually(shared, lambda found: found["ddpm_queued_samples",] == 4)
            patient = pool.submit(ask, shared, body, BOB)
            with pytest.raises(httpx.ReadTimeout):
                leaving.result()
            assert patient.result().status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            hasty.post("/sample", json={**LONG, "seed": 13})
        eventually(shared, lambda found: found["ddpm_queued_samples",] == 0)
    assert read(shared)["ddpm_samples_total", "tiny", "cancelled"] > before, "nobody was left"


def test_each_caller_has_a_deadline_of_its_own(shared: Server) -> None:
    body = {"seed": 14, "n": 4, "steps": 50}
    with running(shared, body, prefer="wait=1") as first:
        second = ask(shared, body, BOB)
        assert first.result().status_code == 504
        assert "of 4 samples were done in the time allowed" in first.result().json()["detail"]
        assert second.status_code == 200


def test_each_caller_keeps_its_own_idempotency_key(shared: Server) -> None:
    body = {**LONG, "seed": 15}
    with running(shared, body, **{"Idempotency-Key": "a"}) as first:
        second = ask(shared, body, BOB, **{"Idempotency-Key": "b"})
        assert second.content == first.result().content
    for key, name in ((ALICE, "a"), (BOB, "b")):
        other = ask(shared, {**body, "seed": 16}, key, **{"Idempotency-Key": name})
        assert other.status_code == 422


def test_an_engine_that_dies_keeps_nobody_from_the_answer(shared: Server) -> None:
    body = {**LONG, "seed": 17}
    with running(shared, body) as first, ThreadPoolExecutor(1) as pool:
        second = pool.submit(ask, shared, body, BOB)
        eventually(shared, lambda found: found["ddpm_reused_answers_total", "shared"] > 0)
        os.kill(shared.engine_pid(), signal.SIGKILL)
        assert first.result().content == second.result().content
        assert first.result().status_code == 200


@pytest.mark.slow
def test_a_real_engine_is_told_who_pays(real_server: Server) -> None:
    server, body = real_server, {"seed": 18, "n": 4, "steps": 60}
    count = reused(server, "shared")
    with server.client_at("127.0.0.2") as other, ThreadPoolExecutor(3) as pool:
        busy = pool.submit(server.post, "/sample", {"n": 16, "steps": 60})
        eventually(server, lambda found: found["ddpm_queued_samples",] == 16)
        first = pool.submit(server.post, "/sample", body)
        eventually(server, lambda found: found["ddpm_queued_samples",] > 16)
        second = pool.submit(other.post, "/sample", json=body)
        assert first.result().content == second.result().content
        assert busy.result().status_code == 200
    assert reused(server, "shared") == count + 1
    assert read(server)["ddpm_engine_restarts_total", "0"] == 0


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Server]:
    """A server of two models that keeps answers, but not many."""
    folders = [save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two", channels=3)]
    checkpoints = ",".join(map(str, folders))
    flags = (f"--checkpoint={checkpoints}", "--answers-cache-bytes=9000")
    with Server(tmp_path / "server.log", *flags) as server:
        yield server


@pytest.mark.slow
def test_a_kept_answer_is_the_same_bytes_and_says_so(keeping: Server) -> None:
    for accept in FORMATS:
        first, again = (keeping.post("/sample", SEEDED, accept) for _ in range(2))
        assert "x-cache" not in first.headers
        assert again.headers["x-cache"] == "hit"
        assert again.content == first.content
        for name in ("etag", "x-seed", "content-type", "content-length", "vary"):
            assert again.headers[name] == first.headers[name]
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert reused(keeping, "kept") == len(FORMATS)
    found = read(keeping)
    assert 0 < found["ddpm_answers_cache_bytes",] <= found["ddpm_answers_cache_bytes_limit",]


@pytest.mark.slow
def test_answers_of_several_models_are_kept_apart_and_the_oldest_go(keeping: Server) -> None:
    def is_hit(**fields: Any) -> bool:
        answer = keeping.post("/sample", {**SEEDED, **fields}, "image/png")
        assert answer.status_code == 200
        return answer.headers.get("x-cache") == "hit"

    assert not is_hit(model="one") and not is_hit(model="two")
    assert is_hit(model="one") and is_hit(model="two") and is_hit()
    assert not any(is_hit(seed=seed) for seed in range(2, 6))
    assert not is_hit(model="one"), "others needed its room"
    assert is_hit(seed=5)
    without_seed = {"steps": 2, "seed": None}
    assert not is_hit(**without_seed) and not is_hit(**without_seed)


@pytest.mark.slow
def test_engines_on_different_kinds_of_machines_make_answers_that_nothing_names(
    tmp_path: Path,
) -> None:
    card = save_tiny(tmp_path / "one") / "model_card.json"
    card.write_text(card.read_text().replace('"data": null', '"data": "each a machine"'))
    flags = (f"--checkpoint={card.parent}", "--answers-cache-bytes=9000")
    with Server(tmp_path / "alone.log", *flags) as server:
        assert server.post("/sample", SEEDED).headers["etag"]
        assert server.post("/sample", SEEDED).headers["x-cache"] == "hit"
    with Server(tmp_path / "both.log", *flags, "--device=cpu,cuda") as server:
        eventually(
            server, lambda found: all(found["ddpm_engine_ready", name] for name in ("0", "1"))
        )
        answers = [server.post("/sample", SEEDED) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 200 and answer.headers["x-seed"] == "1"
        assert "etag" not in answer.headers and "x-cache" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.slow
def test_a_model_that_is_replaced_has_other_answers(tmp_path: Path) -> None:
    from tests.app.service.test_models import start

    folders = {"one": save_tiny(tmp_path / "one"), "two": save_tiny(tmp_path / "two", channels=3)}
    with start(folders, tmp_path, "--answers-cache-bytes=100000") as server:
        first = server.post("/sample", SEEDED)
        assert server.post("/sample", SEEDED).headers["x-cache"] == "hit"
        server.client.post("/models/one", json={"checkpoint": str(folders["two"])})
        deadline = time.monotonic() + 60
        while (again := server.post("/sample", SEEDED)).headers["etag"] == first.headers["etag"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "x-cache" not in again.headers
        header = {"If-None-Match": first.headers["etag"]}
        assert server.client.post("/sample", json=SEEDED, headers=header).status_code == 200
        server.client.delete("/models/one")
        kept = server.post("/sample", SEEDED)
        assert kept.headers["x-cache"] == "hit", "also while it is not loaded"
