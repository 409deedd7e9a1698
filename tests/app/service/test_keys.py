"""API keys on a real server: named, rotated, limited, and shown nowhere."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.server import Server
from tests.app.service.test_limits import bearer

ALICE, NEXT, BOB, ADMIN = (
    f"the long secret key of {name}" for name in ("alice", "al", "bob", "ad")
)
BODY = {"n": 1, "steps": 1}


def table(name: str, key: str, more: str = "") -> str:
    return f'[[keys]]\nname = "{name}"\nkey = "{key}"\n{more}\n'


ALL = table("alice", ALICE) + table("root", ADMIN, "admin = true")
LIMITED = table("bob", BOB, "rate = 3\nsamples = 4\njobs = 1")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(ALL + LIMITED)
    return path


@pytest.fixture
def keyed(keys: Path, tmp_path: Path) -> Iterator[Server]:
    flags = [f"--api-keys-file={keys}", "--protect=metrics"]
    with Server(tmp_path / "server.log", *flags) as server:
        yield server


def post(server: Server, key: str, **more: object) -> httpx.Response:
    return server.client.post("/sample", json={**BODY, **more}, headers=bearer(key))


@pytest.mark.slow
def test_a_key_is_replaced_without_a_restart_and_the_jobs_stay_its_names(
    keyed: Server, keys: Path
) -> None:
    headers = {**bearer(ALICE), "Prefer": "respond-async"}
    place = keyed.client.post("/sample", json=BODY, headers=headers).headers["location"]
    keys.write_text(ALL + table("alice", NEXT))
    keyed.hang_up("the API keys are read again: 3, of key alice, key root")
    for key in (ALICE, NEXT):
        assert keyed.client.get(place, headers=bearer(key)).status_code == 200
    keys.write_text(table("alice", NEXT))
    keyed.hang_up("the API keys are read again: 1, of key alice")
    assert keyed.client.get(place, headers=bearer(NEXT)).status_code == 200
    assert keyed.client.get(place, headers=bearer(ALICE)).status_code == 401
    keys.write_text("")
    keyed.hang_up("the API keys stay as they were")
    assert post(keyed, NEXT).status_code == 200
    assert keyed.client.post("/sample", json=BODY).status_code == 401, "no file opens the server"
    keys.write_text(table("other", BOB))
    keyed.hang_up("the API keys are read again: 1, of key other")
    assert post(keyed, NEXT).status_code == 401
    assert keyed.client.get(place, headers=bearer(BOB)).status_code == 404
    keys.write_text(table("alice", ALICE))
    keyed.hang_up("the API keys are read again: 1, of key alice")
    assert keyed.client.get(place, headers=bearer(ALICE)).status_code == 200


@pytest.mark.slow
def test_a_key_has_limits_of_its_own(keyed: Server) -> None:
    model = keyed.client.get("/model", headers=bearer(BOB)).json()["limits"]
    assert (model["max_client_samples"], model["max_client_jobs"]) == (4, 1)
    assert keyed.client.get("/model").json()["limits"]["max_client_samples"] == 2048
    assert post(keyed, ALICE, n=5).status_code == 200
    refused = post(keyed, BOB, n=5)
    assert refused.status_code == 422
    assert "this server makes at most 4 images for one client" in refused.json()["detail"]
    long, wait = {"n": 50, "steps": 1000}, {"Prefer": "respond-async"}
    jobs = [
        keyed.client.post("/sample", json=long, headers={**bearer(BOB), **wait}) for _ in range(3)
    ]
    assert [answer.status_code for answer in jobs] == [202, 429, 429]
    assert "this server keeps 1" in jobs[1].json()["detail"]
    assert jobs[2].json()["detail"] == "this server answers 3 requests of one client in a minute"
    assert 1 <= int(jobs[2].headers["retry-after"]) <= 20
    assert post(keyed, ALICE).status_code == 200, "its limits are its own"


@pytest.mark.slow
def test_keys_are_named_and_never_shown(keyed: Server) -> None:
    assert post(keyed, ALICE).status_code == 200
    wrong = post(keyed, "a wrong key that nobody has")
    assert wrong.status_code == 401 and "nobody has" not in wrong.text
    assert keyed.client.get("/metrics").status_code == 401
    assert keyed.client.get("/metrics", headers=bearer(ALICE)).status_code == 403
    metrics = keyed.client.get("/metrics", headers=bearer(ADMIN)).text
    assert 'ddpm_key_requests_total{key="alice"} 2.0' in metrics
    log = keyed.log.read_text()
    assert "key='alice'" in log
    title = Path(f"/proc/{keyed.process.pid}/cmdline").read_text()
    for key in (ALICE, ADMIN, BOB, "a wrong key that nobody has"):
        assert not any(key in text for text in (log, metrics, title))


def cpu_seconds(server: Server) -> float:
    """What the API process has computed so far, whatever else the machine does."""
    times = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_bodies_full_of_what_no_request_has_cost_next_to_nothing(keyed: Server) -> None:
    """They were read on the event loop, for up to 0.4 s each, and that before the key was asked."""
    names = "".join(f'"x{i}":1,' for i in range(20_000))[:-1]
    bodies = [f"{{{names}}}", *(f'{{"labels":[{item * 60_000}0]}}' for item in ("{},", "[],"))]
    for key, status in ((None, 401), (ALICE, 422)):
        headers = {"Content-Type": "application/json", **(bearer(key) if key else {})}
        before = cpu_seconds(keyed)
        for body in bodies * 10:
            answer = keyed.client.post("/sample", content=body, headers=headers)
            assert answer.status_code == status
        assert cpu_seconds(keyed) - before < 1.5, "30 bodies"


@pytest.mark.slow
def test_forwarded_addresses_are_believed_from_proxies_alone(tmp_path: Path) -> None:
    forged = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
    with Server(tmp_path / "server.log") as server:
        assert "strict" not in str(server.client.get("/model", headers=forged).headers)
        server.client.get("/livez")
        assert "198.51.100.7" not in server.log.read_text()
    with Server(tmp_path / "proxied.log", "--trusted-proxies=127.0.0.0/8") as server:
        spoofed = {"X-Forwarded-For": "203.0.113.5, 198.51.100.7"}
        server.client.get("/model", headers=spoofed)
        server.client.get("/livez")  # when this is answered, the line of the first is written
        log = server.log.read_text()
        assert "client='198.51.100.7'" in log, "the last one, which the proxy has added"
        assert "203.0.113.5" not in log
        odd = {"X-Forwarded-For": '"><script>', "Host": "lab.example.org"}
        assert server.client.get("/livez", headers=odd).status_code == 200


def test_a_server_without_keys_answers_no_rebound_name_and_no_foreign_page(
    server: Server,
) -> None:
    rebound = {"Host": "rebind.attacker.example"}
    for path in ("/model", "/metrics", "/", "/docs"):
        answer = server.client.get(path, headers=rebound)
        assert answer.status_code == 421
        assert answer.headers["content-type"] == "application/problem+json"
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for headers in (foreign, {"Origin": "https://evil.example"}):
        answer = server.client.post("/sample", headers=headers)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
