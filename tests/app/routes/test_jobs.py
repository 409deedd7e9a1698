"""The life of a job over HTTP: accepted, watched, fetched, cancelled; on a real server."""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.server import Server
from tests.conftest import ServerFor

ASYNC = {"Prefer": "respond-async"}
SAMPLE = {"n": 70, "seed": 7, "steps": 5, "labels": 1, "first_index": 3}
TRAJECTORY = {"n": 5, "seed": 7, "steps": 6, "frames": 4, "labels": [0, 1, 2, 0, 1]}
LONG = {"n": 2000, "steps": 50}
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def jobs(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose jobs may be larger than its requests."""
    flags = [
        f"--checkpoint={tiny}", "--runtime=eager", "--max-samples=100", "--max-job-samples=5000",
        "--jobs-budget-bytes=2500000", "--max-response-bytes=100000",
        "--webhook-secret=a secret",
    ]  # fmt: skip
    with Server(tmp_path_factory.mktemp("jobs") / "server.log", *flags) as server:
        yield server


def submit(
    server: Server, body: dict[str, Any], path: str = "/sample", **headers: str
) -> httpx.Response:
    return server.client.post(path, json=body, headers={**ASYNC, **headers})


def finished(server: Server, accepted: httpx.Response) -> str:
    """The place of the job, when it is finished."""
    assert accepted.status_code == 202, accepted.text
    place: str = accepted.headers["Location"]
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        status = server.client.get(place).json()
        if status["status"] == "finished":
            return place
        assert status["status"] in ("waiting", "running"), status
        time.sleep(0.05)
    raise AssertionError(status)


def result(server: Server, place: str, accept: str = "*/*", **headers: str) -> httpx.Response:
    return server.client.get(f"{place}/result", headers={"Accept": accept, **headers})


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """Each event's fields, its data read as JSON."""
    blocks = [block for block in answer.text.split("\n\n") if block and not block.startswith(":")]
    fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [{**event, "data": json.loads(event["data"])} for event in fields]


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


@pytest.mark.slow
def test_a_job_is_accepted_with_its_place_and_status(jobs: Server) -> None:
    accepted = submit(jobs, SAMPLE)
    body = accepted.json()
    assert accepted.status_code == 202
    assert accepted.headers["Location"] == f"/jobs/{body['id']}"
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert (body["kind"], body["total"], body["done"], body["seed"]) == ("sample", 70, 0, 7)
    done = jobs.client.get(finished(jobs, accepted)).json()
    assert (done["status"], done["done"], done["detail"]) == ("finished", 70, None)
    assert done["created_at"] <= done["started_at"] <= done["finished_at"] < done["expires_at"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "accepts"),
    [
        ("/sample", SAMPLE, ["application/zip", "application/x-npz", "image/png"]),
        (
            "/denoise-trajectory",
            TRAJECTORY,
            ["application/x-npz", "image/png", "image/gif", "image/webp", "image/apng"],
        ),
    ],
)
def test_the_result_is_the_bytes_of_the_synchronous_answer(
    jobs: Server, path: str, body: dict[str, Any], accepts: list[str]
) -> None:
    place = finished(jobs, submit(jobs, body, path))
    for accept in accepts:
        expected, found = jobs.post(path, body, accept), result(jobs, place, accept)
        assert expected.status_code == found.status_code == 200
        assert found.content == expected.content, accept
        assert found.headers["content-type"] == accept
        assert found.headers["x-seed"] == "7"
    expected_json, found_json = jobs.post(path, body).json(), result(jobs, place).json()
    assert found_json.pop("timing").keys() == expected_json.pop("timing").keys()
    assert f"/jobs/{found_json.pop('id')}" == place and expected_json.pop("id")
    assert found_json == expected_json
    assert list(found_json) == list(expected_json)


def test_a_result_that_the_client_has_is_not_sent_again(jobs: Server) -> None:
    place = finished(jobs, submit(jobs, SAMPLE))
    for accept in ("application/json", "application/zip", "image/png"):
        whole = result(jobs, place, accept)
        known = result(jobs, place, accept, **{"If-None-Match": f'"x", {whole.headers["ETag"]}'})
        assert (known.status_code, known.content) == (304, b"")
        for answer in (whole, known):
            assert answer.headers["Cache-Control"] == "private, no-cache"
            assert (answer.headers["Vary"], answer.headers["ETag"]) == (
                "Accept", whole.headers["ETag"],
            )  # fmt: skip
        other = result(jobs, place, accept, **{"If-None-Match": '"x"'})
        assert other.status_code == 200


def test_a_job_may_be_larger_than_a_request(jobs: Server) -> None:
    body = {**SAMPLE, "n": 300}
    assert problem(jobs.post("/sample", body), 422).endswith("1..100 images a request")
    place = finished(jobs, submit(jobs, body))
    with zipfile.ZipFile(io.BytesIO(result(jobs, place, "application/zip").content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*(f"{i:06d}.png" for i in range(3, 303)), "request.json"]
        assert json.loads(archive.read("request.json"))["request"]["n"] == 300
    npz = result(jobs, place, "application/x-npz").content
    with np.load(io.BytesIO(npz), allow_pickle=False) as arrays:
        assert arrays["images"].shape == (300, 8, 8, 1)
    assert problem(submit(jobs, {"n": 5001}), 422).endswith("1..5000 images a job")
    assert jobs.client.get("/model").json()["limits"]["max_job_samples"] == 5000


def test_a_download_goes_on_where_it_broke(jobs: Server) -> None:
    place = finished(jobs, submit(jobs, SAMPLE))
    for accept in ("application/zip", "application/x-npz"):
        whole = result(jobs, place, accept)
        size, etag = len(whole.content), whole.headers["ETag"]
        assert int(whole.headers["Content-Length"]) == size
        assert whole.headers["Accept-Ranges"] == "bytes"
        for asked, start, stop in [
            ("bytes=0-0", 0, 1),
            (f"bytes={size // 3}-", size // 3, size),
            ("bytes=100-5000", 100, 5001),
            ("bytes=-40", size - 40, size),
        ]:
            part = result(jobs, place, accept, Range=asked)
            assert part.status_code == 206
            assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert part.content == whole.content[start:stop]
        assert (
            result(jobs, place, accept, Range="bytes=5-", **{"If-Range": etag}).status_code == 206
        )
        other = result(jobs, place, accept, Range="bytes=5-", **{"If-Range": '"other"'})
        assert (other.status_code, other.content) == (200, whole.content)
        beyond = result(jobs, place, accept, Range=f"bytes={size}-")
        assert problem(beyond, 416) and beyond.headers["Content-Range"] == f"bytes */{size}"
        for headers in ({}, {"Range": "bytes=5-"}):  # which is for GET alone
            head = jobs.client.head(f"{place}/result", headers={"Accept": accept, **headers})
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["Content-Length"] == str(size)


@pytest.mark.slow
def test_a_picture_of_everything_is_bounded_by_the_memory_of_all_answers(
    server_for: ServerFor,
) -> None:
    flags = ["--answers-budget-bytes=3000000", "--max-samples=100"]
    server = server_for(*flags, engine=("tests.fake_engine", "0"))
    place = finished(server, submit(server, {"n": 1500, "steps": 1}))
    assert "this server has 3000000 for all answers" in problem(
        result(server, place, "image/png"), 422
    )
    assert result(server, place, "application/zip").status_code == 200
    assert "application/zip" in problem(result(server, place, "image/gif"), 406)


def test_progress_is_told_live_and_from_the_last_event_on(jobs: Server) -> None:
    accepted = submit(jobs, {**SAMPLE, "n": 200, "steps": 10})
    place = accepted.headers["Location"]
    told = events(jobs.client.get(f"{place}/events"))
    *progress, last = told
    assert {event["event"] for event in progress} <= {"progress"}
    assert (last["event"], last["data"]["status"], last["data"]["done"]) == (
        "done",
        "finished",
        200,
    )
    seen = [int(event["id"]) for event in progress]
    assert seen == sorted(seen) == [event["data"]["done"] for event in progress]
    for event in progress:
        if event["data"]["rate"] is not None:
            assert 0 <= event["data"]["left_s"] <= 200 / event["data"]["rate"] + 0.1
    again = jobs.client.get(f"{place}/events", headers={"Last-Event-ID": "40"})
    assert [event["event"] for event in events(again)] == ["done"]
    over = jobs.client.get(f"{place}/events", headers={"Last-Event-ID": last["id"]})
    assert over.status_code == 204, "an EventSource connects again until it is told not to"


def test_there_is_no_result_before_the_end(jobs: Server) -> None:
    place = submit(jobs, LONG).headers["Location"]
    assert "of 2000 samples are made" in problem(result(jobs, place), 409)
    assert jobs.client.delete(place).status_code == 204


def test_a_cancelled_job_is_forgotten_and_frees_the_engine_and_the_disk(jobs: Server) -> None:
    place = submit(jobs, LONG).headers["Location"]
    folder = jobs.log.parent / "jobs" / "results" / place.removeprefix("/jobs/")
    eventually(folder.exists)
    assert jobs.client.delete(place).status_code == 204
    for answer in (
        jobs.client.get(place),
        result(jobs, place),
        jobs.client.get(f"{place}/events"),
        jobs.client.delete(place),
    ):
        assert "there is no job" in problem(answer, 404)
    eventually(lambda: "ddpm_queued_samples 0.0" in jobs.client.get("/metrics").text)
    eventually(lambda: not folder.exists())


def test_a_watcher_of_a_cancelled_job_is_told(jobs: Server) -> None:
    place = submit(jobs, LONG).headers["Location"]
    with jobs.client.stream("GET", f"{place}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "id: 0"
        jobs.client.delete(place)
        assert "event: error" in list(lines)


def test_jobs_do_not_hold_up_requests(jobs: Server) -> None:
    place = submit(jobs, LONG).headers["Location"]
    for seed in range(3):
        assert jobs.post("/sample", {"n": 1, "seed": seed, "steps": 5}).status_code == 200
    assert jobs.client.get(place).json()["status"] in ("waiting", "running")
    small = finished(jobs, submit(jobs, {"n": 3, "steps": 5}))
    assert jobs.client.get(place).json()["status"] == "running", f"{small} overtook it"
    jobs.client.delete(place)


def test_a_job_over_the_disk_budget_is_refused_with_what_to_do(jobs: Server) -> None:
    large = {"n": 5000, "steps": 1}  # of 272 bytes at most: one of them fits the budget
    first = submit(jobs, large)
    assert first.status_code == 202
    detail = problem(submit(jobs, large), 507)
    assert "DELETE jobs that are no longer needed" in detail
    jobs.client.delete(first.headers["Location"])
    frames = {"n": 5000, "steps": 50, "frames": 51}
    detail = problem(submit(jobs, frames, "/denoise-trajectory"), 422)
    assert f"may take {5000 * 51 * 2 * 64 * 4} bytes" in detail


def test_the_same_key_and_body_give_the_same_job(jobs: Server) -> None:
    body, key = {"n": 2, "steps": 3}, {"Idempotency-Key": "a job"}
    first, again = submit(jobs, body, **key), submit(jobs, dict(reversed(body.items())), **key)
    assert first.json()["id"] == again.json()["id"]
    for other in (
        submit(jobs, {"n": 3, "steps": 3}, **key),
        jobs.client.post("/sample", json=body, headers=key),
        submit(jobs, body, "/denoise-trajectory", **key),
    ):
        assert "'a job' was used with another request before" in problem(other, 422)
    jobs.client.delete(first.headers["Location"])
    assert submit(jobs, body, **key).json()["id"] != first.json()["id"]


def test_the_same_key_and_body_give_the_same_answer(jobs: Server) -> None:
    def ask(body: dict[str, Any], key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Accept": "application/zip"}
        return jobs.client.post("/sample", json=body, headers=headers)

    first = ask({"n": 2, "steps": 3}, "an answer")
    again = ask({"steps": 3, "n": 2}, "an answer")
    assert first.content == again.content and first.headers["x-seed"] == again.headers["x-seed"]
    assert ask({"n": 2, "steps": 3}, "another").content != first.content
    problem(ask({"n": 2, "steps": 4}, "an answer"), 422)


@pytest.mark.slow
def test_a_client_that_leaves_keys_behind_is_stopped(tiny: Path, tmp_path: Path) -> None:
    """It asks for an answer that it does not wait for, each time with another key."""
    flags = [f"--checkpoint={tiny}", "--runtime=eager", "--max-client-keys=5"]
    with Server(tmp_path / "server.log", *flags) as server:
        answers = [
            server.client.post(
                "/sample", json={}, headers={"Prefer": "wait=0", "Idempotency-Key": f"{number}"}
            )
            for number in range(8)
        ]
        assert 429 not in [answer.status_code for answer in answers[:5]]
        for answer in answers[5:]:
            assert answer.status_code == 429
            assert 3000 < int(answer.headers["Retry-After"]) <= 3600
            assert "5 keys are remembered; of one client" in answer.json()["detail"]
        assert server.post("/sample", {"steps": 2}).status_code == 200


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://" + "a" * 64 + ".example/", "1..63 letters, digits and inner hyphens"),
        ("http://a..b/", "1..63 letters, digits and inner hyphens"),
        ("http://example.com:99999/", "1..65535 are allowed"),
    ],
)
def test_a_webhook_that_cannot_be_called_is_refused(url: str, allowed: str, jobs: Server) -> None:
    detail = problem(submit(jobs, {"steps": 2}, **{"X-Webhook-URL": url}), 422)
    assert detail.startswith("X-Webhook-URL: ") and url[:20] in detail and allowed in detail


@pytest.mark.parametrize("key", ["", "a" * 256, "caf\u00e9"])
def test_a_key_that_is_none_is_named(jobs: Server, key: str) -> None:
    answer = jobs.client.post(
        "/sample", json={"steps": 1}, headers={b"Idempotency-Key": key.encode("latin-1")}
    )
    assert "Idempotency-Key: " in problem(answer, 422)


@pytest.mark.parametrize("body", [{"n": 0}, {"labels": 9}, {"steps": 51}, {"sede": 1}])
def test_a_wrong_field_is_refused_before_there_is_a_job(jobs: Server, body: dict[str, Any]) -> None:
    assert problem(submit(jobs, body), 422).startswith(f"{next(iter(body))}: ")


@pytest.mark.parametrize(
    "prefer", ["wait=10, Respond-Async", "respond-async; x=1", "a,respond-async"]
)
def test_a_preference_is_found_among_others(jobs: Server, prefer: str) -> None:
    answer = jobs.client.post("/sample", json={"steps": 1}, headers={"Prefer": prefer})
    assert answer.status_code == 202


@pytest.mark.slow
def test_the_server_stops_at_once_although_a_job_runs_and_is_watched(
    tiny: Path, tmp_path: Path
) -> None:
    with Server(tmp_path / "server.log", f"--checkpoint={tiny}", "--runtime=eager") as server:
        place = submit(server, LONG).headers["Location"]
        with server.client.stream("GET", f"{place}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "id: 0"
            assert server.stop() == 0
            assert "event: done" not in list(lines)


def test_the_document_shows_every_path_with_its_problems(jobs: Server) -> None:
    paths = jobs.client.get("/openapi.json").json()["paths"]
    for path, method, statuses in [
        ("/sample", "post", {"202", "409", "422", "507"}),
        ("/denoise-trajectory", "post", {"202", "409", "422", "507"}),
        ("/jobs/{job_id}", "get", {"200", "404"}),
        ("/jobs/{job_id}", "delete", {"204", "404"}),
        ("/jobs/{job_id}/events", "get", {"200", "204", "404"}),
        ("/jobs/{job_id}/result", "get", {"200", "206", "404", "406", "409", "410", "416"}),
    ]:
        assert set(paths[path][method]["responses"]) >= statuses, path
    names = {parameter["name"] for parameter in paths["/sample"]["post"]["parameters"]}
    assert names == {"Prefer", "Idempotency-Key", "If-None-Match", "X-Webhook-URL"}


def eventually(holds: Any) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
