"""Keys, each client's share of the queue and of memory, deadlines, and readers that lag: on a real
server."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.cli import serve
from tests.app.http.test_metrics import eventually, read
from tests.app.raw_http import Answer, connect, request
from tests.app.server import Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

ALICE, BOB = "alice's long secret key", "bob's long secret key"
LONG = {"n": 40, "steps": 50}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def keyed(server_for: ServerFor, plain: Path) -> Server:
    """A server with keys, and room for 60 samples and 3000 steps of each of their holders."""
    flags = ["--max-queue-samples=100", "--max-client-samples=60", "--max-client-steps=3000"]
    return server_for(f"--checkpoint={plain}", *flags, keys=f"{ALICE}, {BOB}")


@pytest.mark.parametrize(
    "headers", [{}, bearer("somebody else's long key"), {"Authorization": f"Basic {ALICE}"}]
)
def test_without_a_key_nothing_is_generated(keyed: Server, headers: dict[str, str]) -> None:
    for path in ("/sample", "/denoise-trajectory"):
        answer = keyed.client.post(path, json={"steps": 1}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "one of its API keys" in answer.json()["detail"]
    assert keyed.client.get("/readyz").status_code == 200, "what tells no secret needs no key"


def test_with_a_key_it_is(keyed: Server) -> None:
    answer = keyed.client.post("/sample", json={"steps": 1}, headers=bearer(BOB))
    assert answer.status_code == 200
    assert ALICE not in keyed.log.read_text() and BOB not in keyed.log.read_text()


def test_one_client_fills_its_own_part_of_the_queue_and_no_more(keyed: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(keyed.client.post, "/sample", json={"n": 50}, headers=bearer(ALICE))
        while not read(keyed)["ddpm_queued_samples",]:
            time.sleep(0.01)
        with_key = {**bearer(ALICE), "Idempotency-Key": "once"}
        refused = keyed.client.post("/sample", json={"n": 40}, headers=with_key)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "your part of the queue has room for " in refused.json()["detail"]
        assert keyed.client.post("/sample", json={"n": 40}, headers=bearer(BOB)).status_code == 200
        assert running.result().status_code == 200
    again = keyed.client.post("/sample", json={"n": 1}, headers=with_key)
    assert again.status_code == 200, "a request that is refused takes no key"


def test_a_job_is_known_only_to_the_holder_of_its_key(keyed: Server) -> None:
    headers = {**bearer(ALICE), "Prefer": "respond-async"}
    accepted = keyed.client.post("/sample", json={"n": 2, "steps": 2}, headers=headers)
    assert accepted.status_code == 202
    place = accepted.headers["location"]
    for path in (place, f"{place}/result", f"{place}/events"):
        assert keyed.client.get(path).status_code == 401
        assert keyed.client.get(path, headers=bearer(BOB)).status_code == 404
    assert keyed.client.delete(place, headers=bearer(BOB)).status_code == 404
    assert keyed.client.get(place, headers=bearer(ALICE)).status_code == 200
    assert keyed.client.delete(place, headers=bearer(ALICE)).status_code == 204


def test_what_could_never_be_admitted_is_invalid(keyed: Server) -> None:
    for body, most in (({"n": 61, "steps": 2}, 60), ({"n": 60, "steps": 50}, None)):
        answer = keyed.client.post("/sample", json=body, headers=bearer(BOB))
        if most is None:
            assert answer.status_code == 200
            continue
        assert answer.status_code == 422
        assert f"this server makes at most {most} images for one client" in answer.text


@pytest.mark.parametrize("keys", ["short", "long enough a key,short"])
def test_a_key_that_can_be_guessed_is_refused_at_the_start(
    keys: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDPM_API_KEYS", keys)
    assert serve([]) == 2
    refusal = capsys.readouterr().err
    assert "every key must have at least 16 characters" in refusal
    assert "short" not in refusal


@pytest.mark.slow
def test_a_request_that_is_not_done_in_time_is_dropped_whole(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "tiny", num_timesteps=1000)
    flags = [f"--checkpoint={tiny}", "--max-wait-seconds=2"]
    with Server(tmp_path / "server.log", *flags) as server:
        body, wait = {"n": 250}, {"Prefer": "respond-later, wait=1"}
        answer = server.client.post("/sample", json=body, headers=wait)
        assert answer.status_code == 504
        assert answer.headers["content-type"] == "application/problem+json"
        assert "only 0 of 250 samples were done in the time allowed" in answer.json()["detail"]
        for _ in range(100):
            if not read(server)["ddpm_queued_samples",]:
                break
            time.sleep(0.05)
        assert read(server)["ddpm_queued_samples",] == 0

        stream = server.post("/denoise-trajectory", {**body, "frames": 2}, "text/event-stream")
        *_, last, nothing = stream.text.split("\n\n")
        assert nothing == "" and last.startswith("event: error\n") and '"status":504' in last

        quick = server.client.post("/sample", json={"steps": 5}, headers={"Prefer": "wait=60"})
        assert quick.status_code == 200


@pytest.mark.slow
def test_a_reader_that_lags_holds_up_itself_alone(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "tiny", channels=3, size=32)
    flags = [f"--checkpoint={tiny}", "--max-batch=4"]  # some samples are done before others begin
    with Server(tmp_path / "server.log", *flags) as server:
        body, accept = {"n": 64, "frames": 51}, {"Accept": "text/event-stream"}
        with httpx.Client(base_url=server.url, timeout=120) as slow, slow.stream(
            "POST", "/denoise-trajectory", json=body, headers=accept
        ) as answer:  # fmt: skip
            chunks = answer.iter_bytes()
            first = next(chunks)
            while "a job is paused" not in server.log.read_text():
                time.sleep(0.01)
            left = [64 * 50.0]
            # It goes on until the connection takes no more.
            while left[-1] == 64 * 50 or set(left[-5:]) != {left[-1]}:
                assert server.post("/sample", {"n": 2, "steps": 50}).status_code == 200
                left.append(read(server)["ddpm_backlog_rows",])
            assert left[-1] > 0, "it began, and then waited for its reader"
            text = (first + b"".join(chunks)).decode()
        assert text.count("event: frame\n") == 64 * 51
        assert text.count("event: done\n") == 1


@pytest.mark.slow
def test_an_answer_waits_for_room_or_is_refused_before_the_engine_starts(tmp_path: Path) -> None:
    body = {"n": 100, "steps": 20, "frames": 21, "seed": 1}  # 12.6 MiB as npz
    flags = ["--answers-budget-bytes=20000000"]
    engine = ("tests.fake_engine", "0.05")  # 140 steps in all: 7 s
    with (
        Server(tmp_path / "server.log", *flags, engine=engine) as server,
        server.client_at("127.0.0.2") as other,
    ):

        def ask(accept: str, client: httpx.Client = other, **more: object) -> httpx.Response:
            asked, headers = {**body, **more}, {"Accept": accept}
            return client.post("/denoise-trajectory", json=asked, headers=headers)

        never = ask("application/x-npz", n=200)
        assert never.status_code == 422
        assert "this server has 20000000 for all answers" in never.json()["detail"]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(ask, "application/x-npz", server.client)
            while not read(server)["ddpm_queued_samples",]:
                time.sleep(0.01)
            refused = ask("application/x-npz")
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert read(server)["ddpm_queued_samples",] <= 100, "the engine never heard of it"
            assert read(server)["ddpm_drops_total", "answers_full"] == 1
            small = {"steps": 1}
            assert other.post("/sample", json=small).status_code == 200
            own = server.post("/sample", small)  # while it has more than half of the memory
            assert own.status_code == 429
            assert "of the 10000000 bytes that those of one client may" in own.json()["detail"]
            assert 1 <= int(own.headers["retry-after"]) <= 60
            assert running.result().status_code == 200
        with httpx.Client(base_url=server.url, timeout=1) as leaving:
            accept = {"Accept": "application/x-npz"}
            with pytest.raises(httpx.ReadTimeout):
                leaving.post("/denoise-trajectory", json=body, headers=accept)
        assert ask("application/x-npz").status_code == 200, "who leaves gives its room back"


@pytest.mark.slow
def test_a_client_whose_readers_trickle_leaves_others_their_part(tmp_path: Path) -> None:
    flags = ["--answers-budget-bytes=20000000"]
    body = b'{"n": 48, "steps": 32, "frames": 31, "sampler": "ddim", "seed": 1}'  # 9 MiB as npz
    asked = request("POST", "/denoise-trajectory", body, "Accept: application/x-npz")
    log, engine = tmp_path / "server.log", ("tests.fake_engine", "0")
    with Server(log, *flags, engine=engine) as server, ExitStack() as stack:
        readers = []
        for _ in range(4):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.bind(("127.0.0.2", 0))
            reader.connect(("127.0.0.1", server.port))
            reader.settimeout(60)
            reader.sendall(asked)
            readers.append(reader)
        first_bytes = sorted(reader.recv(12) for reader in readers)
        assert first_bytes == [b"HTTP/1.1 200", *[b"HTTP/1.1 429"] * 3]
        with connect(server, "127.0.0.3") as connection:
            connection.sendall(asked)
            assert Answer(connection).status == 200
        # Only the one that is read still: what was sent whole is given back soon after
        eventually(server, lambda found: 9_000_000 < found["ddpm_answer_bytes",] <= 10_000_000)
