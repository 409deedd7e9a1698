"""Chains that begin at pictures, states or between seeds, over HTTP: the bytes of `ddpm sample`,
under load, in parts, after a restart; and pictures that are hostile."""

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from diffusion.evaluation.classifier import load_classifier, measure
from tests.app.generation.hostile_pictures import REFUSED, encoded, jpeg_of_many_scans
from tests.app.server import REAL, Server
from tests.app.service.test_jobs_survive import ZIP, accepted, kill, status, wait_done
from tests.conftest import ServerFor

DOCS = Path("docs/editing")
NPZ = {"Accept": "application/x-npz"}
CHAIN: dict[str, Any] = {"n": 3, "seed": 4, "sampler": "ddim", "steps": 20}
FLAGS = ["--n=3", "--seed=4", "--sampler=ddim", "--steps=20"]


def picture(name: str) -> str:
    return base64.b64encode((DOCS / f"{name}.png").read_bytes()).decode()


THREE, EIGHT, MASK = picture("three"), picture("eight"), picture("lower-half")
WEIGHTS = [0, 0.5, 1]
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "picture": (
        {**CHAIN, "start": {"image": THREE, "t": 650}},
        [*FLAGS, "--start-image=docs/editing/three.png", "--t=650"],
    ),
    "a picture each": (
        {**CHAIN, "eta": 0.5, "start": {"image": [THREE, EIGHT, MASK], "t": 500}},
        [*FLAGS, "--eta=0.5", "--t=500", "--start-image",
         *(f"docs/editing/{name}.png" for name in ("three", "eight", "lower-half"))],
    ),
    "mask": (
        {**CHAIN, "labels": 3, "eta": 1, "start": {"image": THREE}, "mask": MASK,
         "resamplings": 3, "jump": 4},
        [*FLAGS, "--label=3", "--eta=1", "--start-image=docs/editing/three.png",
         "--mask=docs/editing/lower-half.png", "--resamplings=3", "--jump=4"],
    ),
    "between pictures": (
        {**CHAIN, "start": {"images": [THREE, EIGHT], "t": 500, "weight": WEIGHTS}},
        [*FLAGS, "--start-images", "docs/editing/three.png", "docs/editing/eight.png", "--t=500",
         "--weights", *map(str, WEIGHTS)],
    ),
    "between seeds": (
        {**CHAIN, "labels": 3, "start": {"seeds": [3, 4], "weight": WEIGHTS}},
        [*FLAGS, "--label=3", "--seeds", "3", "4", "--weights", *map(str, WEIGHTS)],
    ),
}  # fmt: skip


FLOAT32 = "--precision=float32"
"""In bfloat16 bytes depend on the number of threads."""


@pytest.fixture(scope="session")
def server(server_for: ServerFor) -> Server:
    """Computes as the command does."""
    return server_for(FLOAT32, "--threads=2", engine=REAL)


def images(server: Server, body: dict[str, Any]) -> np.ndarray:
    answer = server.client.post("/sample", json=body, headers=NPZ)
    assert answer.status_code == 200, answer.text
    return arrays(answer.content)["images"]


def arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


@pytest.fixture(scope="session")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], np.ndarray]:
    """What `ddpm sample` makes of a kind."""
    folder = tmp_path_factory.mktemp("command")
    made: dict[str, np.ndarray] = {}

    def sample(kind: str) -> np.ndarray:
        if kind not in made:
            out = folder / f"{len(made)}.npz"
            assert main(["sample", "mnist", *KINDS[kind][1], FLOAT32, f"--out={out}"]) == 0
            (made[kind],) = arrays(out.read_bytes()).values()
        return made[kind]

    return sample


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_bytes_of_the_command(
    server: Server, by_command: Callable[[str], np.ndarray], kind: str
) -> None:
    np.testing.assert_array_equal(images(server, KINDS[kind][0]), by_command(kind))


@pytest.mark.slow
def test_images_are_the_same_beside_each_other_and_in_parts(server: Server) -> None:
    bodies = [body for body, _ in KINDS.values()]
    alone = [images(server, body) for body in bodies]
    parts = [part(body, i) for body in bodies for i in range(3)]
    others = [{"n": 5, "seed": seed, "steps": 30} for seed in range(4)]
    with ThreadPoolExecutor(30) as pool:
        noise = [pool.submit(images, server, other) for other in others]
        beside = list(pool.map(lambda body: images(server, body), bodies * 2))
        single = list(pool.map(lambda body: images(server, body), parts))
        for other, made in zip(others, noise, strict=True):
            np.testing.assert_array_equal(made.result(), images(server, other))
    for whole, first, second in zip(alone, beside[: len(bodies)], beside[len(bodies) :],
                                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(first, whole)
        np.testing.assert_array_equal(second, whole)
    np.testing.assert_array_equal(np.concatenate(single), np.concatenate(alone))


def part(body: dict[str, Any], index: int) -> dict[str, Any]:
    """The same request for one of its images alone."""
    start = dict(body["start"])
    for name in ("image", "weight"):
        if isinstance(start.get(name), list):
            start[name] = [start[name][index]]
    return {**body, "n": 1, "first_index": index, "start": start}


@pytest.mark.slow
def test_request_json_gives_the_same_bytes_again_after_a_restart(
    server: Server, tmp_path: Path
) -> None:
    archives = [
        server.client.post("/sample", json=body, headers={"Accept": "application/zip"}).content
        for body, _ in KINDS.values()
    ]
    with Server(tmp_path / "again.log", FLOAT32, "--threads=2", engine=REAL) as again:
        for archive in archives:
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                request = json.loads(opened.read("request.json"))["request"]
                made = [opened.read(name) for name in opened.namelist()[:-1]]
            answer = again.post("/sample", request).json()
            assert [base64.b64decode(sample["png"]) for sample in answer["samples"]] == made


def wait_finished(server: Server, job_id: str) -> None:
    """Until the job is finished, which is a moment after its last sample."""
    wait_done(server, job_id, status(server, job_id)["total"])
    deadline = time.monotonic() + 30
    while status(server, job_id)["status"] != "finished":
        assert time.monotonic() < deadline, status(server, job_id)
        time.sleep(0.02)


@pytest.mark.slow
def test_a_job_has_the_bytes_of_the_answer_and_keeps_its_pictures(server: Server) -> None:
    for body, _ in KINDS.values():
        job_id = accepted(server, body)
        wait_finished(server, job_id)
        assert status(server, job_id)["steps"] == 20
        result = server.client.get(f"/jobs/{job_id}/result", headers=NPZ)
        np.testing.assert_array_equal(arrays(result.content)["images"], images(server, body))


@pytest.mark.slow
def test_a_job_goes_on_with_its_pictures_after_its_server_was_killed(
    tiny: Path, tmp_path: Path
) -> None:
    """Each of its images has a picture of its own."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (60, 8, 8), np.uint8)
    pictures = [base64.b64encode(encoded(Image.fromarray(each))).decode() for each in noise]
    body = {
        "n": 60, "seed": 1, "steps": 20, "sampler": "ddim", "eta": 1.0, "mask": pictures[0],
        "resamplings": 2, "jump": 5, "start": {"image": pictures},
    }  # fmt: skip
    flags = [f"--checkpoint={tiny}", "--runtime=eager", "--jobs-lease-seconds=1"]
    with Server(tmp_path / "server.log", *flags, engine=REAL) as server:
        job_id = accepted(server, body)
        wait_done(server, job_id, 1)
        kill(server)
    with Server(tmp_path / "server.log", *flags, engine=REAL) as server:
        wait_finished(server, job_id)
        result = server.client.get(f"/jobs/{job_id}/result", headers=ZIP)
        assert result.content == server.post("/sample", body, "application/zip").content


@pytest.mark.slow
def test_a_trajectory_shows_the_state_that_it_begins_at(server: Server) -> None:
    body = {**CHAIN, "start": {"image": THREE, "t": 650}, "frames": 3}
    answer = server.client.post("/denoise-trajectory", json=body, headers=NPZ)
    made = arrays(answer.content)
    assert made["t"].tolist() == [650, 350, 0]
    begun = {**body, "start": {"x_t": npy(made["x_t"][:, 0]), "t": 650}}
    del begun["frames"]
    np.testing.assert_array_equal(images(server, begun), images(server, KINDS["picture"][0]))
    streamed: dict[int, list[int]] = {}
    headers = {"Accept": "text/event-stream"}
    with server.client.stream("POST", "/denoise-trajectory", json=body, headers=headers) as events:
        for line in events.iter_lines():
            if line.startswith('data: {"index"'):
                frame = json.loads(line[6:])
                streamed.setdefault(frame["index"], []).append(frame["t"])
    assert streamed == {i: [650, 350, 0] for i in range(3)}


def npy(array: np.ndarray) -> str:
    file = io.BytesIO()
    np.save(file, array)
    return base64.b64encode(file.getvalue()).decode()


def test_equal_requests_with_a_key_are_one_and_another_picture_is_refused(server: Server) -> None:
    headers = {"Idempotency-Key": "the picture of a 3"}
    body = {**KINDS["picture"][0], "seed": None}
    first, second = (
        server.client.post("/sample", json=body, headers=headers).json() for _ in range(2)
    )
    assert first["seed"] == second["seed"]
    assert first["samples"] == second["samples"]
    other = {**body, "start": {"image": EIGHT, "t": 650}}
    assert server.client.post("/sample", json=other, headers=headers).status_code == 422


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_picture_is_refused_by_name_and_the_server_goes_on(
    server: Server, name: str
) -> None:
    text = base64.b64encode(REFUSED[name][0]).decode() or "AA=="
    body = {"start": {"image": [THREE, text], "t": 500}, "n": 2}
    answer = server.post("/sample", body)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["start.image[1]"]


@pytest.mark.parametrize(("prefer", "n"), [("", 257), ("respond-async", 50_001)])
def test_too_many_images_are_refused_before_their_pictures_are_decoded(
    server: Server, prefer: str, n: int
) -> None:
    body = {"n": n, "start": {"image": ["AA=="] * n, "t": 500}}
    answer = server.client.post("/sample", json=body, headers={"Prefer": prefer})
    assert [error["field"] for error in answer.json()["errors"]] == ["n"]


@pytest.mark.slow
def test_a_picture_that_takes_too_long_holds_up_nobody(server: Server) -> None:
    slow = base64.b64encode(jpeg_of_many_scans(4000)).decode()
    with ThreadPoolExecutor(2) as pool:
        body = {"start": {"image": slow, "t": 500, "resize": True}}
        refused = pool.submit(server.post, "/sample", body)
        for _ in range(3):
            assert server.post("/sample", KINDS["picture"][0]).status_code == 200
        assert "more than 10 seconds" in refused.result().json()["detail"]


def test_an_encoding_has_the_bytes_of_the_command(server: Server, tmp_path: Path) -> None:
    body = {"image": [THREE, EIGHT], "labels": [3, 8], "steps": 10, "t": 500}
    made = arrays(server.client.post("/encode", json=body, headers=NPZ).content)
    files = [str(DOCS / f"{name}.png") for name in ("three", "eight")]
    flags = ["--label", "3", "8", "--steps=10", "--t=500", FLOAT32, f"--out={tmp_path / 'x.npz'}"]
    assert main(["encode", "mnist", *files, *flags]) == 0
    command = arrays((tmp_path / "x.npz").read_bytes())
    assert made["t"] == command["t"] == 500
    np.testing.assert_array_equal(made["x_t"], command["x_t"])


@pytest.mark.slow
def test_a_3_whose_half_is_made_anew_is_a_3(server: Server) -> None:
    body = {
        "n": 10, "seed": 0, "labels": 3, "steps": 50, "start": {"image": THREE}, "mask": MASK,
        "resamplings": 5, "jump": 5,
    }  # fmt: skip
    made = torch.tensor(images(server, body)).movedim(-1, 1)
    classifier = load_classifier(Path("models/mnist-classifier"))
    assert measure(classifier, made, torch.full((10,), 3)).recognised >= 9
