"""POST /encode on the shipped checkpoint; tests/app/service/test_editing.py has `ddpm encode`."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.app.server import Server

DOCS = Path("docs/editing")
FILES = [DOCS / "three.png", DOCS / "eight.png"]
THREE, EIGHT = (base64.b64encode(path.read_bytes()).decode() for path in FILES)
BODY: dict[str, Any] = {"image": [THREE, EIGHT], "labels": [3, 8], "steps": 10, "t": 500}
NPZ = {"Accept": "application/x-npz"}


def encoded(server: Server, **fields: Any) -> dict[str, np.ndarray]:
    answer = server.client.post("/encode", json={**BODY, **fields}, headers=NPZ)
    assert answer.status_code == 200, answer.text
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def test_states_are_the_same_alone_and_beside_others(server: Server) -> None:
    alone = [encoded(server, image=THREE, labels=3), encoded(server, image=EIGHT, labels=8)]
    with ThreadPoolExecutor(12) as pool:
        others = [pool.submit(server.post, "/sample", {"seed": i, "steps": 30}) for i in range(8)]
        both = encoded(server)
        assert all(other.result().status_code == 200 for other in others)
    assert both["t"] == 500
    assert both["x_t"].dtype == np.float32
    np.testing.assert_array_equal(both["x_t"], np.concatenate([made["x_t"] for made in alone]))


def test_pictures_come_back_from_them(server: Server) -> None:
    told = server.post("/encode", BODY).json()
    assert (told["model"], told["steps"], told["t"]) == ("mnist", 10, 500)
    back = {
        "n": 2, "labels": [3, 8], "sampler": "ddim", "steps": 10,
        "start": {"x_t": told["x_t"], "t": told["t"]},
    }  # fmt: skip
    for sample, path in zip(server.post("/sample", back).json()["samples"], FILES, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(sample["png"]))) as made:
            found = np.asarray(made, float)
        with Image.open(path) as opened:
            expected = np.asarray(opened.convert("L"), float)
        assert np.sqrt(((found - expected) ** 2).mean()) < 12


def test_the_same_encoding_need_not_be_made_twice(server: Server) -> None:
    answer = server.post("/encode", BODY)
    known = {"If-None-Match": answer.headers["etag"]}
    assert server.client.post("/encode", json=BODY, headers=known).status_code == 304
    assert "x-seed" not in answer.headers, "it has none"


def test_there_are_no_jobs_of_it_so_that_asking_for_one_changes_nothing(server: Server) -> None:
    answer = server.client.post("/encode", json=BODY, headers={"Prefer": "respond-async"})
    assert answer.status_code == 200 and "preference-applied" not in answer.headers
    assert answer.json()["x_t"] == server.post("/encode", BODY).json()["x_t"]
    webhook = {"Prefer": "respond-async", "X-Webhook-URL": "https://example.org"}
    refused = server.client.post("/encode", json=BODY, headers=webhook)
    assert refused.status_code == 422 and "/sample" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"image": "?"}, "image"),
        ({"image": [THREE, "?"]}, "image[1]"),
        ({"image": []}, "image"),
        ({"image": [THREE] * 65, "labels": None}, "image"),
        ({"labels": [3]}, "labels"),
        ({"labels": 10}, "labels"),
        ({"steps": 1001}, "steps"),
        ({"t": 1001}, "t"),
        ({"t": 5}, "t"),
        ({"model": "other"}, "model"),
        ({"seed": 1}, "seed"),
    ],
)
def test_a_wrong_field_is_named(server: Server, fields: dict[str, Any], field: str) -> None:
    answer = server.post("/encode", {**BODY, **fields})
    assert answer.status_code == 422, answer.text
    assert {error["field"] for error in answer.json()["errors"]} == {field}


def test_other_formats_are_refused(server: Server) -> None:
    assert server.post("/encode", BODY, "image/png").status_code == 406
