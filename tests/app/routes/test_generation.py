"""POST /sample on the shipped checkpoint: legible digits, the same bytes under any load."""

import base64
import hashlib
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.evaluation.classifier import load_classifier, measure
from tests.app.server import REAL, Server

FAST = {"n": 5, "seed": 7, "sampler": "dpmpp", "labels": [1, 2, 3, 4, 5], "first_index": 2}
MIXED = [
    {"sampler": "ddpm", "n": 2, "steps": 30},
    {"sampler": "ddim", "n": 3, "labels": 3, "guidance": 1.0, "steps": 20},
    {"sampler": "ddim", "n": 1, "eta": 0.7, "steps": 40},
    {"sampler": "dpmpp", "n": 5, "steps": 15},
    {"sampler": "ddpm", "n": 1, "variance": "fixed_small", "steps": 50, "labels": 9},
    {"sampler": "dpmpp", "n": 7, "steps": 10, "labels": [0, 1, 2, 3, 4, 5, 6]},
]


def pngs(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(sample["png"]) for sample in answer["samples"]]


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def test_digits_are_legible_and_of_the_label_asked_for(server: Server) -> None:
    labels = list(range(10)) * 6
    body = {"n": 60, "seed": 0, "sampler": "ddim", "steps": 50, "labels": labels}
    answer = server.post("/sample", body).json()
    images = torch.tensor(np.stack([decoded(png) for png in pngs(answer)]))
    classifier = load_classifier(Path("models/mnist-classifier"))
    found = measure(classifier, images[:, None], torch.tensor(labels))
    assert found.recognised >= 0.9 * found.total, found


def test_the_same_request_gives_the_same_bytes_alone_beside_others_in_parts_and_after_a_restart(
    server: Server, tmp_path: Path
) -> None:
    body = {"n": 4, "seed": 1, "steps": 100}
    alone = pngs(server.post("/sample", body).json())
    others = [{**MIXED[i % len(MIXED)], "seed": i} for i in range(30)]
    parts = [{**body, "n": 1, "first_index": i} for i in range(4)]
    with ThreadPoolExecutor(36) as pool:
        neighbours = [pool.submit(server.post, "/sample", other) for other in others]
        beside = pool.submit(server.post, "/sample", body)
        single = [pool.submit(server.post, "/sample", part) for part in parts]
        assert pngs(beside.result().json()) == alone
        assert [pngs(part.result().json())[0] for part in single] == alone
        assert all(neighbour.result().status_code == 200 for neighbour in neighbours)
    with Server(tmp_path / "restarted.log", "--threads=2", engine=REAL) as restarted:
        assert pngs(restarted.post("/sample", body).json()) == alone


def test_a_short_request_overtakes_a_long_one(server: Server) -> None:
    long = {"n": 1, "seed": 1, "steps": 600}
    short = {"n": 1, "seed": 2, "sampler": "ddim", "steps": 20}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, "/sample", long)
        for _ in range(3):
            assert server.post("/sample", short).status_code == 200
        assert not running.done()
        assert running.result().status_code == 200


def test_json_names_the_request_and_the_hash_of_every_png(server: Server) -> None:
    answer = server.post("/sample", FAST).json()
    samples = answer.pop("samples")
    timing = answer.pop("timing")
    assert len(answer.pop("id")) == 32
    assert answer == {"model": "mnist", "seed": 7, "sampler": "dpmpp", "steps": 20}
    assert [s["index"] for s in samples] == [2, 3, 4, 5, 6]
    assert [s["label"] for s in samples] == [1, 2, 3, 4, 5]
    for sample in samples:
        png = base64.b64decode(sample["png"])
        assert hashlib.sha256(png).hexdigest() == sample["sha256"]
        assert decoded(png).shape == (28, 28)
    assert timing["queued_s"] >= 0 and timing["compute_s"] > 0


def test_an_empty_request_makes_one_image_of_a_seed_that_the_answer_names(server: Server) -> None:
    drawn = server.client.post("/sample", json={"steps": 2}).json()
    assert (len(drawn["samples"]), drawn["sampler"], drawn["samples"][0]["label"]) == (
        1,
        "ddpm",
        None,
    )
    again = server.post("/sample", {"steps": 2, "seed": drawn["seed"]}).json()
    assert again["samples"] == drawn["samples"]
    other = server.client.post("/sample", json={"steps": 2}).json()
    assert other["seed"] != drawn["seed"]


def test_every_representation_holds_the_same_images(server: Server) -> None:
    images = [decoded(png) for png in pngs(server.post("/sample", FAST).json())]
    zipped = server.post("/sample", FAST, "application/zip")
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        names = [f"{i:06d}.png" for i in range(2, 7)]
        assert archive.namelist() == [*names, "request.json"]
        for name, image in zip(names, images, strict=True):
            np.testing.assert_array_equal(decoded(archive.read(name)), image)
        request = json.loads(archive.read("request.json"))["request"]
    assert pngs(server.post("/sample", request).json()) == pngs(server.post("/sample", FAST).json())

    arrays = server.post("/sample", FAST, "application/x-npz")
    with np.load(io.BytesIO(arrays.content), allow_pickle=False) as npz:
        np.testing.assert_array_equal(npz["images"][..., 0], np.stack(images))
        assert npz["images"].dtype == np.uint8 and npz["images"].shape == (5, 28, 28, 1)
        assert npz["index"].tolist() == [2, 3, 4, 5, 6]
        assert npz["label"].tolist() == [1, 2, 3, 4, 5]

    grid = decoded(server.post("/sample", FAST, "image/png").content)
    assert grid.shape == (2 * 28, 3 * 28)
    np.testing.assert_array_equal(grid[:28, 28:56], images[1])
    np.testing.assert_array_equal(grid[28:, :28], images[3])
    assert not grid[28:, 56:].any()

    one = server.post("/sample", {**FAST, "n": 1, "labels": 1}, "image/png")
    np.testing.assert_array_equal(decoded(one.content), images[0])
    for response in (zipped, arrays, one):
        assert response.headers["x-seed"] == "7"


@pytest.mark.parametrize("accept", ["application/zip", "application/x-npz", "image/png"])
def test_binary_answers_are_the_same_bytes_each_time(server: Server, accept: str) -> None:
    assert (
        server.post("/sample", FAST, accept).content == server.post("/sample", FAST, accept).content
    )


def test_samplers_differ_but_start_from_the_same_noise(server: Server) -> None:
    def start(sampler: str) -> str:
        body = {"seed": 3, "sampler": sampler, "steps": 5, "frames": 2}
        answer = server.post("/denoise-trajectory", body).json()
        first: str = answer["trajectories"][0]["frames"][0]["x_t"]
        return first

    assert start("ddpm") == start("ddim") == start("dpmpp")


def test_guidance_eta_variance_and_labels_each_change_the_image(server: Server) -> None:
    def image(**fields: Any) -> bytes:
        return pngs(server.post("/sample", {"seed": 5, "steps": 10, **fields}).json())[0]

    ddim = {"sampler": "ddim", "labels": 2}
    variants = [
        image(**ddim),
        image(**ddim, guidance=2.0),
        image(**ddim, eta=0.5),  # 1.0 would be ddpm with fixed_small
        image(**{**ddim, "labels": 3}),
        image(labels=2),
        image(labels=2, variance="fixed_large"),
        image(),
    ]
    assert len(set(variants)) == len(variants)
