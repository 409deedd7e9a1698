"""Three servers behind HAProxy, with jobs on PostgreSQL and Prometheus beside them, as the profiles
of docker-compose.yml start them: none is special, and one that goes takes nothing with it."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import yaml

from tests.app.server import Server, free_port
from tests.deploy.compose import ROOT
from tests.deploy.manifests import FOLDER
from tests.deploy.programs import Program, find, until
from tests.deploy.stack import ADDRESSES, Stack, started
from tests.postgres import Postgres
from tests.postgres import find as find_postgres

pytestmark = [pytest.mark.deploy, pytest.mark.slow]
NPZ = {"Accept": "application/x-npz"}
EVENTS = {"Accept": "text/event-stream"}
LONG = {"n": 2, "sampler": "ddim", "steps": 100, "labels": 3}
"""Two seconds of the fake engine."""
STREAMS = 9


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    programs = find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL found: `make test-deploy` installs it and runs this")
    find("haproxy")
    folder = tmp_path_factory.mktemp("stack")
    with Postgres(programs) as postgres, started(folder, postgres) as running:
        yield running


@pytest.fixture
def whole(stack: Stack) -> Iterator[Stack]:
    """All servers are there before the test, and again after it."""
    yield stack
    for place, server in enumerate(stack.servers):
        if server.process.poll() is not None:
            stack.start(place).wait_ready()
    until(lambda: stack.asked() == len(ADDRESSES), "the proxy asks all servers")


def sample(url: str, seed: int, **fields: Any) -> httpx.Response:
    """The answer to a request for images, with its bytes."""
    return httpx.post(
        f"{url}/sample", json={**LONG, **fields, "seed": seed}, headers=NPZ, timeout=60
    )


def stream(url: str, seed: int) -> tuple[list[str], bool]:
    """The frames of a stream, and whether it came to its end."""
    body = {**LONG, "n": 1, "seed": seed, "frames": 50}
    frames: list[str] = []
    is_over = False
    try:
        with httpx.stream("POST", f"{url}/denoise-trajectory", json=body, headers=EVENTS) as answer:
            event = ""
            for line in answer.iter_lines():
                event = line.removeprefix("event: ") if line.startswith("event: ") else event
                is_over |= event == "done"
                if line.startswith("data: ") and event == "frame":
                    frames.append(line)
    except httpx.RemoteProtocolError:  # cut off
        pass
    return frames, is_over


def answered(server: Server) -> int:
    """How many requests for images the server has answered or begun to answer."""
    shown = server.client.get("/metrics").text.splitlines()
    counts = [line.split() for line in shown if line.startswith("ddpm_requests_total{")]
    return sum(int(float(n)) for name, n in counts if 'path="/sample"' in name)


def busiest(stack: Stack) -> Server:
    """The server with most images to make, once there are some."""

    def queued(server: Server) -> float:
        shown = server.client.get("/metrics").text
        (line,) = (each for each in shown.splitlines() if each.startswith("ddpm_queued_samples "))
        return float(line.split()[1])

    until(lambda: all(map(queued, stack.servers)), "every server has work")
    return max(stack.servers, key=queued)


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait()


def at_once(call: Any, url: str) -> list[Future[Any]]:
    """As many requests at once, with the seeds 0, 1, …"""
    with ThreadPoolExecutor(STREAMS) as threads:
        return [threads.submit(call, url, seed) for seed in range(STREAMS)]


def test_requests_are_spread_over_all_servers_which_answer_the_same(whole: Stack) -> None:
    answers = [future.result() for future in at_once(sample, whole.url)]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answered(server) for server in whole.servers)
    for server in whole.servers:
        assert sample(server.url, 0).content == answers[0].content


def test_a_stream_is_passed_on_frame_by_frame(whole: Stack) -> None:
    came: list[float] = []
    body = {**LONG, "n": 1, "seed": 1, "frames": 50}
    with httpx.stream("POST", f"{whole.url}/denoise-trajectory", json=body, headers=EVENTS) as got:
        came = [time.monotonic() for line in got.iter_lines() if line == "event: frame"]
    assert len(came) == 50
    assert came[-1] - came[0] > 0.5, "not all at the end"


def test_requests_of_a_server_that_dies_are_answered_by_another(whole: Stack) -> None:
    undisturbed = [sample(whole.servers[0].url, seed).content for seed in range(3)]
    with ThreadPoolExecutor(STREAMS) as threads:
        waiting = [threads.submit(sample, whole.url, seed) for seed in range(STREAMS)]
        kill(busiest(whole))
        answers = [future.result() for future in waiting]
    assert [answer.status_code for answer in answers] == [200] * STREAMS
    assert [answer.content for answer in answers[:3]] == undisturbed


def test_streams_of_a_server_that_dies_are_the_same_at_another(whole: Stack) -> None:
    with ThreadPoolExecutor(STREAMS) as threads:
        running = [threads.submit(stream, whole.url, seed) for seed in range(STREAMS)]
        kill(busiest(whole))
        results = [future.result() for future in running]
    cut = [seed for seed, (_, is_over) in enumerate(results) if not is_over]
    assert 0 < len(cut) < STREAMS, "those of one server"
    for seed in cut:
        frames, is_over = stream(whole.url, seed)
        assert is_over and frames[: len(results[seed][0])] == results[seed][0]


def test_a_job_of_a_server_that_dies_is_finished_by_another(whole: Stack) -> None:
    body = {**LONG, "n": 40, "steps": 50, "seed": 5}
    job = httpx.post(f"{whole.url}/sample", json=body, headers={"Prefer": "respond-async"}).json()
    path = f"{whole.url}/jobs/{job['id']}"
    until(lambda: httpx.get(path).json()["done"] > 0, "some images are made", 60)
    kill(next(server for server in whole.servers if works(server)))
    until(lambda: httpx.get(path).json()["status"] == "finished", "the job is finished", 120)
    there = httpx.get(f"{path}/result", headers=NPZ)
    assert there.content == sample(whole.url, 5, n=40, steps=50).content


def works(server: Server) -> bool:
    shown = server.client.get("/metrics").text
    return "ddpm_queued_samples 0.0" not in shown


def test_a_server_that_stops_fails_no_request(whole: Stack) -> None:
    with ThreadPoolExecutor(STREAMS) as threads:
        waiting = [threads.submit(sample, whole.url, seed) for seed in range(STREAMS)]
        assert busiest(whole).stop() == 0
        waiting += [threads.submit(sample, whole.url, seed) for seed in range(STREAMS)]
        assert [future.result().status_code for future in waiting] == [200] * 2 * STREAMS


def test_a_server_that_comes_back_is_asked_again(whole: Stack) -> None:
    kill(whole.servers[1])
    until(lambda: whole.asked() == 2, "the proxy has noticed")
    whole.start(1).wait_ready()
    until(lambda: whole.asked() == 3, "the proxy asks it again")
    at_once(sample, whole.url)
    assert answered(whole.servers[1])


def test_without_a_server_the_answer_is_a_problem_that_says_when_to_ask_again(whole: Stack) -> None:
    for server in whole.servers:
        kill(server)
    until(lambda: whole.asked() == 0, "the proxy has noticed")
    answer = sample(whole.url, 1)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 503


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus with our file, which asks the servers by their addresses."""
    program, folder = find("prometheus"), tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = "1s"
    of_servers, of_proxy = config["scrape_configs"]
    for scraped, urls in (
        (of_servers, [server.url for server in stack.servers]),
        (of_proxy, [stack.metrics]),
    ):
        del scraped["dns_sd_configs"]
        scraped["static_configs"] = [{"targets": [url.removeprefix("http://") for url in urls]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    with Program(command, folder / "log"):
        yield f"http://{address}"


def result(prometheus: str, query: str) -> list[Any]:
    """What Prometheus answers to a query. Raises AssertionError for one that it refuses."""
    try:
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
    except httpx.TransportError:
        return []
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


def test_prometheus_has_the_metrics_of_all_servers_and_of_the_proxy(prometheus: str) -> None:
    until(lambda: len(result(prometheus, "up == 1")) == len(ADDRESSES) + 1, "all are scraped")
    assert len(result(prometheus, 'ddpm_engine_ready{job="ddpm"}')) == len(ADDRESSES)


def test_every_question_of_the_dashboard_is_one_that_prometheus_answers(
    whole: Stack, prometheus: str
) -> None:
    at_once(sample, whole.url)
    until(lambda: bool(result(prometheus, "ddpm_engine_steps_total > 0")), "steps are counted")
    dashboard = json.loads((ROOT / "deploy/grafana/ddpm.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
            result(prometheus, query.replace("$__range", "1m"))


def test_kedas_question_has_one_number_for_an_answer(prometheus: str) -> None:
    path = FOLDER / "components/autoscaling/scaledobject.yaml"
    (trigger,) = yaml.safe_load(path.read_text())["spec"]["triggers"]
    query = trigger["metadata"]["query"].replace('job="denoiser"', 'job="ddpm"')
    until(lambda: len(result(prometheus, query)) == 1, "the backlog is known")
    (found,) = result(prometheus, query)
    assert float(found["value"][1]) >= 0
