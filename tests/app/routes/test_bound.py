"""POST /bound on a real server: the numbers of `ddpm bound`, in every format."""

import base64
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.client import BoundRequest, Client
from app.generation.schemas.bound import BoundResponse
from tests.app.server import Server


@pytest.fixture(scope="module")
def digits(server: Server, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pictures, a 3 and a 7."""
    folder = tmp_path_factory.mktemp("digits")
    paths = []
    for label in (3, 7):
        body = {"seed": label, "labels": label, "sampler": "ddim", "steps": 10}
        paths.append(folder / f"{label}.png")
        paths[-1].write_bytes(server.post("/sample", body, "image/png").content)
    return paths


def sent(paths: list[Path]) -> list[str]:
    return [base64.b64encode(path.read_bytes()).decode() for path in paths]


def locally(paths: list[Path], *flags: str) -> list[dict[str, Any]]:
    """What `ddpm bound` says."""
    command = [sys.executable, "-m", "diffusion", "bound", "mnist", *map(str, paths), "--json"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    images: list[dict[str, Any]] = json.loads(done.stdout)["images"]
    return images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"terms": 12, "labels": [3, 7], "seed": 5}, ["--terms=12", "--label", "3", "7"]),
        ({"timesteps": [1, 2, 900], "variance": "fixed_small", "seed": 5},
         ["--timesteps", "1", "2", "900", "--variance=fixed_small"]),
    ],
    ids=["spread", "chosen"],
)  # fmt: skip
def test_it_is_what_the_command_says_to_float32s_error(
    server: Server, digits: list[Path], fields: dict[str, Any], flags: list[str]
) -> None:
    answer = server.post("/bound", {"images": sent(digits), **fields})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-seed"] == "5" and answer.headers["etag"]
    found = BoundResponse.model_validate(answer.json())
    for one, expected in zip(found.images, locally(digits, "--seed=5", *flags), strict=True):
        for name in ("bits_per_dim", "L_T", "L_0", "standard_error"):
            value = expected[name]
            wanted = value if value is None else pytest.approx(value, rel=1e-4)
            assert getattr(one, name) == wanted, name
        assert one.label == expected["label"]
        assert [(term.t, term.weight) for term in one.terms] == [
            (term["t"], term["weight"]) for term in expected["terms"]
        ]
        bits = [term.bits_per_dim for term in one.terms]
        assert bits == pytest.approx(
            [term["bits_per_dim"] for term in expected["terms"]], rel=1e-4, abs=1e-7
        )


@pytest.mark.slow
def test_all_formats_tell_the_same_and_so_does_a_stream(server: Server, digits: list[Path]) -> None:
    body = {"images": sent(digits), "terms": 6, "labels": [3, 7], "seed": 2}
    whole = server.post("/bound", body).json()["images"]
    npz = server.post("/bound", body, "application/x-npz")
    with np.load(io.BytesIO(npz.content), allow_pickle=False) as arrays:
        for name in ("bits_per_dim", "L_T", "label"):
            assert arrays[name].tolist() == [image[name] for image in whole]
        bits = [[term["bits_per_dim"] for term in image["terms"]] for image in whole]
        assert arrays["terms"].tolist() == bits
    text = server.post("/bound", body, "text/event-stream").text.strip()
    events = [block.split("\ndata: ") for block in text.split("\n\n")]
    terms = [json.loads(data) for name, data in events if name == "event: term"]
    done = json.loads(events[-1][1])
    assert len(terms) == 12 and events[-1][0] == "event: done"
    for k, image in enumerate(whole):
        own = sorted((term for term in terms if term["index"] == k), key=lambda term: term["t"])
        assert [{**term, "index": k} for term in image["terms"]] == own
        assert done["images"][k] == {n: v for n, v in image.items() if n != "terms"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_beside_others_and_one_request_is_computed_once(
    server: Server, digits: list[Path]
) -> None:
    body = {"images": sent(digits), "terms": 6, "seed": 3}
    alone = server.post("/bound", body)
    known = server.client.post(
        "/bound", json=body, headers={"If-None-Match": alone.headers["etag"]}
    )
    assert known.status_code == 304
    others = [{"n": 3, "seed": i, "steps": 30} for i in range(8)]
    with ThreadPoolExecutor(12) as pool:
        neighbours = [pool.submit(server.post, "/sample", other) for other in others]
        beside = [pool.submit(server.post, "/bound", body) for _ in range(3)]
        answers = [answer.result() for answer in beside]
        assert all(neighbour.result().status_code == 200 for neighbour in neighbours)
    assert all(answer.json()["images"] == alone.json()["images"] for answer in answers)


def test_a_drawn_seed_is_named(server: Server, digits: list[Path]) -> None:
    body = {"images": sent(digits)[0], "terms": 3}
    first = server.post("/bound", body)
    assert "etag" not in first.headers
    seed = first.json()["seed"]
    assert seed != server.post("/bound", body).json()["seed"]
    again = server.post("/bound", {**body, "seed": seed}).json()
    assert again["images"] == first.json()["images"]


def test_there_are_no_jobs_of_it_so_that_asking_for_one_changes_nothing(
    server: Server, digits: list[Path]
) -> None:
    body = {"images": sent(digits)[0], "terms": 3, "seed": 1}
    answer = server.client.post("/bound", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 200 and "preference-applied" not in answer.headers
    assert answer.json()["images"] == server.post("/bound", body).json()["images"]


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"images": "x"}, "images", "not base64"),
        ({"terms": 1}, "terms", "greater than or equal to 2"),
        ({"terms": 1001}, "terms", "2..1000"),
        ({"timesteps": [0]}, "timesteps", "1..1000"),
        ({"terms": 2, "timesteps": [1]}, "terms", "timesteps says"),
        ({"labels": 10}, "labels", "0..9"),
        ({"n": 1}, "n", "unknown field"),
        ({"model": "cifar10"}, "model", "this server has mnist"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(
    server: Server, digits: list[Path], fields: dict[str, Any], field: str, told: str
) -> None:
    answer = server.post("/bound", {"images": sent(digits)[0], **fields})
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == field and told in error["message"]
    wrong = server.post("/bound", {"images": [sent(digits)[0], "x"]})
    assert wrong.json()["errors"][0]["field"] == "images[1]"


def test_the_client_has_it(server: Server, digits: list[Path]) -> None:
    with Client(server.url) as client:
        found = client.bound(BoundRequest(images=digits, labels=[3, 7], terms=4, seed=1))
        again = client.bound(BoundRequest(images=digits, labels=[3, 7], terms=4, seed=found.seed))
    body = {"images": sent(digits), "labels": [3, 7], "terms": 4, "seed": 1}
    answer = server.post("/bound", body)
    for one, other, expected in zip(
        found.images, again.images, answer.json()["images"], strict=True
    ):
        assert one.bits_per_dim == other.bits_per_dim == expected["bits_per_dim"]
        assert [term.t for term in one.terms] == [term["t"] for term in expected["terms"]]
        assert one.terms[0].x_t.size == (28, 28)
