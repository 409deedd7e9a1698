"""Results whose files are missing or damaged: no wrong byte is sent, and they are made again."""

import http.client
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.app.raw_http import connect, request
from tests.app.server import Server

SAMPLE = {"n": 300, "seed": 7, "steps": 2}
TRAJECTORY = {"n": 40, "seed": 7, "steps": 20, "frames": 21}
FORMATS = [
    ("/sample", SAMPLE, ["application/zip", "application/x-npz", "application/json", "image/png"]),
    (
        "/denoise-trajectory",
        TRAJECTORY,
        ["application/x-npz", "application/json", "image/png", "image/gif"],
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("results") / "server.log"
    with Server(log, "--max-samples=300", engine=("tests.fake_engine", "0")) as server:
        yield server


def finished(server: Server, place: str) -> str:
    for _ in range(1200):
        status = server.client.get(place).json()
        if status["status"] == "finished":
            return place
        assert status["status"] in ("waiting", "running"), status
        time.sleep(0.05)
    raise AssertionError(status)


def make(server: Server, path: str, body: Mapping[str, object]) -> str:
    accepted = server.client.post(path, json=body, headers={"Prefer": "respond-async"})
    return finished(server, accepted.headers["location"])


def files(server: Server, place: str) -> list[Path]:
    folder = server.log.parent / "jobs" / "results" / place.rpartition("/")[2]
    return sorted(folder.iterdir())


def result(server: Server, place: str, accept: str) -> httpx.Response:
    return server.client.get(f"{place}/result", headers={"Accept": accept})


def flip(path: Path) -> None:
    """Change a bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body", "accepts"), FORMATS, ids=["images", "frames"])
def test_a_first_file_that_is_lost_is_a_503_and_is_made_again_with_the_same_bytes(
    server: Server, path: str, body: Mapping[str, object], accepts: list[str]
) -> None:
    place = make(server, path, body)
    for number, accept in enumerate(accepts):
        expected = result(server, place, accept)
        assert expected.status_code == 200
        first = files(server, place)[0]
        if number % 2:
            first.unlink()
        else:
            flip(first)
        refused = result(server, place, accept)
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        assert "1 of the" in refused.json()["detail"] and "made again" in refused.json()["detail"]
        found = result(server, finished(server, place), accept)
        if accept == "application/json":
            expected_json, found_json = expected.json(), found.json()
            assert expected_json.pop("timing") and found_json.pop("timing")
            assert found_json == expected_json
        else:
            assert found.content == expected.content


@pytest.mark.slow
@pytest.mark.parametrize("accept", ["application/zip", "application/x-npz", "application/json"])
def test_a_file_that_is_lost_in_the_middle_cuts_the_connection_and_is_made_again(
    server: Server, accept: str
) -> None:
    body = {"n": 40, "seed": 7, "steps": 20, "frames": 21}
    path = "/sample" if accept == "application/zip" else "/denoise-trajectory"
    place = make(server, path, SAMPLE if path == "/sample" else body)
    expected = result(server, place, accept).content
    flip(files(server, place)[-1])
    with connect(server) as connection:
        connection.sendall(request("GET", f"{place}/result", b"", f"Accept: {accept}"))
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            if path == "/sample":  # all of it is one block
                assert response.status == 503
            else:
                assert response.status == 200
                with pytest.raises(http.client.IncompleteRead) as error:
                    response.read()
                assert expected.startswith(error.value.partial), "what came was right"
    found = result(server, finished(server, place), accept)
    assert found.status_code == 200
    if accept != "application/json":
        assert found.content == expected


def test_a_store_that_is_gone_is_a_503_and_nothing_is_made_again(server: Server) -> None:
    place = make(server, "/sample", {"n": 3, "steps": 2})
    results = server.log.parent / "jobs" / "results"
    results.rename(results.with_name("unmounted"))
    try:
        for accept in ("application/zip", "image/png", "application/json"):
            answer = result(server, place, accept)
            assert answer.status_code == 503
            assert "the folder of results is gone" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
    finally:
        results.with_name("unmounted").rename(results)
    assert server.client.get(place).json()["status"] == "finished"
    assert result(server, place, "application/zip").status_code == 200


def test_all_files_of_a_job_may_be_lost_at_once(server: Server) -> None:
    place = make(server, "/sample", SAMPLE)
    expected = result(server, place, "application/zip").content
    for path in files(server, place):
        path.unlink()
    refused = result(server, place, "application/zip")
    assert refused.status_code == 503 and "300 of the 300" in refused.json()["detail"]
    assert result(server, finished(server, place), "application/zip").content == expected


def test_head_makes_no_picture_and_reads_no_file(server: Server) -> None:
    place = make(server, "/denoise-trajectory", {"n": 3, "steps": 2, "frames": 2})
    for path in files(server, place):
        path.unlink()
    for accept in ("image/gif", "application/x-npz", "application/json"):
        answer = server.client.head(f"{place}/result", headers={"Accept": accept})
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == accept
